"""Which pictures are worth comparing: those whose vectors are alike, and those that share keypoints.

Nothing depends on the order of the rows or on threads: vectors hold whole numbers and products stay below 2^24, so
float32 sums are exact. The search by vectors looks at every pair (`approximate` does not). That by keypoints does not:
descriptors whose random projections have the same signs (Charikar, "Similarity estimation techniques from rounding
algorithms", STOC 2002) fall into one bucket, and pictures that meet in several buckets are a pair.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.core.executor import open_executor
from podium.core.jobs import Cluster
from podium.curation.near_duplicates import keypoints
from podium.curation.temporary_arrays import ArrayFile, release_pages

_ROWS, _BLOCKS = 512, 4  # queries at a time, and how often one job does that
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
_KEYS_AT_ONCE = 2**25  # that are sorted in memory
_PICTURES_AT_ONCE = 2**16  # whose keys are read
_FIRSTS_AT_ONCE = 2**15  # pictures whose meetings are counted in memory


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
    """The buckets of the strongest keypoints of `count` pictures, as they are and mirrored, in files below `folder`.

    The files take 5 kB a picture and as much again while pairs are sought; memory does not grow with them.
    """

    def __init__(self, count: int, folder: Path) -> None:
        self._count, self._folder, self._hashed = count, folder, 0
        self._tables = [
            ArrayFile(folder / f"keys-{table}.bin", np.uint32, (count, 2 * _HASHED)) for table in range(_TABLES)
        ]
        for file in self._tables:
            file.allocate()
        rng = np.random.default_rng(0)
        half = np.repeat(np.array([1, -1], np.float32), keypoints.LENGTH // 2)
        planes = np.stack([rng.permutation(half) for _ in range(_TABLES * _BITS)], axis=1)
        self._planes = planes, planes[np.argsort(keypoints.MIRRORED)]
        self._middle: NDArray[np.float32] | None = None

    def add(self, start: int, records: NDArray[np.void]) -> None:
        """Hashes the keypoints of pictures `start`, ...; those given first tell where the middle of a plane is."""
        present = np.arange(_HASHED) < records["count"][:, None]
        numbers = keypoints.unpack(records["descriptors"][:, :_HASHED][present])
        self._hashed += 2 * len(numbers)
        if self._middle is None and len(numbers):
            self._middle = np.median(numbers[:: -(-len(numbers) // 20_000)] @ self._planes[0], axis=0)
        for table, file in enumerate(self._tables):
            keys = np.full((len(records), 2, _HASHED), _NO_BUCKET)
            bits = slice(table * _BITS, (table + 1) * _BITS)
            if self._middle is not None:
                for mirrored, planes in enumerate(self._planes):
                    above = numbers @ np.ascontiguousarray(planes[:, bits]) > self._middle[bits]
                    packed = np.packbits(above, axis=1, bitorder="little")
                    keys[:, mirrored][present] = packed.view("<u4")[:, 0]
            file.write(start, keys)

    def pairs(self) -> Pairs:
        """Pictures that meet in at least three buckets: of each the five met most, the most first."""
        size = self._count
        found = [self._often(file) for file in self._write_meetings()]
        code, met = (np.concatenate(of) for of in zip(*found, strict=True))
        first, second, mirrored = code // 2 // max(size, 1), code // 2 % max(size, 1), code % 2
        both = np.concatenate([first, second]), np.concatenate([second, first]), np.tile(met, 2)
        kept = np.unique(_nearest_per_query(*both, _MOST_MET) % max(len(code), 1))
        kept = kept[np.lexsort((code[kept], -met[kept]))]
        return Pairs(first[kept], second[kept], mirrored[kept], met[kept].astype(np.int64))

    def _write_meetings(self) -> list[Path]:
        """Writes every meeting of two pictures, as `_meetings` gives them, to the file of a range of first pictures."""
        bits = min(_BITS, max(self._hashed, 1).bit_length() + _SPARE_BITS)
        starts = range(0, max(self._count, 1), _FIRSTS_AT_ONCE)
        files = [self._folder / f"meetings-{start}.bin" for start in starts]
        with ExitStack() as stack:
            streams = [stack.enter_context(file.open("wb")) for file in files]
            for table in self._tables:
                for codes in _meetings(table.read(), bits, self._hashed) if self._hashed else ():
                    codes.sort()
                    ends = np.searchsorted(codes, np.array(starts[1:], np.int64) * self._count * 2)
                    for stream, some in zip(streams, np.split(codes, ends), strict=True):
                        stream.write(some.data)
        return files

    @staticmethod
    def _often(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Codes of pairs that meet often enough, ascending, and how often."""
        code, met = np.unique(np.fromfile(file, np.int64), return_counts=True)
        often = met >= _LEAST_MEETINGS
        return code[often], met[often]


def _meetings(keys: NDArray[np.uint32], bits: int, count: int) -> Iterator[NDArray[np.int64]]:
    """Pairs that meet in a bucket of one table, once per bucket, as (first * size + second) * 2 + mirrored.

    `keys` has the shape (size, 2 * keypoints), those of the mirror images last; `count` of them are buckets, and some
    of these are looked at at a time. In a bucket of many, a member is paired with the next few.
    """
    size, parts = len(keys), 1
    while count > parts * _KEYS_AT_ONCE:
        parts *= 2
    for part in range(parts):
        entries = np.concatenate(list(_entries(keys, bits, parts, part)))
        entries.sort()  # `np.unique` would hash, which takes ten times as long where hardly any repeat
        entries = np.delete(entries, np.flatnonzero(entries[1:] == entries[:-1]))
        bucket = entries >> np.uint64(33)
        at = np.arange(len(entries))
        for ahead in range(1, _BUCKET + 1):
            at = at[at + ahead < len(entries)]
            at = at[bucket[at] == bucket[at + ahead]]
            one, other = entries[at], entries[at + ahead]
            met = one & other & np.uint64(1) == 0
            one, other = one[met].astype(np.int64) & (1 << 33) - 1, other[met].astype(np.int64) & (1 << 33) - 1
            a, b, flipped = one >> 1, other >> 1, (one ^ other) & 1
            apart = a != b
            yield ((np.minimum(a, b) * size + np.maximum(a, b)) * 2 + flipped)[apart]


