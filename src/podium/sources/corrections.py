"""Labels that people corrected: a CSV that says of single images which class they are of, or that they are left out.

`dataset.corrections` names it. Label map, groups, limits and given splits come first: a corrected image is the one it
was, in the split it was in; its class, and the coarse class of that, is another. A row names its image by `path`, and
by `image_id` where several images have that path. `label` is the class it is to have, `left_out`, or empty where
nothing was decided. `was` is the label that it has without this file: a row whose image has another one is out of
date. `why` is free text; other columns are ignored.
"""

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from podium.config.dataset import LEFT_OUT
from podium.config.problems import nearest
from podium.core.errors import DataError, ParamsError, first_few, one_line
from podium.core.layout import Layout
from podium.data.manifest import image_id
from podium.records.fetch import Correction, Corrections, SkippedFile
from podium.sources.locations import check_digest, is_address, record_location, watched_path
from podium.sources.source import Part, SourceImage, in_order
from podium.sources.table_form import require_text

_DELIMITERS: Final = ",;\t"  # spreadsheets of some countries write the second
_KEY: Final = "corrections"
COLUMNS: Final = ("path", "image_id", "was", "label", "why")
"""Of the file, in the order in which `podium review` writes them."""
_SHOWN: Final = 5
_CLASSES_SHOWN: Final = 12


@dataclass(frozen=True)
class Row:
    """A row that decides something; `line` is that of the file where it ends."""

    line: int
    path: str
    image_id: str
    was: str
    label: str
    why: str

    @property
    def named(self) -> str:
        """How a message calls the image."""
        return repr(self.path or self.image_id)


@dataclass(frozen=True)
class _Found:
    """A row and its image, which is in the part of that number."""

    row: Row
    part: int
    image: SourceImage
    image_id: str


def correct_labels(
    layout: Layout, location: str | None, parts: Sequence[Part]
) -> tuple[list[Part], Corrections | None]:
    """Gives single images the labels that people decided.

    Args:
        layout: the project's paths.
        location: `dataset.corrections`; None for no file.
        parts: prepared, under our labels.

    Returns:
        The parts, with what is left out among their `skipped`; and what was done, None without a file.

    Raises:
        ParamsError: the location is an address, or lies outside data/.
        DataError: the file is missing or no such table; a row names no image, several, or one that another row names;
            an image has another label than `was` says; a label is no class; or fewer than two classes are left.
    """
    if location is None:
        return list(parts), None
    name = record_location(layout, location)
    rows = read_rows(layout, location)
    _check_labels(name, rows, {label for part in parts for label in part.labels})
    found, unused = _match(name, rows, parts)
    _check_found(name, found)
    groups = [_groups(parts, first=number) for number in range(len(parts))]
    corrected = [
        _correct(part, groups[number], {each.image.key: each.row for each in found if each.part == number}, name)
        for number, part in enumerate(parts)
    ]
    if len({label for part in corrected for label in part.labels}) < 2:
        raise DataError(f"{name} leaves fewer than two classes: comparing classifiers needs two; take rows out of it")
    done = [
        Correction(
            image_id=each.image_id,
            path=each.image.path,
            source=parts[each.part].origin.name,
            was=each.image.label,
            label=None if each.row.label == LEFT_OUT else each.row.label,
            why=each.row.why,
        )
        for each in found
    ]
    done.sort(key=lambda one: (one.source, one.path, one.image_id))
    return corrected, Corrections(location=name, images=done, unused=unused)


def read_rows(layout: Layout, location: str) -> list[Row]:
    """The rows of the file that decide something.

    Raises:
        ParamsError: the location is an address, or lies outside data/.
        DataError: the file is missing, is no CSV in UTF-8 or lacks a column.
    """
    if is_address(location):
        raise ParamsError(f"dataset.{_KEY} is an address: copy the file below data/, which DVC watches")
    path = watched_path(layout, "", location, _KEY)
    check_digest(path, None, f"dataset.{_KEY}")
    return list(_read(path, record_location(layout, location)))


def _read(path: Path, name: str) -> Iterator[Row]:
    """The rows with a label.

    Raises:
        DataError: the file is no CSV in UTF-8, or lacks a column.
    """
    require_text(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
            columns = reader.fieldnames or []
            if "label" not in columns or not {"path", "image_id"} & {*columns}:
                raise DataError(
                    f"{name} needs the columns `label` and `path` (or `image_id`), but has "
                    f"{', '.join(map(repr, columns)) or 'none'}: `podium review` writes such a file"
                )
            for row in reader:
                cells = {column: row.get(column) or "" for column in COLUMNS}
                cells["path"] = unicodedata.normalize("NFC", cells["path"])
                if cells["label"].strip():
                    yield Row(reader.line_num, **cells)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} is no CSV in UTF-8 ({one_line(error)}): save it as one") from error


