import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from podium.config.preprocess import CentreCrop, Clahe, Preprocess, Preprocessing
from podium.core.errors import DataError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.curation import dataset_profile
from podium.data.manifest import MEASURES, PREPARED_COLUMNS, RESERVED_COLUMNS, read_manifest
from podium.data.preprocess import crop_file, read_image, region_of
from podium.data.shards import open_for_fitting, open_for_testing
from podium.pipeline import preprocess
from podium.records.base import read_parquet
from podium.records.fetch import SkippedFile
from podium.records.profile import Profile
from podium.sources.source import WHOLE, Box
from tests.raw_images import RawFile, files, picture, png, write_raw

PARAMS = Preprocess(image_size=16)
CLASSES = ["lemon", "orange", "레몬"]


def prepare(root: Path, images: list[RawFile], workers: int = 0, params: Preprocess = PARAMS) -> Layout:
    layout = Layout(root)
    write_raw(layout, images, [SkippedFile(path="notes.txt", reason="not an image: .txt")])
    preprocess.preprocess_dataset(layout, params, seed=0, workers=workers)
    return layout


def hashes(layout: Layout) -> dict[str, str]:
    return {str(p.relative_to(layout.prepared)): sha256_file(p) for p in layout.prepared.rglob("*") if p.is_file()}


def brightened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


def test_every_image_ends_in_one_split_or_in_rejected_csv(tmp_path: Path) -> None:
    broken = [
        RawFile("lemon/cut.png", "lemon", png(picture("lemon", 900))[:-60]),
        RawFile("orange/page.jpg", "orange", b"<html>404</html>"),
    ]
    layout = prepare(tmp_path, [*files(CLASSES, 20), *broken])

    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    rejected = pd.read_csv(layout.rejected, keep_default_na=False)
    assert len(manifest) == 60 and set(manifest["split"]) == {"train", "val", "test"}
    assert rejected[["path", "label"]].values.tolist() == [
        ["lemon/cut.png", "lemon"],
        ["notes.txt", ""],
        ["orange/page.jpg", "orange"],
    ]
    assert rejected["reason"].str.contains("unreadable: ").tolist() == [True, False, True]
    profile = Profile.read(layout.profile)
    assert (profile.images, profile.rejected, profile.skipped) == (60, 2, 1)
    assert not (layout.work / "preprocess").exists()


def test_splits_hold_the_pixels_serving_would_see_in_the_order_of_image_ids(tmp_path: Path) -> None:
    images = files(CLASSES, 12)
    layout = prepare(tmp_path, images)
    by_path = {file.path: file for file in images}

    seen = 0
    for split in (
        open_for_fitting(layout.prepared, "train"),
        open_for_fitting(layout.prepared, "val"),
        open_for_testing(layout.prepared),
    ):
        assert split.classes == ("lemon", "orange", "레몬")
        assert split.index["image_id"].is_monotonic_increasing
        assert list(split.index.columns) == ["image_id", "photo_sha256", "path", "label", "group", "occlusion"]
        pixels = split.images(np.arange(len(split)))
        for row, path in enumerate(split.index["path"]):
            expected = read_image(by_path[path].data, Preprocessing(image_size=16, pad_value=114, max_pixels=10**6))
            np.testing.assert_array_equal(pixels[row], expected.pixels)
            assert split.index["occlusion"][row] == by_path[path].occlusion
            seen += 1
    assert seen == len(images)


def test_the_number_of_workers_changes_no_byte_and_neither_does_a_second_run(tmp_path: Path) -> None:
    images = files(CLASSES, 50)
    images[7] = replace(images[7], data=images[7].data[:50])
    layout = prepare(tmp_path / "0", images)
    expected = hashes(layout)

    preprocess.preprocess_dataset(layout, PARAMS, seed=0, workers=0)
    assert hashes(layout) == expected
    for workers in (1, 2):
        assert hashes(prepare(tmp_path / str(workers), images, workers)) == expected


def test_several_shards_hold_the_same_images_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(CLASSES, 12)
    one = open_for_fitting(prepare(tmp_path / "one", images).prepared, "train")
    monkeypatch.setattr("podium.data.shards.SHARD_BYTES", 10 * 16 * 16 * 3)

    layout = prepare(tmp_path / "many", images)

    many = open_for_fitting(layout.prepared, "train")
    assert [len(shard) for shard in many.shards] == [10, 10, len(one) - 20]
    np.testing.assert_array_equal(many.images(np.arange(len(one))), one.images(np.arange(len(one))))


