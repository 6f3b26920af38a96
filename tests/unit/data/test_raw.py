"""Raw shards: bytes come back unchanged, the same images give the same files, what is missing is named."""

import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.data.raw import RawImages, RawWriter


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
