"""Exact and near duplicates, so that no picture and its copy end up on two sides of a split.

Exact: the same decoded pixels. Near: among the pictures that resemble it most or share keypoints with it, upright,
turned or mirrored (`candidates`), those that `keypoints` and `signature` say are the same. A group is what verified
pairs connect. Nothing depends on the order of the rows or on threads. Signatures are read a few thousand at a time. All
pairs of up to `EXACT_UP_TO` pictures are compared by their vectors, of more those within cells of an index (see
`benchmarks/duplicate_groups.py` and `benchmarks/approximate_duplicates.py`).
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from podium.core.executor import open_executor
from podium.core.jobs import Cluster
from podium.curation.near_duplicates import keypoints
from podium.curation.near_duplicates.approximate import EXACT_UP_TO, approximate_neighbours
from podium.curation.near_duplicates.candidates import KeypointHashes, Pairs, nearest_neighbours
from podium.curation.near_duplicates.signature import (
    RECORD,
    SYMMETRIES,
    VECTOR_TURNS,
    InitialWarp,
    Thumbnail,
    align,
    in_common_colours,
    initial_warps,
    share_alike,
    turned,
)
from podium.curation.temporary_arrays import release_pages

NEIGHBOURS = 5  # looked at per picture and orientation
# Scalar product of two vectors of length 2040 each: a cosine of 0.75. Of 300 photographs under six changes, the copy
# least like its original (cropped by 5 % a side) had 0.79.
LEAST_PRODUCT = 3_120_000
_VERIFIED_AT_ONCE, _PARTS = 4096, 64  # pairs, and how many parts of them threads take in turns
_READ_AT_ONCE = 4096  # signatures
_WORTH_CLUSTER = 20_000  # pictures; fewer are compared sooner than nodes are ready
_ENOUGH_KEYPOINTS = 80  # of both pictures, from which on a "no" counts
# Below, a picture is sought by its vector in all eight orientations, else upright and mirrored: of 300 pictures of 32
# pixels with 20 keypoints or more, all turned copies share buckets of keypoints with their originals.
_FEW_KEYPOINTS = 30
_LEAST_AREA = 0.02  # of the picture that keypoints which lie alike span
# Of the overlap. Copies have 0.95 or more; a square cut out of a copy, or a frame around it, leaves 0.6 and many
# keypoints all over. Scenes with the same caption have at most 0.74, or 0.8 before a plain ground, where some 30
# keypoints are those of the caption and up to 4 others happen to fit.
_LEAST_SHARE_ALIKE, _LEAST_SHARE_OF_MANY = 0.85, 0.6
_MANY_KEYPOINTS, _MANY_BESIDE, _AREA_OF_MANY = 20, 6, 0.1


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
    sha256: Sequence[str],
    signatures: NDArray[np.uint8],
    rows: NDArray[np.int64] | None = None,
    threads: int = 2,
    folder: Path | None = None,
    *,
    cluster: Cluster | None = None,
) -> Duplicates:
    """Groups images that show the same picture.

    Args:
        sha256: of the decoded pixels, N of them, in the order of the primary key.
        signatures: uint8, shape (M, SIGNATURE_BYTES), may be a memory map.
        rows: where the signature of each image is, shape (N,); by default M is N and they are in order.
        threads: that verify pairs; they change nothing but the time.
        folder: for temporary files of some 5 kB an image; by default the system's.
        cluster: where more than a few pictures are compared instead; signatures are then a memory map of a file that
            nodes see, where they see the project's folder.

    Returns:
        Groups; duplicates of duplicates belong together.

    Raises:
        DataError: there are more pictures than can all be compared, and faiss is not installed.
        PodiumError: the cluster cannot be used, or was lost.
    """
    _, distinct, same = np.unique(np.asarray(sha256, dtype=np.str_), return_index=True, return_inverse=True)
    places = distinct if rows is None else rows[distinct]
    jobs_on = cluster if len(places) >= _WORTH_CLUSTER else None
    found, group = _verify_pairs(signatures, places, threads, folder, jobs_on)
    numbers = np.arange(len(same))
    leader = np.full(len(distinct), len(same), dtype=np.int64)
    np.minimum.at(leader, group[same], numbers)
    first = leader[group[same]]
    kind = np.where(first == numbers, "", np.where(distinct[same] != numbers, "exact", "near"))
    links = replace(found, first=distinct[found.first], second=distinct[found.second])
    return Duplicates(first, kind.tolist(), links)


def _verify_pairs(
    signatures: NDArray[np.uint8],
    places: NDArray[np.int64],
    threads: int,
    folder: Path | None,
    cluster: Cluster | None,
) -> tuple[Pairs, NDArray[np.int64]]:
    """Verified pairs of pictures, and per picture the lowest number of its group.

    `places` are rows of distinct pictures in the order of their sha256; the result is a function of this order.
    """
    records = signatures.view(RECORD)[:, 0]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        shared = _share_keypoints(records, signatures, places, Path(scratch))
    pairs = shared.then(_alike(records, signatures, places, threads, cluster))
    group = np.arange(len(places))
    verified = [np.empty(0, np.int64)]
    with _open_verifier(signatures, threads, cluster) as verify:
        for start in range(0, len(pairs.first), _VERIFIED_AT_ONCE):
            some = np.arange(start, min(start + _VERIFIED_AT_ONCE, len(pairs.first)))
            some = some[group[pairs.first[some]] != group[pairs.second[some]]]
            looked_at = pairs.select(some)
            of_rows = replace(looked_at, first=places[looked_at.first], second=places[looked_at.second])
            parts = (of_rows.select(part) for part in np.array_split(np.arange(len(some)), _PARTS))
            true = some[np.concatenate(list(verify(parts)))]
            release_pages(signatures)
            group = _merge_groups(group, pairs.first[true], pairs.second[true])
            verified.append(true)
    return pairs.select(np.concatenate(verified)), group


@contextmanager
def _open_verifier(
    signatures: NDArray[np.uint8], threads: int, cluster: Cluster | None
) -> Iterator[Callable[[Iterable[Pairs]], Iterable[NDArray[np.bool_]]]]:
    """What says of some pairs after the other which show the same picture, by threads or on the cluster."""
    if cluster is not None and cluster.storage is None:  # nodes map the file
        with open_executor(
            _Verifier(signatures), 1, lower="nothing", cluster=cluster, prepare=_use_one_thread
        ) as executor:
            yield executor.map
        return
    before = cv2.getNumThreads()
    _use_one_thread()
    try:
        with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
            yield partial(pool.map, _Verifier(signatures))
    finally:
        cv2.setNumThreads(before)


def _use_one_thread() -> None:
    """A picture is too small to be shared among threads."""
    cv2.setNumThreads(1)


class _Verifier:
    """Says which of some pairs of rows show the same picture."""

    def __init__(self, signatures: NDArray[np.uint8]) -> None:
        self._signatures, self._records = signatures, signatures.view(RECORD)[:, 0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the file itself."""
        file: Any = self._signatures
        return _verifier_of_file, (file.filename, file.shape)

    def __call__(self, pairs: Pairs) -> NDArray[np.bool_]:
        return _show_the_same(self._records, pairs)


