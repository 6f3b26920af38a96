import zipfile
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.data.manifest import RAW_COLUMNS, RawImages, RawWriter, image_id, read_manifest, write_manifest
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


def test_only_some_columns_are_read_and_none_of_them_may_be_missing(tmp_path: Path) -> None:
    frame("a", "b").drop(columns="group").to_parquet(tmp_path / "manifest.parquet")

    found = read_manifest(tmp_path / "manifest.parquet", RAW_COLUMNS, "image_id", "label")

    assert found.to_dict("list") == {"image_id": ["a", "b"], "label": ["레몬"] * 2}
    with pytest.raises(DataError, match="lacks the column 'group'"):
        read_manifest(tmp_path / "manifest.parquet", RAW_COLUMNS, "image_id", "group")


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


def pack(folder: Path, images: dict[str, bytes], shard_images: int = 3, shard_bytes: int = 100) -> dict[str, str]:
    folder.mkdir()
    with closing(RawWriter(folder, shard_images, shard_bytes)) as writer:
        return {key: writer.add(key, data) for key, data in images.items()}


@given(sizes=st.lists(st.integers(0, 150), max_size=12))
def test_every_image_comes_back_from_the_shard_it_was_said_to_be_in(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("raw") / "raw"
    images = {f"{i:016x}": bytes([i]) * size for i, size in enumerate(sizes)}
    shards = pack(folder, images)
    reader = RawImages(folder)
    assert [reader.read(shards[key], key) for key in images] == list(images.values())
    for shard in folder.iterdir():
        with zipfile.ZipFile(shard) as archive:
            infos = archive.infolist()
        assert len(infos) <= 3
        assert sum(i.file_size for i in infos) <= 100 or len(infos) == 1  # an image larger than a shard stands alone
        assert all(i.compress_type == zipfile.ZIP_STORED for i in infos)


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    images = {f"{i:016x}": bytes(range(i)) for i in range(10)}
    assert pack(tmp_path / "a", images) == pack(tmp_path / "b", images)
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "ab")
    assert first == second
    assert len(first) > 1


def test_a_missing_image_shard_or_a_damaged_one_says_what_to_run(tmp_path: Path) -> None:
    shards = pack(tmp_path / "raw", {"0" * 16: b"x" * 50})
    reader = RawImages(tmp_path / "raw")
    for shard, key in ((shards["0" * 16], "1" * 16), ("images-00009.zip", "0" * 16)):
        with pytest.raises(DataError, match=f"does not hold photograph {key}: run `dvc repro -f fetch`"):
            reader.read(shard, key)
    path = tmp_path / "raw" / "images-00000.zip"
    path.write_bytes(path.read_bytes().replace(b"xxxxx", b"xxyxx", 1))
    with pytest.raises(DataError, match="does not hold photograph"):
        RawImages(tmp_path / "raw").read("images-00000.zip", "0" * 16)
