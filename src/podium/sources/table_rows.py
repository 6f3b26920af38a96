"""The rows of a table as images: what each row says, or what is wrong with it, with its line.

Rule: a row that cannot be used is left out with a reason; a table that cannot be used is refused, naming line or
column. Works on text alone.
"""

import csv
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from podium.config.dataset import BoxColumns, CsvDataset
from podium.config.problems import nearest
from podium.core.errors import DataError
from podium.records.fetch import SkippedFile
from podium.sources.class_folders import SPLIT_FOLDERS
from podium.sources.names import broken_rule, printable
from podium.sources.source import WHOLE, BadBox, SourceImage, check_box

Value = str | float | int
_INT = re.compile(r"[+-]?[0-9]+")
_ADDRESS = re.compile(r"https?://")
_SIGNED_IN = re.compile(r"(?<=://)[^/?#]*@")
_CONVERT: Mapping[str, Callable[[str], Value]] = {"text": str, "int": int, "float": float}


@dataclass(frozen=True)
class RowImage(SourceImage):
    """An image a row describes; `corners` is its box in pixels, until the photograph's size is known."""

    corners: tuple[float, float, float, float] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other image of the table."""
        return (self.path, repr(self.corners)) if self.corners is not None else super().key


@dataclass(frozen=True)
class TableRows:
    """Images sorted by key, rows left out, and each photograph's path as the table writes it, by its normal form.

    At an http address the normal form ends before `?` and `#`, where secrets may stand; `written` keeps them.
    """

    images: tuple[RowImage, ...]
    skipped: tuple[SkippedFile, ...]
    written: Mapping[str, str]


class _Bad(Exception):
    """What is wrong with one row."""


@dataclass
class _Found:
    """What was read so far: images with their lines by key, and rows left out."""

    images: dict[tuple[str, str], list[tuple[int, RowImage]]] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)

    def skip(self, line: int, path: str, reason: str) -> None:
        """Notes a row that is left out."""
        self.skipped.append(SkippedFile(path=printable(path), reason=f"line {line}: {reason}", image=True))


def read_rows(name: str, stream: IO[str], dataset: CsvDataset, base: str) -> TableRows:
    """Reads a table.

    Args:
        name: of the table, for messages.
        stream: its text, opened with `newline=""`.
        dataset: which column holds what.
        base: address of the images; rows may give whole addresses below it. Empty for a folder.

    Returns:
        Its images and the rows left out. A photograph may stand in several rows with different boxes.

    Raises:
        DataError: it is empty, is no CSV, has another encoding, lacks a column, or no row can be used.
    """
    found = _Found()
    try:
        for line, path, row in _rows(name, stream, dataset):
            try:
                if isinstance(row, str):
                    raise _Bad(row)
                image = _image(row, dataset, _inside(path, base))
                _refuse_twin(image, path, base, found)
            except (_Bad, BadBox) as bad:
                found.skip(line, _shown(path, base), str(bad))
                continue
            found.written.setdefault(image.path, path)
            found.images.setdefault(image.key, []).append((line, image))
    except csv.Error as error:
        raise DataError(f"{name} is not a CSV ({error}): see dataset.delimiter, or write the table again") from error
    except UnicodeError as error:
        raise DataError(
            f"{name} is not {dataset.encoding} ({error}): set dataset.encoding (cp1252, utf-16, ...), or save the "
            "table as UTF-8"
        ) from error
    images = _unique(found)
    if not images:
        first = f" (first: {found.skipped[0].path!r}, {found.skipped[0].reason})" if found.skipped else ""
        raise DataError(f"{name} lists no image that can be used{first}: correct the table or dataset.columns")
    skipped = tuple(sorted(found.skipped, key=lambda file: (file.path, file.reason)))
    return TableRows(tuple(sorted(images, key=lambda image: image.key)), skipped, found.written)


def _rows(name: str, stream: IO[str], dataset: CsvDataset) -> Iterator[tuple[int, str, dict[str, str] | str]]:
    """Line number, path and values by column of every row that is not blank; what is wrong with one of other length.

    Raises:
        DataError: the table is empty, or lacks a column.
        csv.Error: it is no CSV; the line is named.
    """
    reader = csv.reader(stream, delimiter=dataset.delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if not any(header):
            raise DataError(f"{name} is empty: it needs a line of column names and a row an image")
        _check_header(name, header, dataset)
        place = header.index(dataset.columns.path)
        for fields in reader:
            if fields:
                path = fields[place] if place < len(fields) else ""
                fits = len(fields) == len(header)
                wrong = f"{len(fields)} fields where the header has {len(header)}; are quotes missing?"
                yield reader.line_num, path, dict(zip(header, fields, strict=True)) if fits else wrong
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num}: {error}") from error


def _check_header(name: str, header: list[str], dataset: CsvDataset) -> None:
    """Refuses a table that lacks a column.

    Raises:
        DataError: it does, or has one twice; the nearest name or another delimiter is proposed.
    """
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has two columns {twice!r}: rename one of them")
    for key, column in _wanted(dataset).items():
        if column not in header:
            other = next((d for d in ";\t|" if dataset.delimiter != d and len(header) == 1 and d in header[0]), None)
            hint = f"; is {other!r} its delimiter? set dataset.delimiter" if other else nearest(column, header)
            raise DataError(
                f"{name} has no column {column!r} (dataset.{key}){hint} (its columns: {', '.join(map(repr, header))}): "
                "correct the key or the table"
            )


def _wanted(dataset: CsvDataset) -> dict[str, str]:
    """Columns the table must have, by the key that asks for them."""
    columns = dataset.columns
    named: dict[str, str | None] = {
        "columns.path": columns.path,
        "columns.label": columns.label,
        "columns.split": columns.split,
        "columns.group": columns.group,
        "columns.licence": columns.licence,
    }
    if columns.box is not None:
        named |= {f"columns.box.{side}": column for side, column in columns.box.model_dump().items()}
    named |= {f"extras.{column}": column for column in dataset.extras}
    return {key: column for key, column in named.items() if column is not None}


def _inside(path: str, base: str) -> str:
    """A path relative to where the images lie, in its normal form.

    Raises:
        _Bad: it lies elsewhere, or is no safe path.
    """
    inside = path.removeprefix(f"{base}/") if base else path
    if _ADDRESS.match(base):
        # A row that is no whole address is a name, and `#` may stand in one; `?` may not on some systems.
        inside = re.split(r"[?#]" if _ADDRESS.match(path) else r"\?", inside, maxsplit=1)[0]
    path = inside
    if "://" in path:
        raise _Bad("an address that does not start with that of the images: set dataset.images")
    rule = broken_rule(path)
    if rule:
        raise _Bad(f"the path {rule}")
    normal = unicodedata.normalize("NFC", "/".join(part for part in path.split("/") if part not in ("", ".")))
    if not normal:
        raise _Bad("no path")
    return normal


def _refuse_twin(image: RowImage, path: str, base: str, found: _Found) -> None:
    """Refuses an address that is another row's up to `?` or `#`; labels that contradict are refused with that row's.

    Raises:
        _Bad: it is.
    """
    first = found.written.get(image.path, path)
    if _ADDRESS.match(base) and re.split(r"[?#]", first)[1:] != re.split(r"[?#]", path)[1:]:
        same = found.images.get(image.key)
        if same is None or same[0][1].label == image.label:
            raise _Bad("its address is that of another row up to `?` or `#`")


def _shown(path: str, base: str) -> str:
    """A path as it may stand in a report: of an address neither user, password, query nor fragment."""
    if "://" in path:
        return re.split(r"[?#]", _SIGNED_IN.sub("", path), maxsplit=1)[0]
    return path.partition("?")[0] if _ADDRESS.match(base) else path


def _image(row: Mapping[str, str], dataset: CsvDataset, path: str) -> RowImage:
    """The image a row describes.

    Raises:
        _Bad: its label, split, box or a further column cannot be used.
    """
    columns = dataset.columns
    label = row[columns.label].strip()
    if not label:
        raise _Bad("no label")
    split = row[columns.split].strip() if columns.split else ""
    if split and split.casefold() not in SPLIT_FOLDERS:
        raise _Bad(f"split {split!r} is none of train, val, test")
    corners = _corners(row, columns.box) if columns.box else None
    if corners is not None and dataset.box_units == "fraction":
        box, corners = check_box(corners, 1, 1), None
    else:
        box = WHOLE
    return RowImage(
        path=path,
        label=unicodedata.normalize("NFC", label),
        group=row[columns.group].strip() if columns.group else "",
        split=SPLIT_FOLDERS[split.casefold()] if split else "",
        licence=row[columns.licence].strip() if columns.licence else "",
        box=box,
        extras={column: _converted(column, row[column], kind) for column, kind in dataset.extras.items()},
        corners=corners,
    )


def _corners(row: Mapping[str, str], columns: BoxColumns) -> tuple[float, float, float, float] | None:
    """The four numbers of a box as they stand; None where all four are empty.

    Raises:
        _Bad: they are not four numbers.
    """
    texts = [row[column].strip() for column in (columns.left, columns.top, columns.right, columns.bottom)]
    if not any(texts):
        return None
    try:
        left, top, right, bottom = (float(text) for text in texts)
    except ValueError:
        raise _Bad(
            f"a box of {', '.join(' '.join(text.split()) or 'nothing' for text in texts)} is not four numbers"
        ) from None
    return left, top, right, bottom


def _converted(column: str, text: str, kind: str) -> Value:
    """A value of a further column as its kind.

    Raises:
        _Bad: it is no number and should be one.
    """
    if kind == "int" and not _INT.fullmatch(text.strip()):
        raise _Bad(f"{column} {text!r} is no whole number")
    try:
        return _CONVERT[kind](text)
    except ValueError:
        raise _Bad(f"{column} {text!r} is no number") from None


def _unique(found: _Found) -> list[RowImage]:
    """One image a key; copies of a row and rows that contradict each other are left out."""
    images = []
    for rows in found.images.values():
        line, image = rows[0]
        labels = sorted({other.label for _, other in rows})
        if len(labels) == 1:
            images.append(image)
            for copy, _ in rows[1:]:
                found.skip(copy, image.path, f"the same image stands in line {line}")
        else:
            for number, other in rows:
                others = ", ".join(str(n) for n, _ in rows if n != number)
                found.skip(number, other.path, f"label {other.label!r} contradicts line {others}")
    return images
