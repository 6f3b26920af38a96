"""The tables of Open Images: which boxes are chosen, what the others say about them, and who made the photographs.

The box file of the training set has 14 million rows, so nothing here holds a whole file: one pass keeps the boxes with
the smallest hashes, so that the choice does not depend on the order of rows; another joins every box of the photographs
kept.
"""

import csv
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
from numpy.typing import NDArray

from podium.core.errors import DataError, one_line

FLAGS: Final = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
SIDES: Final = ("XMin", "YMin", "XMax", "YMax")
UNKNOWN: Final = -1
_ID_BYTES: Final = 16  # every photograph of Open Images has an id of 16 hexadecimal digits
_PHOTOGRAPH_COLUMNS: Final = dict.fromkeys(("ImageID", "License", "Author"), pa.string())
_PHOTOGRAPH_EXTRAS: Final = dict.fromkeys(("OriginalLandingURL", "Rotation"), pa.string())
_BOX_COLUMNS: Final = {"ImageID": pa.string(), "LabelName": pa.string(), **dict.fromkeys(SIDES, pa.float64())}
_CODES: Final = 3 ** np.arange(len(FLAGS), dtype=np.int64)
_PAIRS_AT_ONCE: Final = 2_000_000
_SPARE_ROWS: Final = 200_000
_BLOCK: Final = 4 * 2**20
_CLASS_PREFIXES: Final = ("/m/", "/g/", "/t/")


@dataclass(frozen=True)
class Choice:
    """Boxes chosen from one file.

    Attributes:
        boxes: columns `ImageID LabelName`, `SIDES` (fractions), `label` and `hash`; sorted by photograph and hash, no
            box of a label twice.
        invalid: photographs and boxes of the chosen classes whose sides lie outside the photograph or are inverted.
        seen: photographs with a box of the chosen classes; empty unless the photographs were given.
    """

    boxes: pd.DataFrame
    invalid: tuple[tuple[str, tuple[float, ...]], ...]
    seen: frozenset[str]


@dataclass(frozen=True)
class Photograph:
    """What the dataset says of one photograph; texts are empty where it says nothing.

    Attributes:
        licence: an address such as `https://creativecommons.org/licenses/by/2.0/`.
        author: name.
        page: where the photograph was published.
        rotation: degrees (0, 90, 180, 270) counterclockwise that picture and boxes would have to be turned by to stand
            upright; -1 where that is not known. Boxes are drawn on the picture as it is stored, so neither is turned.
            https://storage.googleapis.com/openimages/web/2018-05-17-rotation-information.html
    """

    licence: str = ""
    author: str = ""
    page: str = ""
    rotation: int = UNKNOWN


def read_classes(path: Path) -> dict[str, str]:
    """Classes by the name people read (`Person`), with their key (`/m/01g317`).

    Some editions of the file have a header and some have none, so a first row whose key is none is left out.

    Args:
        path: `class-descriptions-boxable.csv`, two columns.

    Raises:
        DataError: the file cannot be read, or names no class.
    """
    names: dict[str, str] = {}
    for number, row in enumerate(_stream_rows(path)):
        if len(row) >= 2 and row[0].startswith(_CLASS_PREFIXES):
            if row[1].strip():
                names.setdefault(row[1].strip(), row[0])
        elif number and row:
            raise DataError(f"{path.name}: row {number + 1} is not a class and its name: get the file again")
    if not names:
        raise DataError(f"{path.name} names no class: get the file again")
    return names


def read_photographs(path: Path, ids: Collection[str]) -> dict[str, Photograph]:
    """Streams the table of photographs and keeps some.

    Args:
        path: `...-images-with-rotation.csv`.
        ids: the photographs wanted.

    Returns:
        Those found, by id.
    """
    found: dict[str, Photograph] = {}
    for batch in _stream_columns(path, _PHOTOGRAPH_COLUMNS, _PHOTOGRAPH_EXTRAS, _is_one_of(ids), line_breaks=True):
        for row in batch.to_pylist():
            found[row["ImageID"]] = Photograph(
                licence=(row["License"] or "").strip(),
                author=(row["Author"] or "").strip(),
                page=(row.get("OriginalLandingURL") or "").strip(),
                rotation=_degrees(row.get("Rotation")),
            )
    return found


