"""Which pictures are worth comparing: those whose vectors are alike, and those that share keypoints.

Nothing depends on the order of the rows or on threads: vectors hold whole numbers and products stay below 2^24, so
float32 sums are exact. The search by vectors looks at every pair. That by keypoints does not: descriptors whose random
projections have the same signs (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002) fall
into one bucket, and pictures that meet in several buckets are a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.curation.near_duplicates import keypoints

_ROWS = 512  # queries at a time
_BIN = 64  # neighbours of which first only the greatest product is looked at
_COLUMNS = 64 * _BIN  # vectors at a time, so that their products stay in the processor's cache
_UNLIKE = -1  # below any least product

_HASHED = 96  # keypoints of a picture, the strongest
_TABLES, _BITS = 6, 31
_SPARE_BITS = 8  # of a key above those that number all keypoints
_BUCKET = 6  # members of a bucket that are paired with one
_LEAST_MEETINGS = 3
_MOST_MET = 5  # pictures per picture
_NO_BUCKET = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class Pairs:
    """Pairs `first < second`, int64, shape (P,), each once per symmetry.

    `symmetry`, int64, turns the second into the first (`signature.SYMMETRIES`); of pairs that share keypoints it only
    says whether one is mirrored. `likeness` is the scalar product of the vectors, or the number of buckets met in.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    symmetry: NDArray[np.int64]
    likeness: NDArray[np.int64]

    def select(self, places: NDArray[np.int64]) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.first[places], self.second[places], self.symmetry[places], self.likeness[places])

    def then(self, more: "Pairs") -> "Pairs":
        """These and more."""
        mine, theirs = vars(self).values(), vars(more).values()
        return Pairs(*(np.concatenate(both) for both in zip(mine, theirs, strict=True)))