def _check_labels(name: str, rows: Sequence[Row], classes: set[str]) -> None:
    """Refuses labels that are no class.

    Raises:
        DataError: there is one, or a class is called as the word for images to leave out is.
    """
    if LEFT_OUT in classes:
        raise DataError(f"a class is called {LEFT_OUT!r}, which leaves an image out in {name}: map it to another name")
    for row in rows:
        if row.label not in classes and row.label != LEFT_OUT:
            raise DataError(
                f"{name} line {row.line}: {row.label!r} is no class{nearest(row.label, [*classes, LEFT_OUT])} "
                f"(classes: {first_few(sorted(classes), _CLASSES_SHOWN)}): correct it; {LEFT_OUT} leaves an image out"
            )


def _match(name: str, rows: Sequence[Row], parts: Sequence[Part]) -> tuple[list[_Found], int]:
    """The image of each row, and how many rows are about images that the sources offer but that are not used.

    Raises:
        DataError: a row is about no image, or about several.
    """
    by_path: dict[str, list[tuple[int, SourceImage]]] = defaultdict(list)
    wanted = {row.path for row in rows}
    everything = "" in wanted
    for number, part in enumerate(parts):
        for image in part.images:
            if everything or image.path in wanted:
                by_path[image.path].append((number, image))
    by_id = {
        image_id(parts[number].origin.name, image.path, image.box.text): (number, image)
        for path, images in by_path.items()
        if everything or len(images) > 1
        for number, image in images
    }
    offered = {image.path for part in parts for image in part.source.listing.images if image.path in wanted}
    found, unknown, unused = [], [], 0
    for row in rows:
        images = by_path[row.path] if row.path else []
        if len(images) != 1 and row.image_id in by_id:
            images = [by_id[row.image_id]]
        if len(images) > 1:
            raise DataError(
                f"{name} line {row.line}: {len(images)} images have the path {row.named}: give the image_id too"
            )
        if images:
            [(number, image)] = images
            found.append(_Found(row, number, image, image_id(parts[number].origin.name, image.path, image.box.text)))
        elif row.path in offered:
            unused += 1
        else:
            unknown.append(f"{row.named} (line {row.line})")
    if unknown:
        raise DataError(
            f"{name} names {len(unknown):,} images that the dataset does not have: {first_few(unknown, _SHOWN)}: "
            "correct the rows or take them out"
        )
    return found, unused


def _check_found(name: str, found: Sequence[_Found]) -> None:
    """Refuses rows that are out of date, and an image that two rows name.

    Raises:
        DataError: there are such.
    """
    lines: dict[str, int] = {}
    for each in found:
        row, other = each.row, lines.setdefault(each.image_id, each.row.line)
        if other != row.line:
            raise DataError(f"{name} lines {other} and {row.line} name one image, {row.named}: take one of them out")
        if row.was not in ("", each.image.label):
            raise DataError(
                f"{name} line {row.line}: {row.named} has the label {each.image.label!r} now, not {row.was!r} (`was`): "
                "the row is out of date; look at the image, then correct the row or take it out"
            )


def _groups(parts: Sequence[Part], first: int) -> dict[str, str]:
    """The coarse class of each class, by its first image, in the part of that number before others."""
    groups: dict[str, str] = {}
    for part in (parts[first], *parts):
        for image in part.images:
            groups.setdefault(image.label, image.group)
    return groups


def _correct(part: Part, groups: dict[str, str], rows: dict[tuple[str, str], Row], name: str) -> Part:
    """A part with what the rows, by key of the image, say; what they leave out has its reason."""
    images, skipped, corrected = [], list(part.skipped), set()
    for image in part.images:
        row = rows.get(image.key)
        if row is not None and row.label == LEFT_OUT:
            why = f": {row.why}" if row.why else ""
            skipped.append(SkippedFile(path=image.path, reason=f"left out by {name}{why}"))
            continue
        if row is None or row.label == image.label:
            images.append(image)
            continue
        corrected.add(image.key)
        theirs = image.source_label or image.label
        images.append(replace(image, label=row.label, group=groups[row.label], source_label=theirs))
    return replace(part, images=tuple(images), skipped=in_order(skipped), corrected=frozenset(corrected))