def test_duplicates_stay_on_one_side_and_the_profile_says_what_chance_would_have_done(tmp_path: Path) -> None:
    copies = [RawFile(f"lemon/copy{n}.png", "lemon", png(brightened(picture("lemon", n)))) for n in range(0, 20, 2)] + [
        RawFile("orange/same.png", "orange", png(picture("orange", 3)))
    ]
    layout = prepare(tmp_path, [*files(CLASSES, 20), *copies])

    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    assert (manifest.groupby("duplicate_group")["split"].nunique() == 1).all()
    assert manifest["duplicate_kind"].value_counts().to_dict() == {"": 60, "near": 10, "exact": 1}
    profile = Profile.read(layout.profile)
    assert (profile.rejected, profile.skipped) == (0, 1)
    assert len(profile.duplicates) == 11
    assert 0 < profile.groups_would_straddle < 11
    assert profile.images_moved == 0
    exact = [group for group in profile.duplicates if group.kind == "exact"]
    assert [sorted(m.path for m in group.members) for group in exact] == [["orange/3.png", "orange/same.png"]]


def test_duplicates_across_given_splits_move_to_the_most_protected_one_and_are_reported(tmp_path: Path) -> None:
    images = [*files(CLASSES, 10, "train"), *files(CLASSES, 4, "val"), *files(CLASSES, 4, "test")]
    leaks = [
        RawFile("train/lemon/leak.png", "lemon", png(picture("lemon", 3001)), "train"),  # = test/lemon/1.png
        RawFile("val/orange/leak.png", "orange", png(brightened(picture("orange", 1002))), "val"),  # ~ train/orange/2
        RawFile("train/orange/wrong.png", "orange", png(picture("lemon", 1003)), "train"),  # another label
    ]
    layout = prepare(tmp_path, [*images, *leaks])

    split = read_manifest(layout.manifest, PREPARED_COLUMNS).set_index("path")["split"]
    assert split["train/lemon/leak.png"] == split["test/lemon/1.png"] == "test"
    assert split["val/orange/leak.png"] == split["train/orange/2.png"] == "val"
    assert (
        split.drop(["train/lemon/leak.png", "train/orange/2.png"])
        == split.index.str.split("/").str[0][~split.index.isin(["train/lemon/leak.png", "train/orange/2.png"])]
    ).all()
    profile = Profile.read(layout.profile)
    assert (profile.groups_straddled, profile.images_moved, profile.groups_conflicting) == (2, 2, 1)
    assert profile.groups_would_straddle == 2  # the given split is what would have been used
    [straddled] = [g for g in profile.duplicates if g.straddled and g.kind == "exact"]
    assert {(m.path, m.source_split, m.split) for m in straddled.members} == {
        ("train/lemon/leak.png", "train", "test"),
        ("test/lemon/1.png", "test", "test"),
    }


def test_a_published_test_split_stays_as_it_is_where_copies_of_it_are_dropped(tmp_path: Path) -> None:
    images = [*files(CLASSES, 10, "train"), *files(CLASSES, 4, "val"), *files(CLASSES, 4, "test")]
    leaks = [
        RawFile("train/lemon/leak.png", "lemon", png(picture("lemon", 3001)), "train"),  # = test/lemon/1.png
        RawFile("val/orange/leak.png", "orange", png(brightened(picture("orange", 1002))), "val"),  # ~ train/orange/2
        RawFile("test/lemon/twice.png", "lemon", png(picture("lemon", 3002)), "test"),  # = test/lemon/2.png
    ]
    layout = prepare(tmp_path, [*images, *leaks], params=Preprocess(image_size=16, duplicates="drop_from_train"))

    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    held_out = manifest[manifest["split"] != "train"]
    assert (held_out["split"] == held_out["source_split"]).all()
    assert Counter(held_out["split"]) == {"val": 13, "test": 13}
    rejected = pd.read_csv(layout.rejected, keep_default_na=False)
    assert rejected.loc[rejected["kind"] == "duplicate", ["path", "reason"]].values.tolist() == [
        ["train/lemon/leak.png", "belongs to the group of test image test/lemon/1.png"],
        ["train/orange/2.png", "belongs to the group of val image val/orange/leak.png"],
    ]
    assert set(manifest["duplicate_group"]) | set(manifest["split_group"]) <= set(manifest["image_id"])
    profile = Profile.read(layout.profile)
    assert (profile.left_out, profile.rejected, profile.images_moved, len(profile.duplicates)) == (2, 0, 0, 1)


