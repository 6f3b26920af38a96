"""Source `csv`: a table with a row an image, or a row a box, and the images it names, here or at an address.

Images at an address are kept under the table's digest. A row that cannot be used is left out with its line and the
reason; a table that cannot be used is refused.
"""

import codecs
import csv
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from podium.config.dataset import CsvDataset, Fetch
from podium.core.errors import DataError, ParamsError
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.download import get_file
from podium.sources.locations import (
    check_digest,
    downloads_folder,
    is_address,
    is_web,
    leads_out,
    local_path,
    watched_path,
    without_secrets,
)
from podium.sources.names import broken_rule, normal_path, printable, source_name, split_word
from podium.sources.source import (
    WHOLE,
    Box,
    DownloadedSource,
    Listing,
    PixelBox,
    SourceImage,
    Unusable,
    Usable,
    check_box,
    in_order,
    read_upright_size,
)
from podium.sources.table_form import TableForm, check_header, require_text

_MARK: Final = re.compile(r"[?#]")
_INT: Final = re.compile(r"[+-]?[0-9]+")
_CONVERT: Final[Mapping[str, Callable[[str], str | float | int]]] = {"text": str, "int": int, "float": float}


@dataclass(frozen=True)
class RowImage(SourceImage):
    """The image of the row that ends in `line`."""

    line: int = 0


class TableSource(DownloadedSource):
    """A table's images as files."""

    def prepare(self, images: Sequence[SourceImage]) -> Usable:
        """Downloads photographs that are not here yet, and turns boxes in pixels into fractions."""
        here, skipped = self.download(images)
        size_of = cache(read_upright_size)
        rows: list[RowImage] = []
        for row in (image for image in here if isinstance(image, RowImage)):  # all of `listing` are
            try:
                pixels = isinstance(row.box, PixelBox)
                rows.append(replace(row, box=check_box(row.box, *size_of(self.files[row.path]))) if pixels else row)
            except Unusable as reason:
                skipped.append(SkippedFile(path=row.path, reason=str(reason), image=True))
        kept, left_out = _unique(rows)  # pixels may turn out to be the box another row has
        return Usable(tuple(kept), (*skipped, *left_out))


def open_table(layout: Layout, dataset: CsvDataset, fetch: Fetch) -> TableSource:
    """Opens a table; the source's name is the table's without its ending.

    Raises:
        ParamsError: the table is not pinned, its images lie where DVC does not watch, or the encoding is unknown.
        DataError: the table is missing, has another digest, or cannot be used.
    """
    table = get_file(layout, dataset, fetch)
    digest = check_digest(table, dataset.sha256)
    return read_table(layout, table, dataset, fetch, digest=digest, base=_base(layout, dataset))


def read_table(
    layout: Layout, table: Path, dataset: CsvDataset, fetch: Fetch, *, digest: str, base: str
) -> TableSource:
    """Opens a table that is here.

    Args:
        layout: the project's paths.
        table: the file.
        dataset: its columns and encoding.
        fetch: limits of downloading.
        digest: of the table.
        base: where its images lie: an address without a slash at its end, or an absolute path.

    Raises:
        ParamsError: the encoding is unknown.
        DataError: the table cannot be used.
    """
    try:
        codec = codecs.lookup(dataset.encoding).name
    except LookupError as error:
        raise ParamsError(f"dataset.encoding {dataset.encoding!r} is not known: try utf-8, cp1252 or utf-16") from error
    require_text(table)
    # Spreadsheets put a byte order mark before UTF-8; it is no part of the first column's name.
    with table.open(encoding="utf-8-sig" if codec == "utf-8" else codec, newline="") as stream:
        rows, written = read_rows(table.name, stream, dataset, base if is_address(base) else "")
    if is_address(base):
        folder = downloads_folder(layout) / digest[:16] / "images"
        files = {path: folder / _file_name(path) for path in written}
        addresses = {path: _address(base, path, as_written) for path, as_written in written.items()}
    else:
        folder, addresses = Path(base), {}
        rows, files = _on_disk(rows, written, folder)
    listing = Listing(source_name(table.name).removesuffix(".csv"), digest, rows.images, rows.skipped)
    return TableSource(listing, files, addresses, folder, fetch)


