"""Exact and near duplicates, so that no picture and its copy end up on two sides of a split.

Exact: the same decoded pixels. Near: among the pictures that resemble it most, upright or mirrored, those that
`signature` says are the same. A group is what verified pairs connect. Nothing depends on the order of the rows or on
threads: vectors hold whole numbers and products stay below 2^24, so float32 sums are exact. Signatures are read a few
thousand at a time; time grows with the square of the number of pictures (see `benchmarks/duplicate_groups.py`).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from podium.curation.near_duplicates.signature import (
    MIRROR,
    RECORD,
    InitialWarp,
    Verdict,
    align,
    initial_warps,
    match_keypoints,
)
from podium.curation.temporary_arrays import release_pages

NEIGHBOURS = 5  # looked at per picture and orientation
# Scalar product of two vectors of length 2040 each: a cosine of 0.75. Of 300 photographs under six changes, the copy
# least like its original (cropped by 5 % a side) had 0.79.
LEAST_PRODUCT = 3_120_000
_LEAST_BESIDES_KEYPOINTS = 0.96  # correlation of two pictures of which one small place is the same
_VERIFIED_AT_ONCE = 4096  # pairs
_READ_AT_ONCE = 4096  # signatures
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

    def select(self, places: NDArray[np.int64]) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.first[places], self.second[places], self.mirrored[places], self.product[places])


@dataclass(frozen=True)
class Duplicates:
    """Per image: number of the first image of its group, and `exact`, `near` or empty (the first, or alone).

    `links` are the verified pairs of images behind the groups, for a person to look at; pairs within a group that
    others connect already are not all among them.
    """

    first: NDArray[np.int64]
    kind: list[str]
    links: Pairs


def group_duplicates(
    sha256: Sequence[str], signatures: NDArray[np.uint8], rows: NDArray[np.int64] | None = None, threads: int = 2
) -> Duplicates:
    """Groups images that show the same picture.

    Args:
        sha256: of the decoded pixels, N of them, in the order of the primary key.
        signatures: uint8, shape (M, SIGNATURE_BYTES), may be a memory map.
        rows: where the signature of each image is, shape (N,); by default M is N and they are in order.
        threads: that verify pairs; they change nothing but the time.

    Returns:
        Groups; duplicates of duplicates belong together.
    """
    _, distinct, same = np.unique(np.asarray(sha256, dtype=np.str_), return_index=True, return_inverse=True)
    found, group = _verify_pairs(signatures, distinct if rows is None else rows[distinct], threads)
    numbers = np.arange(len(same))
    leader = np.full(len(distinct), len(same), dtype=np.int64)
    np.minimum.at(leader, group[same], numbers)
    first = leader[group[same]]
    kind = np.where(first == numbers, "", np.where(distinct[same] != numbers, "exact", "near"))
    links = replace(found, first=distinct[found.first], second=distinct[found.second])
    return Duplicates(first, kind.tolist(), links)


def _verify_pairs(
    signatures: NDArray[np.uint8], places: NDArray[np.int64], threads: int
) -> tuple[Pairs, NDArray[np.int64]]:
    """Verified pairs of pictures, and per picture the lowest number of its group.

    `places` are rows of distinct pictures in the order of their sha256; the result is a function of this order.
    """
    records = signatures.view(RECORD)[:, 0]
    vectors = np.empty((len(places), *RECORD["vector"].shape), np.int16)
    for start in range(0, len(places), _READ_AT_ONCE):
        vectors[start : start + _READ_AT_ONCE] = records["vector"][places[start : start + _READ_AT_ONCE]]
        release_pages(signatures)
    pairs = nearest_neighbours(vectors, MIRROR, NEIGHBOURS, LEAST_PRODUCT)
    group = np.arange(len(places))
    verified = [np.empty(0, np.int64)]
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a picture is too small to be shared among threads
    try:
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(pairs.first), _VERIFIED_AT_ONCE):
                some = np.arange(start, min(start + _VERIFIED_AT_ONCE, len(pairs.first)))
                some = some[group[pairs.first[some]] != group[pairs.second[some]]]
                looked_at = pairs.select(some)
                of_rows = replace(looked_at, first=places[looked_at.first], second=places[looked_at.second])
                true = some[_show_the_same(records, of_rows, pool)]
                release_pages(signatures)
                group = _merge_groups(group, pairs.first[true], pairs.second[true])
                verified.append(true)
    finally:
        cv2.setNumThreads(before)
    return pairs.select(np.concatenate(verified)), group


def _show_the_same(records: NDArray[np.void], pairs: Pairs, pool: ThreadPoolExecutor) -> NDArray[np.bool_]:
    """Which of some pairs show the same picture: keypoints first, thumbnails where those cannot tell."""
    rows = list(zip(pairs.first, pairs.second, pairs.mirrored.tolist(), strict=True))
    verdicts = list(pool.map(lambda row: match_keypoints(records[row[0]], records[row[1]], row[2]), rows))
    same = np.array([verdict is Verdict.SAME for verdict in verdicts], dtype=np.bool_)
    left = np.nonzero([verdict in {Verdict.LOCAL, Verdict.UNKNOWN} for verdict in verdicts])[0]
    here, there = records["thumbnail"][pairs.first[left]], records["thumbnail"][pairs.second[left]]
    there = np.where(pairs.mirrored[left, None, None, None], there[:, :, ::-1], there)
    start = initial_warps(here, there)
    worth = np.nonzero(start != InitialWarp.NONE)[0]
    found = pool.map(align, here[worth], there[worth], start[worth].tolist())
    for at, one in zip(left[worth], found, strict=True):
        local = verdicts[at] is Verdict.LOCAL and one.everywhere >= _LEAST_BESIDES_KEYPOINTS
        same[at] = one.same_picture or local
    return same


def _merge_groups(group: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups after more pairs were found; a group's number is its lowest member."""
    count = len(group)
    if not len(one):
        return group
    rows = np.concatenate([np.arange(count), one])
    columns = np.concatenate([group, other])
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, lowest = np.unique(label, return_index=True)
    return np.asarray(lowest[label])


def nearest_neighbours(vectors: NDArray[np.int16], mirror: NDArray[np.int16], count: int, least: int) -> Pairs:
    """Pairs in which one is among the `count` nearest of the other, upright or mirrored: an exact search by block.

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
            queried = queries * mirror if mirrored else queries
            best = _greatest_per_bin(queried, columns, start)
            row, column, product = _nearest_in_bins(queried, padded, best, start, (count, least))
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
    return np.asarray(order[rank < count])


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