def test_changing_size_seed_or_names_moves_no_image(tmp_path: Path) -> None:
    images = files(CLASSES, 30)

    def membership(root: str, images: list[RawFile], **changes: object) -> dict[str, str]:
        layout = Layout(tmp_path / root)
        write_raw(layout, images)
        preprocess.preprocess_dataset(layout, Preprocess(**{"image_size": 16, **changes}), seed=len(root), workers=0)
        manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
        return dict(zip(manifest["photo_sha256"], manifest["split"], strict=True))

    first = membership("a", images)
    assert membership("bb", [replace(file, path=f"elsewhere/{file.path}") for file in images]) == first
    assert membership("ccc", images, image_size=24) == first
    more = membership(
        "dddd",
        [
            *images,
            *(
                replace(f, path=f"x{f.path}", data=png(brightened(picture(f.label, n % 30))))
                for n, f in enumerate(images)
            ),
        ],
    )
    assert {digest for digest, split in first.items() if split == "test"} <= {d for d, s in more.items() if s == "test"}
    assert membership("eeeee", images, split_seed=1) != first


def test_images_of_one_plant_stay_in_one_split(tmp_path: Path) -> None:
    images = [replace(file, keep_together=f"plant {n % 12}") for n, file in enumerate(files(CLASSES, 40))]

    manifest = read_manifest(prepare(tmp_path, images).manifest, PREPARED_COLUMNS)

    assert (manifest.groupby("keep_together")["split"].nunique() == 1).all()
    assert (manifest.groupby("keep_together")["split_group"].nunique() == 1).all()
    assert manifest["split"].nunique() == 3


def test_the_profile_counts_sizes_notes_and_reasons(tmp_path: Path) -> None:
    transparent = picture("lemon", 800).convert("RGBA")
    transparent.putalpha(100)
    extra = [
        RawFile("lemon/clear.png", "lemon", png(transparent)),
        RawFile("lemon/tall.png", "lemon", png(picture("lemon", 801, (20, 90)))),
        RawFile("lemon/cut1.png", "lemon", png(picture("lemon", 1))[:100]),
        RawFile("lemon/empty.png", "lemon", b""),
    ]
    profile = Profile.read(prepare(tmp_path, [*files(["lemon", "orange"], 20), *extra]).profile)

    assert {label: sum(cells.values()) for label, cells in profile.per_class_and_split.items()} == {
        "lemon": 22,
        "orange": 20,
    }
    assert all(count for cells in profile.per_class_and_split.values() for count in cells.values())
    assert profile.per_group == {"fruit": 42}
    assert profile.notes == {"alpha on white": 1}
    assert profile.splits["train"].sizes["shorter_side"].q50 == 32
    assert sum(profile.rejected_by_reason.values()) == 3
    assert profile.rejected_by_reason["unreadable: the file is empty"] == 1


def test_a_class_without_a_readable_image_is_named(tmp_path: Path) -> None:
    broken = [RawFile(f"plum/{n}.png", "plum", b"nothing") for n in range(3)]

    with pytest.raises(DataError, match="no image of class 'plum' can be used .*plum/0.png'?: unreadable"):
        prepare(tmp_path, [*files(CLASSES, 10), *broken])


def test_a_damaged_raw_shard_stops_the_stage_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_raw(layout, files(CLASSES, 50))
    shard = layout.raw / "images-00001.zip"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])

    for workers in (0, 2):
        with pytest.raises(DataError, match="images-00001.zip does not hold photograph .* `dvc repro -f fetch`"):
            preprocess.preprocess_dataset(layout, PARAMS, seed=0, workers=workers)
    assert not layout.prepared.exists()
    assert not (layout.work / "preprocess").exists()