def choose_boxes(
    path: Path, wanted: Mapping[str, str], limit: int | None, photographs: Collection[str] | None = None
) -> Choice:
    """The first pass.

    Args:
        path: a box file.
        wanted: our label by key of a class of Open Images (`/m/01g317`).
        limit: boxes to keep of each label; the ones with the smallest hash of photograph and box. None for all.
        photographs: ids of the only photographs to use; None for all.
    """
    kept = {label: _Smallest(limit) for label in sorted(set(wanted.values()))}
    invalid: list[tuple[str, tuple[float, ...]]] = []
    seen: set[str] = set()
    where = ds.field("LabelName").isin(pa.array(wanted, pa.string()))
    if photographs is not None:
        where &= _is_one_of(photographs)
    for batch in _stream_columns(path, _BOX_COLUMNS, {}, where):
        boxes = _with_hash(batch, path)
        if photographs is not None:
            seen.update(boxes["ImageID"].unique())
        sides = boxes[list(SIDES)].to_numpy()
        valid = (sides >= 0).all(axis=1) & (sides <= 1).all(axis=1) & (sides[:, :2] < sides[:, 2:]).all(axis=1)
        bad = np.flatnonzero(~valid)
        invalid += zip(boxes["ImageID"].iloc[bad], map(tuple, sides[bad].tolist()), strict=True)
        labels = boxes["LabelName"].map(wanted).to_numpy()
        for label, smallest in kept.items():
            smallest.add(boxes.iloc[np.flatnonzero(valid & (labels == label))])
    chosen = pd.concat([smallest.result().assign(label=label) for label, smallest in kept.items()])
    boxes = chosen.sort_values(["ImageID", "hash", "label"], ignore_index=True)
    return Choice(boxes, tuple(sorted(invalid)), frozenset(seen))


class _Smallest:
    """The boxes with the smallest hashes among those that come, each box once."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._parts: list[pd.DataFrame] = []
        self._count = 0
        self._largest = np.uint64(2**64 - 1)

    def add(self, boxes: pd.DataFrame) -> None:
        """Takes some more boxes."""
        boxes = boxes[boxes["hash"] <= self._largest]
        self._parts.append(boxes)
        self._count += len(boxes)
        if self._limit is not None and self._count > 2 * self._limit + _SPARE_ROWS:
            kept = self.result()
            self._parts, self._count = [kept], len(kept)
            if len(kept) == self._limit:  # there may be fewer, when many rows stand twice
                self._largest = kept["hash"].iloc[-1]

    def result(self) -> pd.DataFrame:
        """By ascending hash. Of several classes on one box the first stays."""
        if not self._parts:
            return pd.DataFrame(columns=[*_BOX_COLUMNS, "hash"])
        boxes = pd.concat(self._parts).sort_values(["hash", "LabelName"])
        return boxes.drop_duplicates(["ImageID", *SIDES]).head(self._limit or len(boxes))


def describe_boxes(path: Path, boxes: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    """The second pass.

    Args:
        path: the box file the boxes come from.
        boxes: `Choice.boxes`.
        wanted: as for `choose_boxes`.

    Returns:
        The boxes in their order with more columns: `FLAGS` (1, 0, or -1 for unknown; of identical rows with other flags
        those with the least `_CODE` count), `other_boxes` (the number of boxes of other labels, chosen or not, whose
        intersection with it has an area) and `contested` (whether the very same box has another of the chosen labels).
    """
    ids = boxes["ImageID"].unique()
    batches = _stream_columns(path, _BOX_COLUMNS, dict.fromkeys(FLAGS, pa.int8()), _is_one_of(ids))
    found = pd.concat([batch.to_pandas() for batch in batches])
    place = pd.Index(ids)
    found = found.assign(place=place.get_indexer(found["ImageID"])).sort_values("place")
    code = sum(
        factor * (found[name].fillna(UNKNOWN).clip(UNKNOWN, 1).to_numpy(np.int64) - UNKNOWN)
        for factor, name in zip(_CODES, FLAGS, strict=True)
        if name in found
    ) + np.zeros(len(found), np.int64)
    least = np.full(len(boxes), _CODES[-1] * 3)
    others, contested = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.bool_)
    labels = {label: number for number, label in enumerate(sorted(set(wanted.values())))}
    label = found["LabelName"].map(wanted).map(labels).fillna(-1).to_numpy(np.int64)
    my_label = boxes["label"].map(labels).to_numpy(np.int64)
    sides, my_sides = found[list(SIDES)].to_numpy(), boxes[list(SIDES)].to_numpy()
    kind, my_kind = found["LabelName"].to_numpy(), boxes["LabelName"].to_numpy()
    for mine, theirs in _pairs(place.get_indexer(boxes["ImageID"]), found["place"].to_numpy()):
        a, b = my_sides[mine], sides[theirs]
        overlap = (np.minimum(a[:, 2:], b[:, 2:]) > np.maximum(a[:, :2], b[:, :2])).all(1)
        other = my_label[mine] != label[theirs]
        np.add.at(others, mine[overlap & other], 1)
        same = (a == b).all(1)
        contested[mine[same & other & (label[theirs] >= 0)]] = True
        itself = same & (my_kind[mine] == kind[theirs])
        np.minimum.at(least, mine[itself], code[theirs[itself]])
    flags = {name: least // factor % 3 + UNKNOWN for name, factor in zip(FLAGS, _CODES, strict=True)}
    return boxes.assign(**flags, other_boxes=others, contested=contested)


def _pairs(mine: NDArray[np.intp], theirs: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Indices of every pair of boxes on one photograph, some at a time; both sides are sorted by photograph."""
    start, stop = np.searchsorted(theirs, mine, "left"), np.searchsorted(theirs, mine, "right")
    counts = stop - start
    parts = np.cumsum(counts) // _PAIRS_AT_ONCE
    for part in np.unique(parts):
        members = np.flatnonzero(parts == part)
        size = counts[members]
        left = np.repeat(members, size)
        within = np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size)
        yield left, start[left] + within


