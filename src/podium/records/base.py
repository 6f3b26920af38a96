"""What every document between two stages is made of. A reader and a writer share one definition.

A rate is a fraction in [0, 1], a loss is in nats, a size is in pixels or bytes as named. No record holds a measured
time, a date, a run id or a host name: the same inputs give the same bytes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from podium.core.errors import DataError
from podium.core.files import replacing, write_json

if TYPE_CHECKING:
    import pandas as pd

Triple = tuple[float, float, float]
"""One number a channel (red, green, blue), such as the mean or the deviation of pixels in [0, 1]."""

_ROW_GROUP = 2**20  # rows, as many as `pyarrow.parquet.write_table` takes by itself
_Record = TypeVar("_Record", bound="Record")


class Record(BaseModel):
    """A JSON document or a part of one: frozen, unknown keys and numbers that are none (NaN, infinity) refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def write(self, path: Path) -> None:
        """Writes canonical JSON (sorted keys), whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the document back.

        Raises:
            DataError: the file is missing or is not such a document.
        """
        if not path.is_file():
            raise DataError(f"{path} does not exist: run `dvc repro` to make it")
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, nested too deep, no such document
            raise DataError(f"{path} is not a valid {cls.__name__}: delete it and run `dvc repro`") from error


class ParquetTable:
    """A Parquet file that a stage has written, subscripted like a frame: columns are read when they are asked for.

    So no more than a few columns of millions of rows are in memory at once.
    """

    def __init__(self, path: Path) -> None:
        """Reads the names of the columns.

        Raises:
            DataError: the file is missing, damaged or not Parquet.
        """
        import pyarrow.parquet as pq

        self._path = path
        with _readable(path):
            found = pq.read_metadata(path)
        self.columns: list[str] = found.schema.to_arrow_schema().names
        self._rows: int = found.num_rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, columns: list[str]) -> "pd.DataFrame":
        """Some columns, all rows, in the order that is asked for; raises as `__init__` does."""
        return read_parquet(self._path, columns)[columns]


def read_parquet(path: Path, columns: list[str] | None = None) -> "pd.DataFrame":
    """Reads a Parquet file that a stage has written; of `columns`, one that it lacks is left out.

    Raises:
        DataError: the file is missing, damaged or not Parquet.
    """
    import pyarrow.parquet as pq

    with _readable(path):
        there = None if columns is None else [name for name in pq.read_schema(path).names if name in columns]
        frame: pd.DataFrame = pq.read_table(path, columns=there).to_pandas()
    return frame


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Reads of a Parquet file.

    Raises:
        DataError: it is missing, damaged or not Parquet.
    """
    import pyarrow as pa

    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    try:
        yield
    except PermissionError:
        raise
    except (pa.ArrowException, OSError) as error:  # damage inside a file that starts well comes as OSError
        raise DataError(f"{path} is not a Parquet file: delete it and run `dvc repro`") from error


def write_parquet(path: Path, frame: "pd.DataFrame") -> None:
    """Writes a table without its index as Parquet, whole or not at all, the same bytes for the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Schema.from_pandas(frame, preserve_index=False).remove_metadata()
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for start in range(0, max(len(frame), 1), _ROW_GROUP):  # a copy of all rows would be as large as they are
            part = frame.iloc[start : start + _ROW_GROUP]
            writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False), _ROW_GROUP)


def round_floats(record: _Record) -> _Record:
    """A copy of a record whose floats have ten significant digits: enough to compare, few enough to read a diff."""
    text = json.dumps(record.model_dump(mode="json"))
    return type(record).model_validate(json.loads(text, parse_float=lambda number: float(f"{float(number):.10g}")))
