"""Large CSV files as streams of columns: no file is held whole, damage and missing columns are told in words.

`table_rows` reads the tables of users instead, row by row, so that one bad row is left out and not the whole table.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds

from podium.core.errors import DataError, one_line

BLOCK: Final = 4 * 2**20


def stream_columns(
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
    header = next(stream_rows(path), [])
    missing = [name for name in required if name not in header]
    if missing:
        has = ", ".join(header)[:200]
        raise DataError(f"{path.name} has no column {missing[0]!r} (its columns are {has!r}): get the file again")
    types = {**required, **{name: kind for name, kind in optional.items() if name in header}}
    kind = ds.CsvFileFormat(
        parse_options=pacsv.ParseOptions(newlines_in_values=line_breaks),
        read_options=pacsv.ReadOptions(block_size=BLOCK),
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


def stream_rows(path: Path) -> Iterator[list[str]]:
    """The rows of a small CSV, or the first of a large one.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from csv.reader(stream, strict=True)
    except (UnicodeDecodeError, csv.Error, FileNotFoundError) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error)}): get the file again") from error
