"""For every picture the few that resemble it most, upright or mirrored: an exact search, block by block.

Vectors hold whole numbers and products stay below 2^24, so float32 sums are exact and the result depends on neither
the number of threads nor the processor. Time grows with the square of the number of pictures. Depends on NumPy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS = 512  # queries at a time
_BIN = 64  # neighbours of which first only the greatest product is looked at
_COLUMNS = 64 * _BIN  # vectors at a time, so that their products stay in the processor's cache
_UNLIKE = -1  # below any least product


@dataclass(frozen=True)
class Pairs:
    """Pairs `first < second`, int64, shape (P,), each once per orientation; `mirrored` says that one is flipped.

    `product` is the scalar product of the vectors, int64. Most alike come first.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    product: NDArray[np.int64]

    def at(self, places: NDArray[np.int64]) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.first[places], self.second[places], self.mirrored[places], self.product[places])


def nearest(vectors: NDArray[np.int16], mirror: NDArray[np.int16], count: int, least: int) -> Pairs:
    """Pairs in which one is among the `count` nearest of the other, upright or mirrored.

    Args:
        vectors: int16, shape (N, D), each of length at most 2048.
        mirror: factors 1 or -1 that give the vector of the mirror image, shape (D,).
        count: neighbours per picture and orientation.
        least: scalar product below which two do not resemble each other, above 0.

    Returns:
        Pairs; of equal products the lower row counts as nearer.
    """
    size = len(vectors)
    padded = np.zeros((-(-max(size, 1) // _BIN) * _BIN, vectors.shape[1]), np.float32)
    padded[:size] = vectors
    keys, products = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    columns = np.ascontiguousarray(padded.T)
    for start in range(0, size, _ROWS):
        queries = padded[start : min(start + _ROWS, size)]
        for mirrored in (0, 1):
            turned = queries * mirror if mirrored else queries
            best = _greatest_per_bin(turned, columns, start)
            row, column, product = _nearest_in_bins(turned, padded, best, start, (count, least))
            keys.append((np.minimum(row, column) * size + np.maximum(row, column)) * 2 + mirrored)
            products.append(product)
    key, at = np.unique(np.concatenate(keys), return_index=True)
    product = np.concatenate(products)[at]
    order = np.lexsort((key, -product))
    key, product = key[order], product[order]
    return Pairs(key // 2 // max(size, 1), key // 2 % max(size, 1), key % 2 == 1, product)


def _nearest_in_bins(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    best: NDArray[np.float32],
    start: int,
    limits: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and products of what the queries (rows `start`, ...) resemble.

    `best` has the greatest product of each query with each bin. A column among the nearest `count` of a query lies in
    one of the `count` bins with the greatest products; `limits` are count and least product.
    """
    count, least = limits
    query, bin_ = np.nonzero(best >= least)
    kept = _nearest_per_query(query, bin_, best[query, bin_], count)
    query, bin_ = query[kept], bin_[kept]
    products = np.matmul(vectors.reshape(-1, _BIN, vectors.shape[1])[bin_], queries[query][:, :, None])[:, :, 0]
    products[bin_[:, None] * _BIN + np.arange(_BIN) == (query + start)[:, None]] = _UNLIKE
    at, offset = np.nonzero(products >= least)
    query, column, product = query[at], bin_[at] * _BIN + offset, products[at, offset]
    kept = _nearest_per_query(query, column, product, count)
    return query[kept] + start, column[kept], product[kept].astype(np.int64)


def _nearest_per_query(
    query: NDArray[np.int64], column: NDArray[np.int64], product: NDArray[np.float32], count: int
) -> NDArray[np.int64]:
    """Positions of the `count` greatest products of each query; of equal ones the lower column is first."""
    order = np.lexsort((column, -product, query))
    ordered = query[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept: NDArray[np.int64] = order[rank < count]
    return kept


def _greatest_per_bin(queries: NDArray[np.float32], columns: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """Greatest product of each query with each bin of columns other than the query itself."""
    width = columns.shape[1]
    best = np.empty((len(queries), width // _BIN), np.float32)
    for left in range(0, width, _COLUMNS):
        products = queries @ columns[:, left : left + _COLUMNS]
        own = np.arange(start, start + len(queries)) - left
        inside = np.nonzero((own >= 0) & (own < products.shape[1]))[0]
        products[inside, own[inside]] = _UNLIKE
        best[:, left // _BIN : left // _BIN + products.shape[1] // _BIN] = products.reshape(len(queries), -1, _BIN).max(
            axis=2
        )
    return best