def test_an_empty_raw_manifest_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_raw(layout, files(CLASSES, 1))
    table = pd.read_parquet(layout.raw / "manifest.parquet")
    table.iloc[:0].to_parquet(layout.raw / "manifest.parquet")

    with pytest.raises(DataError, match="artifacts/raw holds no images"):
        preprocess.preprocess_dataset(layout, PARAMS, seed=0, workers=0)


def test_progress_is_plain_lines_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podium.console.progress.LINE_SECONDS", 0.0)
    prepare(tmp_path, files(CLASSES, 6, "train") + files(CLASSES, 2, "val") + files(CLASSES, 2, "test"))

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "preprocess: 30 of 30 images (100%)"
    assert lines[1].startswith("preprocess: 30 images of 3 classes (train ")
    assert "\x1b" not in "".join(lines)


def crops(photographs: int) -> list[RawFile]:
    """Photographs with a lemon on the left and an orange on the right, and a speck in the middle."""
    boxes = {"lemon": Box(0.0, 0.1, 0.4, 0.9), "orange": Box(0.55, 0.0, 1.0, 1.0)}
    out = []
    for n in range(photographs):
        data = png(picture("street", n, (120, 80)))
        out += [RawFile(f"street/{n}.png", label, data, box=box) for label, box in boxes.items()]
        out.append(RawFile(f"street/{n}.png", "lemon", data, box=Box(0.5, 0.5, 0.52, 0.6)))
    return out


def test_reserved_are_exactly_the_columns_that_preprocess_works_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    count = dataset_profile._naive_leak

    def spy(images: pd.DataFrame) -> tuple[int, int, int]:
        seen.update(images.columns)
        return count(images)

    monkeypatch.setattr(dataset_profile, "_naive_leak", spy)
    layout = prepare(tmp_path, files(CLASSES, 5))

    extras = set(read_parquet(layout.manifest).columns) - set(PREPARED_COLUMNS)
    assert extras == {"occlusion"}
    assert (seen | {"prepared_sha256"}) - extras == RESERVED_COLUMNS  # which is known once the shards are written
    assert set(read_parquet(layout.measures).columns) <= RESERVED_COLUMNS


CROPPED = Preprocess(image_size=16, fill="corners", train_placement="random", minimum_box_side=8)


def test_crops_of_copies_of_a_photograph_stay_on_one_side(tmp_path: Path) -> None:
    images = []
    for n in range(30):
        data = png(picture("street", n, (120, 80)))
        images.append(RawFile(f"one/{n}.png", "lemon", data, box=Box(0.0, 0.0, 0.4, 1.0)))
        images.append(RawFile(f"two/{n}.png", "orange", data, box=Box(0.6, 0.0, 1.0, 1.0)))

    layout = prepare(tmp_path, images, params=Preprocess(image_size=16))

    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    number = manifest["path"].str.split("/").str[1]
    assert manifest["photo_id"].is_unique and manifest["duplicate_kind"].eq("").all()
    assert (manifest.groupby(number)["split"].nunique() == 1).all()
    assert Profile.read(layout.profile).naive_groups_torn > 0


def test_crops_go_through_with_their_photograph_on_one_side_and_serving_sees_the_same_pixels(tmp_path: Path) -> None:
    images = crops(40)
    layout = prepare(tmp_path, images, params=CROPPED)

    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    assert len(manifest) == 80
    assert (manifest.groupby("photo_id")["split"].nunique() == 1).all()
    assert (manifest.groupby("photo_id")["split_group"].nunique() == 1).all()
    assert set(zip(manifest["label"], manifest["width"], manifest["height"], strict=True)) == {
        ("lemon", 48, 64),
        ("orange", 54, 80),
    }
    rejected = pd.read_csv(layout.rejected, keep_default_na=False)
    assert rejected["kind"].value_counts().to_dict() == {"too_small": 40, "skipped": 1}
    assert set(rejected.loc[rejected["kind"] == "too_small", "reason"]) == {
        "too small: 3 x 8 pixels, preprocess.minimum_box_side is 8"
    }
    by_path = {file.path: file.data for file in images}
    how = open_for_testing(layout.prepared).preprocessing
    boxes = manifest.set_index("image_id")
    placed_elsewhere = 0
    for split in (open_for_testing(layout.prepared), open_for_fitting(layout.prepared, "train")):
        pixels = split.images(np.arange(len(split)))
        for row, (image_id, path) in enumerate(zip(split.index["image_id"], split.index["path"], strict=True)):
            file = crop_file(by_path[path], region_of(boxes.loc[image_id].to_dict()), 10**6)
            served = read_image(file, how).pixels
            if split.name == "test":
                np.testing.assert_array_equal(pixels[row], served)
            else:
                placed_elsewhere += not np.array_equal(pixels[row], served)
    assert placed_elsewhere > 10