def _is_one_of(ids: Collection[str]) -> ds.Expression:
    """Whether a row is of one of these photographs."""
    return ds.field("ImageID").isin(pa.array(sorted(ids), pa.string()))


def _with_hash(batch: pa.RecordBatch, path: Path) -> pd.DataFrame:
    """Boxes with 64 bits of photograph and box: the same on every machine, whatever else is in the file.

    Raises:
        DataError: the id of a photograph is none of Open Images.
    """
    try:
        ids = batch["ImageID"].cast(pa.binary()).cast(pa.binary(_ID_BYTES))
    except pa.ArrowInvalid:
        ids = pa.nulls(1)
    if ids.null_count:
        raise DataError(f"{path.name} holds an ImageID that is not {_ID_BYTES} characters long: get the file again")
    halves = np.frombuffer(ids.buffers()[1] or b"", ">u8").reshape(-1, 2)[ids.offset : ids.offset + len(ids)]
    boxes: pd.DataFrame = batch.to_pandas()
    boxes[list(SIDES)] += 0.0  # no -0.0
    hashed = pd.DataFrame({"low": halves[:, 1].astype(np.uint64), "high": halves[:, 0].astype(np.uint64)})
    for side in SIDES:
        hashed[side] = boxes[side]
    return boxes.assign(hash=pd.util.hash_pandas_object(hashed, index=False))


def _degrees(said: str | None) -> int:
    """`270.0` and `270` are the same; empty, nan and anything else are unknown."""
    number = (said or "").strip().removesuffix(".0")
    return int(number) if number in ("0", "90", "180", "270") else UNKNOWN


# --- reading large files -------------------------------------------------------------------------------------------


def _stream_columns(
    path: Path,
    required: Mapping[str, pa.DataType],
    optional: Mapping[str, pa.DataType],
    where: ds.Expression,
    *,
    line_breaks: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Some columns of the rows for which `where` holds, about 4 MB of the file at a time.

    `optional` columns come too where the file has them; `line_breaks`, whether quoted values may hold them, costs time.

    Raises:
        DataError: a column is missing, a row is damaged, or a value is not of its type.
    """
    header = next(_stream_rows(path), [])
    missing = [name for name in required if name not in header]
    if missing:
        has = ", ".join(header)[:200]
        raise DataError(f"{path.name} has no column {missing[0]!r} (its columns are {has!r}): get the file again")
    types = {**required, **{name: kind for name, kind in optional.items() if name in header}}
    kind = ds.CsvFileFormat(
        parse_options=pacsv.ParseOptions(newlines_in_values=line_breaks),
        read_options=pacsv.ReadOptions(block_size=_BLOCK),
        convert_options=pacsv.ConvertOptions(column_types=types),
    )
    try:
        table = ds.dataset(path, format=kind)
        yield from table.scanner(
            columns=list(types), filter=where, batch_readahead=2, fragment_readahead=1
        ).to_batches()
    except pa.ArrowInvalid as error:
        said = one_line(error).rpartition("Invalid: ")[2][:200]
        raise DataError(f"{path.name} is damaged ({said}): get the file again") from error


def _stream_rows(path: Path) -> Iterator[list[str]]:
    """The rows of a small CSV, or the first of a large one.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from csv.reader(stream, strict=True)
    except (UnicodeDecodeError, csv.Error, FileNotFoundError) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error)}): get the file again") from error