def _base(layout: Layout, dataset: CsvDataset) -> str:
    """Where the images lie: an address without a slash at its end, or an absolute path below data/."""
    if dataset.images is None and is_address(dataset.location):
        return dataset.location.partition("?")[0].rpartition("/")[0]
    if dataset.images is not None and is_address(dataset.images):
        return dataset.images.rstrip("/")
    folder = dataset.images or str(local_path(layout, dataset.location).parent)
    return str(watched_path(layout, dataset.source, folder, key="images"))


def _on_disk(rows: Usable, written: Mapping[str, str], base: Path) -> tuple[Usable, dict[str, Path]]:
    """The rows whose file lies below `base`, and the files; the others become rows left out.

    Raises:
        DataError: the folder is not there, or holds none of them.
    """
    if not base.is_dir():
        raise DataError(f"folder {base} does not exist: put the images there, or correct dataset.images")
    root = base.resolve()
    files: dict[str, Path] = {}
    missing: list[SkippedFile] = []
    for path, as_written in written.items():
        forms = dict.fromkeys((as_written, path, unicodedata.normalize("NFD", path)))
        # Path.is_file would raise for a name too long for this disk.
        file = next((base / form for form in forms if os.path.isfile(base / form)), None)  # noqa: PTH113
        if file is not None and not leads_out(root, file.resolve()):
            files[path] = file
        else:
            reason = "there is no such file" if file is None else "a link that leaves the folder"
            missing.append(SkippedFile(path=path, reason=reason, image=True))
    images = tuple(image for image in rows.images if image.path in files)
    if not images:
        raise DataError(
            f"none of the {len(written):,} images lies below {base} (first: {missing[0].path!r}, "
            f"{missing[0].reason}): correct dataset.images"
        )
    return Usable(images, in_order([*rows.skipped, *missing])), files


def _file_name(path: str) -> str:
    """A short, safe name for a downloaded photograph, in one of 256 folders."""
    digest = hashlib.sha256(path.encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:34]}"


def _address(base: str, path: str, written: str) -> str:
    """Where a photograph is downloaded from: the whole address in the row, or its path below `base` with its query."""
    if is_address(written):
        return written
    if not is_web(base):
        return f"{base}/{path}"
    _, mark, query = written.partition("?")
    return f"{base}/{quote(path)}{mark}{query}"


def read_rows(name: str, stream: IO[str], dataset: CsvDataset, base: str) -> tuple[Usable, dict[str, str]]:
    """Reads the text of a table, opened with `newline=""`.

    `base` is the address of the images, and rows may give whole addresses below it; empty for a folder.

    Returns:
        Its images by key and the rows left out; and each path as written, by its normal form (without `?` and `#`).

    Raises:
        DataError: it is empty, is no CSV, has another encoding, lacks a column, has several classes a row, or no row
            can be used.
    """
    found: list[RowImage] = []
    skipped: list[SkippedFile] = []
    written: dict[str, str] = {}
    labels: dict[tuple[str, str], str] = {}
    reader = csv.reader(stream, delimiter=dataset.delimiter, strict=True)
    form = TableForm(name, dataset)
    try:
        for row, misfit in form.watch(_rows(name, reader, dataset)):
            line, path = reader.line_num, row.get(dataset.columns.path, "")
            try:
                if misfit:
                    raise Unusable(misfit)
                image = _image(line, row, dataset, _inside(path, base))
                contradicts = labels.get(image.key, image.label) != image.label  # refused with that row
                first = written.setdefault(image.path, path)
                if not contradicts and is_web(base) and _MARK.split(first)[1:] != _MARK.split(path)[1:]:
                    raise Unusable("its address is that of another row up to `?` or `#`")
                labels.setdefault(image.key, image.label)
                found.append(image)
            except Unusable as reason:
                shown = path.partition("?")[0] if is_web(base) and not is_address(path) else without_secrets(path)
                skipped.append(_left_out(line, shown, str(reason)))
    except csv.Error as error:
        what = f"{name} is not a CSV (line {reader.line_num}: {error})"
        raise DataError(f"{what}: see dataset.delimiter, or write the table again") from error
    except UnicodeError as error:
        raise DataError(
            f"{name} is not {dataset.encoding} ({error}): set dataset.encoding (cp1252, utf-16, ...), or save the "
            "table as UTF-8"
        ) from error
    form.require_one_class(image.label for image in found)
    kept, left_out = _unique(found)
    skipped += left_out
    if not kept:
        first = f" (first: {skipped[0].path!r}, {skipped[0].reason})" if skipped else ""
        raise DataError(f"{name} lists no image that can be used{first}: correct the table or dataset.columns")
    return Usable(tuple(sorted(kept, key=lambda image: image.key)), in_order(skipped)), written


