"""Tables between stages: the same bytes for the same rows, written and read a part at a time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podium.core.errors import DataError
from podium.records import base
from podium.records.base import ParquetTable, read_parquet, write_parquet

FRAME = pd.DataFrame(
    {
        "image_id": [f"{number:04x}" for number in range(25)],
        "label": ["귤", "", "lemon", "a", "b"] * 5,
        "width": np.arange(25),
        "share": np.linspace(0, 1, 25, dtype=np.float32),
        "seen": [None, True, False, True, None] * 5,
    }
)


def test_the_bytes_are_those_of_a_table_written_at_once(tmp_path: Path) -> None:
    write_parquet(tmp_path / "one.parquet", FRAME)

    table = pa.Table.from_pandas(FRAME, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "other.parquet", compression="zstd")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


@pytest.mark.parametrize("rows", [0, 24, 25])
def test_many_rows_are_written_in_groups_and_read_back_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(base, "_ROW_GROUP", 8)
    frame, path = FRAME.iloc[:rows], tmp_path / "some.parquet"

    write_parquet(path, frame)

    groups = pq.read_metadata(path)
    assert {groups.row_group(n).num_rows for n in range(groups.num_row_groups)} <= {8, rows % 8}
    pd.testing.assert_frame_equal(read_parquet(path), frame)


def test_columns_are_read_in_the_order_they_are_asked_for(tmp_path: Path) -> None:
    write_parquet(tmp_path / "table.parquet", FRAME)
    table = ParquetTable(tmp_path / "table.parquet")

    assert table.columns == list(FRAME.columns)
    assert len(table) == 25
    pd.testing.assert_frame_equal(table[["width", "label"]], FRAME[["width", "label"]])


def test_a_table_that_is_missing_or_damaged_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.parquet does not exist: run `dvc repro` to make it"):
        ParquetTable(tmp_path / "none.parquet")
    path = tmp_path / "table.parquet"
    write_parquet(path, FRAME)
    table, data = ParquetTable(path), path.read_bytes()
    path.write_bytes(b"\0" * len(data))
    with pytest.raises(DataError, match=r"table.parquet is not a Parquet file: delete it and run `dvc repro`"):
        ParquetTable(path)
    with pytest.raises(DataError, match=r"table.parquet is not a Parquet file"):
        table[["label"]]
