from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.data.shards import SplitRecord, finish_split, images_per_shard, open_for_fitting, open_for_testing

HOW = Preprocessing(image_size=8, pad_value=114, max_pixels=100)
LABELS = ["orange", "lemon", "orange", "lemon", "귤"]


def write(prepared: Path, name: str = "train", per_shard: int = 2) -> np.ndarray:
    """Five images in shards of two."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    folder = prepared / name
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, 5, per_shard)):
        np.save(folder / f"images-{number:05d}.npy", pixels[start : start + per_shard])
    index = pd.DataFrame(
        {"image_id": list("abcde"), "path": list("vwxyz"), "label": LABELS, "group": "", "clutter": 0.5}
    )
    finish_split(folder, name, ["lemon", "orange", "귤"], HOW, index)  # type: ignore[arg-type]  # any name will do
    return pixels


def test_a_split_comes_back_as_it_was_written(tmp_path: Path) -> None:
    pixels = write(tmp_path)

    split = open_for_fitting(tmp_path, "train")

    assert len(split) == 5
    assert split.classes == ("lemon", "orange", "귤")
    assert split.labels.tolist() == [1, 0, 1, 0, 2]
    assert split.preprocessing == HOW
    assert split.index["clutter"].tolist() == [0.5] * 5
    rows = np.array([4, 0, 3, 0])
    np.testing.assert_array_equal(split.images(rows), pixels[rows])


def test_opening_reads_no_pixels(tmp_path: Path) -> None:
    write(tmp_path)

    assert all(isinstance(shard, np.memmap) for shard in open_for_fitting(tmp_path, "train").shards)


def test_the_test_split_is_closed_to_tuning_and_training(tmp_path: Path) -> None:
    write(tmp_path, "test")

    with pytest.raises(DataError, match="'test' is not open to tuning and training"):
        open_for_fitting(tmp_path, "test")
    assert open_for_testing(tmp_path).name == "test"


def test_the_digest_follows_pixels_rows_classes_and_preprocessing(tmp_path: Path) -> None:
    write(tmp_path)
    folder = tmp_path / "train"
    first = SplitRecord.read(folder / "split.json").digest
    index = pd.read_parquet(folder / "index.parquet")
    classes = ["lemon", "orange", "귤"]

    def digest(index: pd.DataFrame = index, classes: list[str] = classes, how: Preprocessing = HOW) -> str:
        finish_split(folder, "train", classes, how, index)
        return SplitRecord.read(folder / "split.json").digest

    assert digest() == first
    assert digest(index=index.assign(label="lemon")) != first
    assert digest(classes=[*classes, "tulip"]) != first
    assert digest(how=HOW.model_copy(update={"pad_value": 0})) != first
    shard = np.load(folder / "images-00000.npy")
    shard[0, 0, 0, 0] ^= 1
    np.save(folder / "images-00000.npy", shard)
    assert digest() != first


def test_a_missing_shard_is_noticed(tmp_path: Path) -> None:
    write(tmp_path)
    np.save(tmp_path / "train" / "images-00002.npy", np.zeros((0, 4, 4, 3), dtype=np.uint8))

    with pytest.raises(DataError, match="is damaged: 5 images are listed"):
        open_for_fitting(tmp_path, "train")


@pytest.mark.parametrize("name", ["index.parquet", "images-00001.npy"])
@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"PK\x03\x04", lambda data: data[: len(data) // 2], None]
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes] | None) -> None:
    write(tmp_path)
    path = tmp_path / "train" / name
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    with pytest.raises(DataError, match=f"{name} .*`dvc repro`") as raised:
        open_for_fitting(tmp_path, "train")
    assert "\n" not in str(raised.value)


def test_a_label_that_is_no_class_is_damage(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "train" / "index.parquet"
    pd.read_parquet(path).assign(label="tulip").to_parquet(path)
    with pytest.raises(DataError, match="no column or class 'tulip'"):
        open_for_fitting(tmp_path, "train")
    pd.read_parquet(path).drop(columns="label").to_parquet(path)
    with pytest.raises(DataError, match="no column or class 'label'"):
        open_for_fitting(tmp_path, "train")


def test_a_split_that_was_not_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no prepared split: run `dvc repro preprocess`"):
        open_for_fitting(tmp_path, "val")


def test_shards_stay_below_their_limit_whatever_the_size_of_images() -> None:
    assert images_per_shard(64) * 64 * 64 * 3 <= 256 * 2**20 < (images_per_shard(64) + 1) * 64 * 64 * 3
    assert images_per_shard(20_000) == 1


def test_a_subset_is_a_split_of_its_own(tmp_path: Path) -> None:
    pixels = write(tmp_path)
    split = open_for_fitting(tmp_path, "train")

    part = split.subset(np.array([4, 1, 3]))

    assert (len(part), part.labels.tolist(), part.index["image_id"].tolist()) == (3, [2, 0, 0], list("ebd"))
    assert (part.images(np.array([2, 0])) == pixels[[3, 4]]).all()
    assert (part.subset(np.array([0])).images(np.array([0])) == pixels[[4]]).all()
    assert len({split.digest, part.digest, split.subset(np.array([4, 3, 1])).digest}) == 3
