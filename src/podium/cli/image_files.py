"""Which image files a command is given: a folder, a pattern, files, a table or an archive."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from podium.config.params import Params
from podium.core.errors import DataError, UsageError, one_line
from podium.core.layout import Layout

_COLUMNS = ("path", "image")  # of a table, the first that it has
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class ImageFile:
    """A file to be asked about: what its row calls it, where it lies, why it is not opened (empty where it is)."""

    path: str
    place: Path
    refused: str = ""


def list_files(layout: Layout, params: Params, given: list[str]) -> list[ImageFile]:
    """The files that are meant, each once, sorted by their path.

    Raises:
        UsageError: a table or an archive is given beside something else.
        DataError: a path is not there, or a table or an archive cannot be read.
    """
    from podium.sources.names import ARCHIVE_SUFFIXES

    found: list[ImageFile] = []
    for one in given:
        place = Path(one)
        suffix = place.suffix.removeprefix(".").casefold()
        alone = suffix == "csv" or suffix in ARCHIVE_SUFFIXES
        if alone and len(given) > 1:
            raise UsageError(f"{one} is given with {len(given) - 1} more: name a table or an archive alone")
        if place.is_dir():
            found += _below(place, place)
        elif place.is_file() and suffix == "csv":
            found += _of_table(place)
        elif place.is_file() and alone:
            from podium.sources.archive import unpack

            folder, _ = unpack(layout, place.absolute(), None, params.fetch)
            found += _below(folder, Path())
        elif place.is_file():
            found.append(_file(one, place))
        elif has_magic(one):
            matching = glob(one, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
            found += [_file(path, Path(path)) for path in matching if not Path(path).is_dir()]
        else:
            raise DataError(f"{one} does not exist: name a folder, a pattern, image files, a CSV or an archive")
    return sorted({file.path: file for file in found}.values(), key=lambda file: file.path)


def _below(folder: Path, called: Path) -> Iterator[ImageFile]:
    """The files below a folder, but for hidden ones and litter; `called` stands before their names."""
    from podium.sources.names import is_litter, reason_to_skip

    closed: list[OSError] = []
    for at, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if not is_litter(name)]
        here = called / Path(at).relative_to(folder)
        links = [(name, "a link to a folder, which is not followed") for name in folders if Path(at, name).is_symlink()]
        for name, refused in (*((name, reason_to_skip(name)) for name in names if not is_litter(name)), *links):
            yield _file(str(here / name), Path(at, name), refused)
    for error in closed:
        yield _file(str(called / Path(error.filename).relative_to(folder)), Path(error.filename), str(error.strerror))


def _of_table(table: Path) -> Iterator[ImageFile]:
    """The files that a CSV lists.

    Raises:
        DataError: it is no CSV in UTF-8, or has no column for them.
    """
    from podium.sources.table_form import require_text

    require_text(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            headers = {d: next(csv.reader([first], delimiter=d), []) for d in _DELIMITERS}
            named = next(((d, name) for d, row in headers.items() for name in _COLUMNS if name in row), None)
            if named is None:
                raise DataError(
                    f"{table} has no column `path` or `image` (its columns: {', '.join(map(repr, headers[',']))}): "
                    "name the column of the files so"
                )
            delimiter, column = named
            for row in csv.DictReader(stream, headers[delimiter], delimiter=delimiter, strict=True):
                path = row[column] or ""
                yield _file(path, table.parent / path, "" if path else "the table names no file here")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no CSV in UTF-8 ({one_line(error)}): save it as one") from error


def _file(path: str, place: Path, refused: str = "") -> ImageFile:
    """A file under a name that any text file can hold."""
    from podium.sources.names import printable

    return ImageFile(printable(path), place, refused)