def _rows(name: str, reader: Iterator[list[str]], dataset: CsvDataset) -> Iterator[tuple[dict[str, str], str]]:
    """Values by column of every row that is not blank, and what is wrong with one of another length.

    Raises:
        DataError: the table is empty, or lacks a column.
    """
    header = [column.strip() for column in next(reader, [])]
    if not any(header):
        raise DataError(f"{name} is empty: it needs a line of column names and a row an image")
    check_header(name, header, dataset)
    for fields in filter(None, reader):
        misfit = f"{len(fields)} fields where the header has {len(header)}; are quotes missing?"
        yield dict(zip(header, fields, strict=False)), misfit if len(fields) != len(header) else ""


def _inside(path: str, base: str) -> str:
    """A path relative to where the images lie, in its normal form.

    Raises:
        Unusable: it lies elsewhere, or is no safe path.
    """
    inside = path.removeprefix(f"{base}/") if base else path
    if is_web(base):
        # A row that is no whole address is a name, and `#` may stand in one; `?` may not on some systems.
        inside = re.split(r"[?#]" if is_web(path) else r"\?", inside, maxsplit=1)[0]
    if "://" in inside:
        raise Unusable("an address that does not start with that of the images: set dataset.images")
    rule = broken_rule(inside)
    if rule or not normal_path(inside):
        raise Unusable(f"the path {rule}" if rule else "no path")
    return normal_path(inside)


def _left_out(line: int, path: str, reason: str) -> SkippedFile:
    """A row that is left out."""
    return SkippedFile(path=printable(path), reason=f"line {line}: {reason}", image=True)


def _image(line: int, row: Mapping[str, str], dataset: CsvDataset, path: str) -> RowImage:
    """The image a row describes.

    Raises:
        Unusable: its label, split, box or a further column cannot be used.
    """
    columns = dataset.columns

    def text(column: str | None) -> str:
        return row[column].strip() if column else ""

    label, split, together = text(columns.label), text(columns.split), text(dataset.together)
    sides = columns.box.model_dump().values() if columns.box else ()
    if not label or (dataset.together and not together):
        raise Unusable(f"no {dataset.together}" if label else "no label")
    if split and not split_word(split):
        raise Unusable(f"split {split!r} is none of train, val, test")
    return RowImage(
        keep_together=together,
        line=line,
        path=path,
        label=unicodedata.normalize("NFC", label),
        group=text(columns.group),
        split=word.split if (word := split_word(split)) else "",
        licence=text(columns.licence),
        box=_box([text(side) for side in sides], dataset.box_units),
        extras={column: _converted(column, row[column], kind) for column, kind in dataset.extras.items()},
    )


def _box(texts: Sequence[str], units: str) -> Box:
    """The box of the four numbers left, top, right and bottom; the whole where none is given.

    Raises:
        Unusable: they are not four numbers.
    """
    if not any(texts):
        return WHOLE
    try:
        box = PixelBox(*map(float, texts))
    except ValueError:
        shown = ", ".join(" ".join(text.split()) or "nothing" for text in texts)
        raise Unusable(f"a box of {shown} is not four numbers") from None
    return box if units == "pixels" else check_box(box, 1, 1)


def _converted(column: str, text: str, kind: str) -> str | float | int:
    """A value of a further column as its kind.

    Raises:
        Unusable: it is no number and should be one.
    """
    if kind == "int" and not _INT.fullmatch(text.strip()):
        raise Unusable(f"{column} {text!r} is no whole number")
    try:
        return _CONVERT[kind](text)
    except ValueError:
        raise Unusable(f"{column} {text!r} is no number") from None


def _unique(rows: Iterable[RowImage]) -> tuple[list[RowImage], list[SkippedFile]]:
    """One image a key; copies of a row and rows that contradict each other are left out."""
    by_key: dict[tuple[str, str], list[RowImage]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    kept, skipped = [], []
    for first, *others in by_key.values():
        if {row.label for row in others} <= {first.label}:
            kept.append(first)
            reason = f"the same image stands in line {first.line}"
            skipped += [_left_out(row.line, row.path, reason) for row in others]
        else:
            for row in (first, *others):
                lines = ", ".join(str(other.line) for other in (first, *others) if other is not row)
                skipped.append(_left_out(row.line, row.path, f"label {row.label!r} contradicts line {lines}"))
    return kept, skipped
