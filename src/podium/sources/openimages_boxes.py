"""Which boxes of Open Images are used, and what the other boxes of their photographs say about them.

Two passes over a box file: the first keeps the boxes of the chosen classes with the smallest hashes, so that memory
grows with what is kept and the choice does not depend on the order of rows; the second reads every box of the
photographs kept. Stands on `core`, numpy, pandas (its hash) and pyarrow.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from podium.sources.openimages_tables import image_ids, scan, texts

FLAGS: Final = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
UNKNOWN: Final = -1
_SIDES: Final = {"XMin": pa.float64(), "YMin": pa.float64(), "XMax": pa.float64(), "YMax": pa.float64()}
_REQUIRED: Final = {"ImageID": pa.string(), "LabelName": pa.string(), **_SIDES}
_ROW: Final = np.dtype([("hash", "u8"), ("id", "S16"), ("box", "f8", 4), ("kind", "i2"), ("label", "i2")])
_CODES: Final = 3 ** np.arange(len(FLAGS), dtype=np.int64)
_PAIRS_AT_ONCE: Final = 2_000_000
_SPARE_ROWS: Final = 200_000
Rows = NDArray[np.void]
"""Boxes as records of dtype `_ROW`: hash, photograph, (left, top, right, bottom), class and label by number."""


@dataclass(frozen=True)
class Wanted:
    """The classes to take.

    Attributes:
        labels: ours, sorted.
        keys: classes of Open Images by key (`/m/01g317`), with the number of their label.
    """

    labels: tuple[str, ...]
    keys: Mapping[str, int]


@dataclass(frozen=True)
class Choice:
    """Boxes chosen from one file.

    Attributes:
        rows: sorted by photograph and box, no box of a label twice.
        invalid: photographs and boxes of the chosen classes whose sides lie outside the photograph or are inverted.
        seen: photographs with a box of the chosen classes; empty unless the photographs were given.
    """

    rows: Rows
    invalid: tuple[tuple[str, tuple[float, ...]], ...]
    seen: frozenset[str]


@dataclass(frozen=True)
class Surroundings:
    """What the second pass adds to each chosen box, in their order.

    Attributes:
        flags: (N, 5) int8 in the order of `FLAGS`: 1, 0, or -1 for unknown.
        other_boxes: (N,) boxes of other labels (any class that is not mapped to the box's own label, chosen or not)
            whose intersection with it has an area.
        contested: (N,) whether the very same box has another of the chosen labels too.
    """

    flags: NDArray[np.int8]
    other_boxes: NDArray[np.int64]
    contested: NDArray[np.bool_]


def choose(path: Path, wanted: Wanted, limit: int | None, photographs: Collection[str] | None = None) -> Choice:
    """The first pass.

    Args:
        path: a box file.
        wanted: the classes.
        limit: boxes to keep of each label; the ones with the smallest hash of photograph and box. None for all.
        photographs: ids of the only photographs to use; None for all.

    Raises:
        DataError: a column is missing or a row is damaged.
    """
    keys = pa.array(sorted(wanted.keys), pa.string())
    label_of = np.array([wanted.keys[key] for key in keys.to_pylist()], np.int16)
    where = ds.field("LabelName").isin(keys)
    if photographs is not None:
        where &= ds.field("ImageID").isin(pa.array(sorted(photographs), pa.string()))
    kept = [_Smallest(limit) for _ in wanted.labels]
    invalid: list[Rows] = []
    seen: set[bytes] = set()
    for batch in scan(path, _REQUIRED, {}, where):
        rows = _rows(batch, keys, label_of, path)
        if photographs is not None:
            seen.update(np.unique(rows["id"]).tolist())
        box = rows["box"]
        valid = (box >= 0).all(1) & (box <= 1).all(1) & (box[:, 0] < box[:, 2]) & (box[:, 1] < box[:, 3])
        invalid.append(rows[~valid])
        rows = rows[valid]
        for label, smallest in enumerate(kept):
            smallest.add(rows[rows["label"] == label])
    chosen = np.concatenate([smallest.result() for smallest in kept])
    return Choice(
        chosen[np.lexsort((chosen["label"], chosen["hash"], *_halves(chosen["id"])))],
        tuple(sorted((_text(row["id"]), tuple(row["box"].tolist())) for part in invalid for row in part)),
        frozenset(_text(i) for i in seen),
    )


class _Smallest:
    """The boxes with the smallest hashes among those that come, each box once."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._parts: list[Rows] = []
        self._count = 0
        self._largest = np.uint64(2**64 - 1)

    def add(self, rows: Rows) -> None:
        """Takes some more boxes."""
        rows = rows[rows["hash"] <= self._largest]
        self._parts.append(rows)
        self._count += len(rows)
        if self._limit is not None and self._count > 2 * self._limit + _SPARE_ROWS:
            kept = self.result()
            self._parts, self._count = [kept], len(kept)
            if len(kept) == self._limit:  # there may be fewer, when many rows stand twice
                self._largest = kept["hash"][-1]

    def result(self) -> Rows:
        """By ascending hash. Of several classes on one box the first stays."""
        rows = np.concatenate(self._parts) if self._parts else np.empty(0, _ROW)
        rows = rows[np.lexsort((rows["kind"], rows["hash"]))]
        same = (rows["id"][1:] == rows["id"][:-1]) & (rows["box"][1:] == rows["box"][:-1]).all(1)
        return rows[np.concatenate([[True], ~same]) if len(rows) else []][: self._limit]


def surroundings(path: Path, chosen: Rows, wanted: Wanted) -> Surroundings:
    """The second pass.

    Args:
        path: the box file the boxes come from.
        chosen: `Choice.rows`.
        wanted: as for `choose`.

    Raises:
        DataError: a row is damaged.
    """
    rows, flags = _neighbours(path, np.unique(chosen["id"]), wanted)
    least = np.full(len(chosen), _CODES[-1] * 3, np.int64)
    others = np.zeros(len(chosen), np.int64)
    contested = np.zeros(len(chosen), np.bool_)
    for mine, theirs in _pairs(chosen["id"], rows["id"]):
        a, b = chosen["box"][mine], rows["box"][theirs]
        overlap = (np.minimum(a[:, 2:], b[:, 2:]) > np.maximum(a[:, :2], b[:, :2])).all(1)
        other = chosen["label"][mine] != rows["label"][theirs]
        np.add.at(others, mine[overlap & other], 1)
        same = (a == b).all(1)
        contested[mine[same & other & (rows["label"][theirs] >= 0)]] = True
        itself = same & (chosen["kind"][mine] == rows["kind"][theirs])
        np.minimum.at(least, mine[itself], flags[theirs[itself]])
    return Surroundings((least[:, None] // _CODES % 3 + UNKNOWN).astype(np.int8), others, contested)


def _neighbours(path: Path, ids: NDArray[np.bytes_], wanted: Wanted) -> tuple[Rows, NDArray[np.int64]]:
    """All boxes of some photographs, sorted by photograph, each with its flags as one number.

    Classes that are not chosen have kind and label -1. Of identical rows with other flags the least number counts.
    """
    keys = pa.array(sorted(wanted.keys), pa.string())
    label_of = np.array([wanted.keys[key] for key in keys.to_pylist()], np.int16)
    found, flags = [np.empty(0, _ROW)], [np.empty(0, np.int64)]
    optional = dict.fromkeys(FLAGS, pa.int8())
    for batch in scan(path, _REQUIRED, optional, ds.field("ImageID").isin(texts(ids))):
        found.append(_rows(batch, keys, label_of, path))
        code = np.zeros(len(batch), np.int64)
        for factor, name in zip(_CODES, FLAGS, strict=True):
            if name in batch.schema.names:
                flag = pc.fill_null(batch[name], UNKNOWN).to_numpy(zero_copy_only=False)
                code += factor * (np.clip(flag, UNKNOWN, 1) - UNKNOWN)
        flags.append(code)
    rows, codes = np.concatenate(found), np.concatenate(flags)
    order = np.lexsort(_halves(rows["id"]))
    return rows[order], codes[order]


def _pairs(mine: NDArray[np.bytes_], theirs: NDArray[np.bytes_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Indices of every pair of boxes on one photograph, some at a time; both sides are sorted."""
    start, stop = np.searchsorted(theirs, mine, "left"), np.searchsorted(theirs, mine, "right")
    counts = stop - start
    parts = np.cumsum(counts) // _PAIRS_AT_ONCE
    for part in np.unique(parts):
        members = np.flatnonzero(parts == part)
        size = counts[members]
        left = np.repeat(members, size)
        within = np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size)
        yield left, start[left] + within


def _rows(batch: pa.RecordBatch, keys: pa.Array, label_of: NDArray[np.int16], path: Path) -> Rows:
    """A batch as records; a class that is not among `keys` has kind and label -1, a missing side is NaN."""
    rows = np.empty(len(batch), _ROW)
    rows["id"] = image_ids(batch["ImageID"], path)
    for column, name in enumerate(_SIDES):
        rows["box"][:, column] = pc.fill_null(batch[name], float("nan")).to_numpy(zero_copy_only=False) + 0.0  # no -0.0
    kind = pc.fill_null(pc.index_in(batch["LabelName"], value_set=keys), -1).to_numpy(zero_copy_only=False)
    rows["kind"] = kind
    rows["label"] = np.where(kind >= 0, label_of[kind], -1)
    rows["hash"] = _hash(rows)
    return rows


def _hash(rows: Rows) -> NDArray[np.uint64]:
    """64 bits of photograph and box; the same on every machine, whatever else is in the file."""
    low, high = _halves(rows["id"])
    frame = pd.DataFrame({"low": low, "high": high})
    for number, side in enumerate(_columns(rows["box"])):
        frame[number] = side
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), np.uint64)


def _halves(ids: NDArray[np.bytes_]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The last and the first eight bytes of ids as numbers that sort like them."""
    halves = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2).astype(np.uint64)
    return halves[:, 1], halves[:, 0]


def _columns(table: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """The columns of an array of shape (N, C), each contiguous, as pandas wants them."""
    return [np.ascontiguousarray(table[:, column]) for column in range(table.shape[1])]


def _text(photograph: bytes) -> str:
    """An id as text; of a damaged one the bytes that are not ASCII are escaped."""
    return photograph.decode("ascii", "backslashreplace")