class KeypointHashes:
    """The buckets of the strongest keypoints of `count` pictures, as they are and mirrored."""

    def __init__(self, count: int) -> None:
        self._keys = np.full((_TABLES, 2, count, _HASHED), _NO_BUCKET)
        rng = np.random.default_rng(0)
        half = np.repeat(np.array([1, -1], np.float32), keypoints.LENGTH // 2)
        self._planes = np.stack([rng.permutation(half) for _ in range(_TABLES * _BITS)], axis=1)
        self._middle: NDArray[np.float32] | None = None

    def add(self, start: int, records: NDArray[np.void]) -> None:
        """Hashes the keypoints of pictures `start`, ...; those given first tell where the middle of a plane is."""
        present = np.arange(_HASHED) < records["count"][:, None]
        numbers = keypoints.unpack(records["descriptors"][:, :_HASHED][present])
        if not len(numbers):
            return
        if self._middle is None:
            self._middle = np.median(numbers[:: -(-len(numbers) // 20_000)] @ self._planes, axis=0)
        powers = 1 << np.arange(_BITS, dtype=np.uint32)
        for mirrored in (0, 1):
            seen = numbers[:, keypoints.MIRRORED] if mirrored else numbers
            for table in range(_TABLES):
                bits = slice(table * _BITS, (table + 1) * _BITS)
                above = seen @ self._planes[:, bits] > self._middle[bits]
                self._keys[table, mirrored, start : start + len(records)][present] = above @ powers

    def pairs(self) -> Pairs:
        """Pictures that meet in at least three buckets: of each the five met most, the most first."""
        size = self._keys.shape[2]
        count = int((self._keys[0] != _NO_BUCKET).sum())
        bits = min(_BITS, max(count, 1).bit_length() + _SPARE_BITS)
        codes = [np.empty(0, np.int64)]
        for table in self._keys:
            codes.append(_meetings(table, bits, size))
        code, met = np.unique(np.concatenate(codes), return_counts=True)
        code, met = code[met >= _LEAST_MEETINGS], met[met >= _LEAST_MEETINGS]
        first, second, mirrored = code // 2 // max(size, 1), code // 2 % max(size, 1), code % 2
        both = np.concatenate([first, second]), np.concatenate([second, first]), np.tile(met, 2)
        kept = np.unique(_nearest_per_query(*both, _MOST_MET) % max(len(code), 1))
        kept = kept[np.lexsort((code[kept], -met[kept]))]
        return Pairs(first[kept], second[kept], mirrored[kept], met[kept].astype(np.int64))


def _meetings(keys: NDArray[np.uint32], bits: int, size: int) -> NDArray[np.int64]:
    """Pairs that meet in a bucket of one table, once per bucket, as (first * size + second) * 2 + mirrored.

    `keys` has the shape (2, size, keypoints). In a bucket of many, a member is paired with the next few.
    """
    mirrored, row, _ = np.nonzero(keys != _NO_BUCKET)
    bucket = keys[keys != _NO_BUCKET].astype(np.uint64) & np.uint64((1 << bits) - 1)
    entries = np.unique(bucket << np.uint64(33) | row.astype(np.uint64) << np.uint64(1) | mirrored.astype(np.uint64))
    found = [np.empty(0, np.int64)]
    for ahead in range(1, _BUCKET + 1):
        one, other = entries[:-ahead], entries[ahead:]
        met = (one >> np.uint64(33) == other >> np.uint64(33)) & (one & other & np.uint64(1) == 0)
        one, other = one[met].astype(np.int64) & (1 << 33) - 1, other[met].astype(np.int64) & (1 << 33) - 1
        a, b, flipped = one >> 1, other >> 1, (one ^ other) & 1
        apart = a != b
        found.append(((np.minimum(a, b) * size + np.maximum(a, b)) * 2 + flipped)[apart])
    return np.concatenate(found)


def nearest_neighbours(
    vectors: NDArray[np.int16],
    turns: Sequence[tuple[NDArray[np.int64], NDArray[np.int16]]],
    every_way: NDArray[np.bool_],
    count: int,
    least: int,
) -> Pairs:
    """Pairs in which one is among the `count` nearest of the other under a symmetry: an exact search by block.

    Args:
        vectors: int16, shape (N, D), each of length at most 2048.
        turns: order and sign that give the vector of the turned picture, by symmetry.
        every_way: which are sought under every symmetry, shape (N,); the others upright and mirrored only.
        count: neighbours per picture and symmetry.
        least: scalar product below which two do not resemble each other, above 0.

    Returns:
        Pairs, the most alike first; of equal products the lower row counts as nearer.
    """
    size = len(vectors)
    padded = np.zeros((-(-max(size, 1) // _BIN) * _BIN, vectors.shape[1]), np.float32)
    padded[:size] = vectors
    keys, products = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    columns = np.ascontiguousarray(padded.T)
    for start in range(0, size, _ROWS):
        block = np.arange(start, min(start + _ROWS, size))
        for symmetry, (order, sign) in enumerate(turns):
            rows = block if symmetry < 2 else block[every_way[block]]
            if not len(rows):
                continue
            queried = padded[rows][:, order] * sign
            best = _greatest_per_bin(queried, columns, rows)
            row, column, product = _nearest_in_bins(queried, padded, best, rows, (count, least))
            of_second = np.where(row < column, inverse(symmetry), symmetry)
            keys.append((np.minimum(row, column) * size + np.maximum(row, column)) * len(turns) + of_second)
            products.append(product)
    key, at = np.unique(np.concatenate(keys), return_index=True)
    product = np.concatenate(products)[at]
    order = np.lexsort((key, -product))
    key, product = key[order], product[order]
    pair = key // len(turns)
    return Pairs(pair // max(size, 1), pair % max(size, 1), key % len(turns), product)


def inverse(symmetry: int) -> int:
    """What turns back: exchanging x and y after a flip is flipping the other way after exchanging them."""
    return 4 | symmetry >> 1 & 1 | (symmetry & 1) << 1 if symmetry & 4 else symmetry


def _nearest_in_bins(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    best: NDArray[np.float32],
    rows: NDArray[np.int64],
    limits: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and products of what the queries resemble.

    `best` has the greatest product of each query with each bin. A column among the nearest `count` of a query lies in
    one of the `count` bins with the greatest products; `limits` are count and least product.
    """
    count, least = limits
    query, bin_ = np.nonzero(best >= least)
    kept = _nearest_per_query(query, bin_, best[query, bin_], count)
    query, bin_ = query[kept], bin_[kept]
    products = np.matmul(vectors.reshape(-1, _BIN, vectors.shape[1])[bin_], queries[query][:, :, None])[:, :, 0]
    products[bin_[:, None] * _BIN + np.arange(_BIN) == rows[query][:, None]] = _UNLIKE
    at, offset = np.nonzero(products >= least)
    query, column, product = query[at], bin_[at] * _BIN + offset, products[at, offset]
    kept = _nearest_per_query(query, column, product, count)
    return rows[query[kept]], column[kept], product[kept].astype(np.int64)


def _nearest_per_query(
    query: NDArray[np.int64], column: NDArray[np.int64], product: NDArray[np.float32] | NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Positions of the `count` greatest products of each query; of equal ones the lower column is first."""
    order = np.lexsort((column, -product, query))
    ordered = query[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.asarray(order[rank < count])


def _greatest_per_bin(
    queries: NDArray[np.float32], columns: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Greatest product of each query with each bin of columns other than the query itself."""
    width = columns.shape[1]
    best = np.empty((len(queries), width // _BIN), np.float32)
    for left in range(0, width, _COLUMNS):
        products = queries @ columns[:, left : left + _COLUMNS]
        own = rows - left
        inside = np.nonzero((own >= 0) & (own < products.shape[1]))[0]
        products[inside, own[inside]] = _UNLIKE
        best[:, left // _BIN : left // _BIN + products.shape[1] // _BIN] = products.reshape(len(queries), -1, _BIN).max(
            axis=2
        )
    return best