def test_workers_change_no_byte_of_crops_and_steps(tmp_path: Path) -> None:
    params = CROPPED.model_copy(update={"steps": [CentreCrop(share=0.9), Clahe()]})
    one, two = (prepare(tmp_path / str(n), crops(60), n, params) for n in (0, 2))

    assert hashes(one) == hashes(two)


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (15, 40)])
def test_a_photograph_below_the_minimum_side_is_left_out_with_its_size(tmp_path, size):
    tiny = RawFile("tiny.png", "lemon", png(picture("lemon", 99, size)))

    layout = prepare(tmp_path / "default", [*files(["lemon", "plum"], 20), tiny])
    lowered = Preprocess(image_size=16, minimum_side=1)
    kept = prepare(tmp_path / "lowered", [*files(["lemon", "plum"], 20), tiny], params=lowered)

    rejected = pd.read_csv(layout.rejected)
    assert rejected.loc[rejected["kind"] == "too_small", ["path", "kind", "reason"]].to_numpy().tolist() == [
        ["tiny.png", "too_small", f"too small: {size[0]} x {size[1]} pixels, preprocess.minimum_side is 16"]
    ]
    assert "tiny.png" in set(read_manifest(kept.manifest, PREPARED_COLUMNS)["path"])


def test_a_class_whose_boxes_are_all_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'lemon' .*too small.*preprocess.minimum_box_side is 50.* lower that key"):
        prepare(tmp_path, crops(20), params=CROPPED.model_copy(update={"minimum_box_side": 50}))


def test_a_box_below_the_least_area_is_left_out(tmp_path: Path) -> None:
    layout = prepare(tmp_path, crops(20), params=Preprocess(image_size=16, minimum_box_area=0.01))

    reasons = pd.read_csv(layout.rejected)["reason"]
    assert (reasons == "too small: 0.002 of the photograph, preprocess.minimum_box_area is 0.01").sum() == 20


def test_measures_of_every_image_are_written(tmp_path: Path) -> None:
    layout = prepare(tmp_path, files(CLASSES, 12))

    measures = read_parquet(layout.measures)
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    assert measures.columns.tolist() == ["image_id", "split", "label", "source", *MEASURES]
    for column in ("image_id", "split", "label", "source"):
        assert measures[column].tolist() == manifest[column].tolist()
    assert np.isfinite(measures[list(MEASURES)].to_numpy()).all()
    assert measures["aspect"].sub(16 / 13).abs().max() < 1e-5  # 40 x 32 pixels, resized to 16 x 13


def test_a_photograph_used_whole_and_in_part_is_read_as_serving_reads_each(tmp_path: Path) -> None:
    part = Box(0.25, 0.25, 0.75, 0.75)
    images = []
    for number in range(8):
        out = io.BytesIO()
        picture("street", number, (1600, 1200)).save(out, "JPEG", quality=90)  # large enough for a reduced decode
        images += [
            RawFile(f"{number}.jpg", label, out.getvalue(), box=box) for label, box in (("a", WHOLE), ("b", part))
        ]
    layout = prepare(tmp_path, images)

    by_path = {file.path: file.data for file in images}
    test = open_for_testing(layout.prepared)
    boxes = read_manifest(layout.manifest, PREPARED_COLUMNS).set_index("image_id")
    for row, (image_id, path) in enumerate(zip(test.index["image_id"], test.index["path"], strict=True)):
        file = crop_file(by_path[path], region_of(boxes.loc[image_id].to_dict()), 10**7)
        np.testing.assert_array_equal(test.images(np.array([row]))[0], read_image(file, test.preprocessing).pixels)
    assert set(test.index["label"]) == {"a", "b"}