def _verifier_of_file(path: Path, shape: tuple[int, int]) -> _Verifier:
    return _Verifier(np.memmap(path, np.uint8, "r", shape=shape))


def _share_keypoints(
    records: NDArray[np.void], signatures: NDArray[np.uint8], places: NDArray[np.int64], folder: Path
) -> Pairs:
    """Pairs that share keypoints."""
    hashes = KeypointHashes(len(places), folder)
    for start in range(0, len(places), _READ_AT_ONCE):
        hashes.add(start, records[places[start : start + _READ_AT_ONCE]]["keypoints"])
        release_pages(signatures)
    return hashes.pairs()


def _alike(
    records: NDArray[np.void],
    signatures: NDArray[np.uint8],
    places: NDArray[np.int64],
    threads: int,
    cluster: Cluster | None,
) -> Pairs:
    """Pairs whose vectors are alike."""
    count = len(places)
    vectors, few = np.empty((count, *RECORD["vector"].shape), np.int16), np.empty(count, np.bool_)
    for start in range(0, count, _READ_AT_ONCE):
        some = slice(start, start + _READ_AT_ONCE)
        of = places[some]
        vectors[some], few[some] = records["vector"][of], records["keypoints"]["count"][of] < _FEW_KEYPOINTS
        release_pages(signatures)
    if count > EXACT_UP_TO:
        return approximate_neighbours(vectors, VECTOR_TURNS, few, NEIGHBOURS, LEAST_PRODUCT, threads=threads)
    return nearest_neighbours(vectors, VECTOR_TURNS, few, NEIGHBOURS, LEAST_PRODUCT, cluster=cluster)


def _match(first: NDArray[np.void], second: NDArray[np.void], symmetry: int) -> bool | None:
    """Whether keypoints lie alike and the pictures agree where those lie; None where they cannot tell."""
    mirrored = symmetry.bit_count() % 2 == 1
    here, there = first["keypoints"], second["keypoints"]
    found = keypoints.compare(here, there, mirrored)
    if found is not None and found.area >= _LEAST_AREA:  # else a single object, or a mark that many pictures carry
        many = min(found.inliers / _MANY_KEYPOINTS, found.beside / _MANY_BESIDE, found.area / _AREA_OF_MANY) >= 1
        share = share_alike(first["thumbnail"], turned(second["thumbnail"], int(mirrored)), found.by)
        if share >= (_LEAST_SHARE_OF_MANY if many else _LEAST_SHARE_ALIKE):
            return True
    return False if min(here["count"], there["count"]) >= _ENOUGH_KEYPOINTS else None


def _show_the_same(records: NDArray[np.void], pairs: Pairs) -> NDArray[np.bool_]:
    """Which of some pairs show the same picture: keypoints first, thumbnails where those cannot tell.

    Pairs that resemble each other by their vectors alone are first asked whether the thumbnails do: of small pictures,
    whose vectors are all alike, hardly any does.
    """
    same = np.zeros(len(pairs.first), np.bool_)
    here, there = _thumbnails(records, pairs)
    start = initial_warps(here, there)
    for at in np.flatnonzero((pairs.likeness < LEAST_PRODUCT) | (start != InitialWarp.NONE)):
        verdict = _match(records[pairs.first[at]], records[pairs.second[at]], int(pairs.symmetry[at]))
        if verdict is None and start[at] != InitialWarp.NONE:
            verdict = align(here[at], there[at], int(start[at])).same_picture
        same[at] = verdict is True
    return same


def _thumbnails(records: NDArray[np.void], pairs: Pairs) -> tuple[Thumbnail, Thumbnail]:
    """Those of both pictures of some pairs, the second turned, both without colour where one has none."""
    here, there = records["thumbnail"][pairs.first], records["thumbnail"][pairs.second]
    for symmetry in SYMMETRIES:
        these = pairs.symmetry == symmetry
        there[these] = turned(there[these], symmetry)
    return in_common_colours(here, there)


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
