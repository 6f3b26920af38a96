"""Reading the CSV files of Open Images: columns by name, rows in a stream, damage and missing columns in words.

The box file of the training set has 14 million rows, so nothing here holds a whole file. Stands on `core` and pyarrow.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
from numpy.typing import NDArray

from podium.core.errors import DataError, one_line

ID_BYTES: Final = 16
"""Every photograph of Open Images has an id of 16 hexadecimal digits."""
_BLOCK: Final = 4 * 2**20
_CLASS_PREFIXES = ("/m/", "/g/", "/t/")


def class_names(path: Path) -> dict[str, str]:
    """Classes by the name people read (`Person`), with their key (`/m/01g317`).

    Some editions of the file have a header and some have none, so a first row whose key is none is left out.

    Args:
        path: `class-descriptions-boxable.csv`, two columns.

    Raises:
        DataError: the file cannot be read, or names no class.
    """
    names: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream, strict=True)):
                if len(row) >= 2 and row[0].startswith(_CLASS_PREFIXES):
                    if row[1].strip():
                        names.setdefault(row[1].strip(), row[0])
                elif number and row:
                    raise DataError(f"{path.name}: row {number + 1} is not a class and its name: get the file again")
    except (UnicodeDecodeError, csv.Error, FileNotFoundError) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error)}): get the file again") from error
    if not names:
        raise DataError(f"{path.name} names no class: get the file again")
    return names


def scan(
    path: Path,
    required: Mapping[str, pa.DataType],
    optional: Mapping[str, pa.DataType],
    where: ds.Expression,
    *,
    line_breaks: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Streams some columns of the rows for which `where` holds, about 4 MB of the file at a time.

    Args:
        path: a CSV with a header.
        required: columns it must have, with their types.
        optional: columns that come too where the file has them.
        where: on columns of either kind.
        line_breaks: whether quoted values may hold line breaks, which costs time.

    Yields:
        Batches, columns in the order of `required` and `optional`.

    Raises:
        DataError: a column is missing, a row is damaged, or a value is not of its type.
    """
    found = _header(path)
    missing = [name for name in required if name not in found]
    if missing:
        has = ", ".join(found)[:200]
        raise DataError(f"{path.name} has no column {missing[0]!r} (its columns are {has!r}): get the file again")
    types = {**required, **{name: kind for name, kind in optional.items() if name in found}}
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


def _header(path: Path) -> list[str]:
    """Names of the columns; none of an empty file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream, strict=True), [])
    except (UnicodeDecodeError, csv.Error, FileNotFoundError) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error)}): get the file again") from error


def image_ids(column: pa.Array, path: Path) -> NDArray[np.bytes_]:
    """Ids of photographs as numpy bytes.

    Args:
        column: strings.
        path: the file they come from, for the message.

    Returns:
        (N,) of dtype `S16`.

    Raises:
        DataError: one is not an id of Open Images.
    """
    try:
        fixed = column.cast(pa.binary()).cast(pa.binary(ID_BYTES))
    except pa.ArrowInvalid as error:
        raise DataError(_no_id(path)) from error
    if fixed.null_count:
        raise DataError(_no_id(path))
    values: NDArray[np.bytes_] = np.frombuffer(fixed.buffers()[1], dtype=f"S{ID_BYTES}")
    return values[fixed.offset : fixed.offset + len(fixed)]


def _no_id(path: Path) -> str:
    """What is said of a damaged id."""
    return f"{path.name} holds an ImageID that is not {ID_BYTES} characters long: get the file again"


def texts(ids: NDArray[np.bytes_]) -> pa.Array:
    """Ids as Arrow strings."""
    return pa.array(ids.tolist(), pa.binary()).cast(pa.string())
