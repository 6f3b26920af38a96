from pathlib import Path

import pandas as pd
import pytest

from podium.core.errors import DataError
from podium.data.manifest import RAW_COLUMNS, image_id, read_manifest, write_manifest
from tests.raw_images import raw_row


def frame(*keys: str) -> pd.DataFrame:
    return pd.DataFrame([{**raw_row(f"{key}.jpg", "레몬"), "image_id": key, "occlusion": 0.25} for key in keys])


def test_a_manifest_comes_back_sorted_with_the_columns_of_the_source(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.parquet", frame("b", "a", "c"), RAW_COLUMNS)

    found = read_manifest(tmp_path / "manifest.parquet", RAW_COLUMNS)

    assert found["image_id"].tolist() == ["a", "b", "c"]
    assert list(found.columns) == [*RAW_COLUMNS, "occlusion"]
    assert found["label"].tolist() == ["레몬"] * 3


def test_the_order_of_rows_and_columns_changes_no_byte(tmp_path: Path) -> None:
    rows = frame("a", "b", "c").assign(clutter=0.5)
    write_manifest(tmp_path / "one.parquet", rows, RAW_COLUMNS)
    write_manifest(tmp_path / "two.parquet", rows.iloc[::-1, ::-1], RAW_COLUMNS)

    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_an_image_that_stands_twice_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image 'a.jpg' stands twice"):
        write_manifest(tmp_path / "manifest.parquet", frame("a", "b", "a"), RAW_COLUMNS)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_column_is_named_with_its_meaning(tmp_path: Path) -> None:
    frame("a").drop(columns="label").to_parquet(tmp_path / "manifest.parquet")

    with pytest.raises(DataError, match=r"lacks the column 'label' \(class\)"):
        read_manifest(tmp_path / "manifest.parquet", RAW_COLUMNS)


@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.parquet").write_bytes(content)

    with pytest.raises(DataError, match="is not a Parquet file: delete it"):
        read_manifest(tmp_path / "manifest.parquet", RAW_COLUMNS)


def test_a_missing_manifest_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: run `dvc repro`"):
        read_manifest(tmp_path / "manifest.parquet", RAW_COLUMNS)


def test_primary_keys_tell_source_path_and_box_apart() -> None:
    keys = {
        image_id("a", "b"),
        image_id("ab", ""),
        image_id("", "ab"),
        image_id("a", "b", "0,0,1,1"),
        image_id("a", "b0,0,1,1"),
    }

    assert len(keys) == 5
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)
    assert image_id("a", "b") == image_id("a", "b")