def _entries(keys: NDArray[np.uint32], bits: int, parts: int, part: int) -> Iterator[NDArray[np.uint64]]:
    """What lies in each `parts`-th bucket: number of the bucket, row and whether mirrored, in one number."""
    for start in range(0, len(keys), _PICTURES_AT_ONCE):
        some = keys[start : start + _PICTURES_AT_ONCE]
        place = np.flatnonzero((some != _NO_BUCKET) & (some & np.uint32(parts - 1) == part))
        row, column = np.divmod(place, 2 * _HASHED)
        bucket = some.ravel()[place].astype(np.uint64) & np.uint64((1 << bits) - 1)
        picture = (row + start).astype(np.uint64)
        mirrored = (column >= _HASHED).astype(np.uint64)
        yield np.bitwise_or(bucket << np.uint64(33) | picture << np.uint64(1), mirrored)
        release_pages(keys)


class FoundNeighbours:
    """What a search by vectors found among `size` pictures under `symmetries`, a block at a time."""

    def __init__(self, size: int, symmetries: int) -> None:
        self._size, self._symmetries = size, symmetries
        self._keys, self._products = [np.empty(0, np.int64)], [np.empty(0, np.int64)]

    def add(self, row: NDArray[np.int64], column: NDArray[np.int64], product: NDArray[np.int64], symmetry: int) -> None:
        """Adds neighbours `column` of pictures `row` that were sought turned, and their products; shape (P,) each."""
        of_second = np.where(row < column, inverse(symmetry), symmetry)
        pair = np.minimum(row, column) * self._size + np.maximum(row, column)
        self._keys.append(pair * self._symmetries + of_second)
        self._products.append(product)

    def pairs(self) -> Pairs:
        """All of them, the most alike first; of equal products the lower rows."""
        key, at = np.unique(np.concatenate(self._keys), return_index=True)
        product = np.concatenate(self._products)[at]
        order = np.lexsort((key, -product))
        key, product = key[order], product[order]
        pair = key // self._symmetries
        return Pairs(pair // max(self._size, 1), pair % max(self._size, 1), key % self._symmetries, product)


def nearest_neighbours(
    vectors: NDArray[np.int16],
    turns: Sequence[tuple[NDArray[np.int64], NDArray[np.int16]]],
    every_way: NDArray[np.bool_],
    count: int,
    least: int,
    *,
    cluster: Cluster | None = None,
) -> Pairs:
    """Pairs in which one is among the `count` nearest of the other under a symmetry: an exact search by block.

    Args:
        vectors: int16, shape (N, D), each of length at most 2048.
        turns: order and sign that give the vector of the turned picture, by symmetry.
        every_way: which are sought under every symmetry, shape (N,); the others upright and mirrored only.
        count: neighbours per picture and symmetry.
        least: scalar product below which two do not resemble each other, above 0.
        cluster: where blocks are searched instead of in this process.

    Returns:
        Pairs, the most alike first; of equal products the lower row counts as nearer.

    Raises:
        PodiumError: the cluster cannot be used, or was lost.
    """
    search, size = _Search(vectors, turns, every_way, (count, least)), len(vectors)
    found = FoundNeighbours(size, len(turns))
    with open_executor(search, 1, lower="nothing", cluster=cluster) as executor:
        for neighbours in executor.map(range(0, size, _ROWS * _BLOCKS)):
            for some in neighbours:
                found.add(*some)
    return found.pairs()


_Neighbours = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]


@dataclass(frozen=True)
class _Search:
    """Finds what some blocks of pictures resemble among all; see `nearest_neighbours`."""

    vectors: NDArray[np.int16]
    turns: Sequence[tuple[NDArray[np.int64], NDArray[np.int16]]]
    every_way: NDArray[np.bool_]
    limits: tuple[int, int]

    @cached_property
    def padded(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All vectors, to a whole number of bins, and the same by column."""
        size = len(self.vectors)
        rows = np.zeros((-(-max(size, 1) // _BIN) * _BIN, self.vectors.shape[1]), np.float32)
        rows[:size] = self.vectors
        return rows, np.ascontiguousarray(rows.T)

    def __call__(self, first: int) -> list[_Neighbours]:
        """Rows, columns, products and symmetry, as `FoundNeighbours` takes them."""
        padded, columns = self.padded
        size, found = len(self.vectors), list[_Neighbours]()
        for start in range(first, min(first + _ROWS * _BLOCKS, size), _ROWS):
            block = np.arange(start, min(start + _ROWS, size))
            for symmetry, (order, sign) in enumerate(self.turns):
                rows = block if symmetry < 2 else block[self.every_way[block]]
                if len(rows):
                    queried = padded[rows][:, order] * sign
                    best = _greatest_per_bin(queried, columns, rows)
                    found.append((*_nearest_in_bins(queried, padded, best, rows, self.limits), symmetry))
        return found


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
