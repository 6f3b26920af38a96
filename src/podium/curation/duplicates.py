"""Exact and near duplicates, so that no picture and its copy end up on two sides of a split.

Exact: the same decoded pixels. Near: among the pictures that resemble it most (`candidates`), upright or mirrored,
those whose corners lie alike (`corners`) or, where either has few, those that coincide once laid over each other
(`alignment`). Every link is verified by one of the two; a group is what links connect. Nothing depends on the order of
the rows or on threads. Signatures are read a few thousand at a time; time grows with the square of the number of
pictures (see `benchmarks/duplicate_groups.py`). Depends on NumPy, SciPy and OpenCV.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from podium.curation import corners
from podium.curation.alignment import Start, likeness, starts
from podium.curation.candidates import Pairs, nearest
from podium.curation.corners import Verdict
from podium.curation.scratch import forget
from podium.curation.signatures import MIRROR, RECORD, SIGNATURE_BYTES, perceptual_hash, signature

__all__ = ["SIGNATURE_BYTES", "Duplicates", "find", "links", "perceptual_hash", "signature"]

NEIGHBOURS = 5  # looked at per picture and orientation
# Scalar product of two vectors of length 2040 each: a cosine of 0.75. Of 300 photographs under six changes, the copy
# least like its original (cropped by 5 % a side) had 0.79.
LEAST_PRODUCT = 3_120_000
_LEAST_BESIDES_CORNERS = 0.96  # correlation of two pictures of which one small place is the same
_VERIFIED_AT_ONCE = 4096  # pairs
_READ_AT_ONCE = 4096  # signatures


@dataclass(frozen=True)
class Duplicates:
    """Per image: number of the first image of its group, and `exact`, `near` or empty (the first, or alone)."""

    first: NDArray[np.int64]
    kind: list[str]


def find(
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
    places = distinct if rows is None else rows[distinct]
    _, group = _link(signatures, places, threads)
    numbers = np.arange(len(same))
    leader = np.full(len(distinct), len(same), dtype=np.int64)
    np.minimum.at(leader, group[same], numbers)
    first = leader[group[same]]
    kind = np.where(first == numbers, "", np.where(distinct[same] != numbers, "exact", "near"))
    return Duplicates(first, kind.tolist())


def links(
    sha256: Sequence[str], signatures: NDArray[np.uint8], rows: NDArray[np.int64] | None = None, threads: int = 2
) -> Pairs:
    """The verified pairs behind `find`, as numbers of images, for a person to look at; arguments as there.

    Pairs within a group that others connect already are not all listed.
    """
    _, distinct = np.unique(np.asarray(sha256, dtype=np.str_), return_index=True)
    found, _ = _link(signatures, distinct if rows is None else rows[distinct], threads)
    return Pairs(distinct[found.first], distinct[found.second], found.mirrored, found.product)


def _link(signatures: NDArray[np.uint8], places: NDArray[np.int64], threads: int) -> tuple[Pairs, NDArray[np.int64]]:
    """Verified pairs of pictures, and per picture the lowest number of its group.

    Args:
        signatures: as for `find`.
        places: rows of distinct pictures in the order of their sha256; the result is a function of this order.
        threads: that verify.
    """
    records = signatures.view(RECORD)[:, 0]
    vectors = np.empty((len(places), *RECORD["vector"].shape), np.int16)
    for start in range(0, len(places), _READ_AT_ONCE):
        vectors[start : start + _READ_AT_ONCE] = records["vector"][places[start : start + _READ_AT_ONCE]]
        forget(signatures)
    pairs = nearest(vectors, MIRROR, NEIGHBOURS, LEAST_PRODUCT)
    group = np.arange(len(places))
    verified = [np.empty(0, np.int64)]
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a picture is too small to be shared among threads
    try:
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            for start in range(0, len(pairs.first), _VERIFIED_AT_ONCE):
                some = np.arange(start, min(start + _VERIFIED_AT_ONCE, len(pairs.first)))
                some = some[group[pairs.first[some]] != group[pairs.second[some]]]
                looked_at = pairs.at(some)
                of_rows = replace(looked_at, first=places[looked_at.first], second=places[looked_at.second])
                true = some[_verify(records, of_rows, pool)]
                forget(signatures)
                group = _joined(group, pairs.first[true], pairs.second[true])
                verified.append(true)
    finally:
        cv2.setNumThreads(before)
    return pairs.at(np.concatenate(verified)), group


def _verify(records: NDArray[np.void], pairs: Pairs, pool: ThreadPoolExecutor) -> NDArray[np.bool_]:
    """Which of some pairs show the same picture: corners first, thumbnails where those cannot tell."""
    rows = list(zip(pairs.first, pairs.second, pairs.mirrored.tolist(), strict=True))
    verdicts = list(pool.map(lambda row: corners.compare(records[row[0]], records[row[1]], row[2]), rows))
    same = np.array([verdict is Verdict.SAME for verdict in verdicts], dtype=np.bool_)
    open_ = np.array([verdict in {Verdict.LOCAL, Verdict.UNKNOWN} for verdict in verdicts], dtype=np.bool_)
    left = np.nonzero(open_)[0]
    here, there = records["thumbnail"][pairs.first[left]], records["thumbnail"][pairs.second[left]]
    there = np.where(pairs.mirrored[left, None, None, None], there[:, :, ::-1], there)
    start = starts(here, there)
    worth = np.nonzero(start != Start.NONE)[0]
    found = pool.map(likeness, here[worth], there[worth], start[worth].tolist())
    for at, one in zip(left[worth], found, strict=True):
        local = verdicts[at] is Verdict.LOCAL and one.everywhere >= _LEAST_BESIDES_CORNERS
        same[at] = one.same_picture or local
    return same


def _joined(group: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups after more pairs were found; a group's number is its lowest member."""
    count = len(group)
    if not len(one):
        return group
    rows = np.concatenate([np.arange(count), one])
    columns = np.concatenate([group, other])
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, lowest = np.unique(label, return_index=True)
    joined: NDArray[np.int64] = lowest[label]
    return joined
