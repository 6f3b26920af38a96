"""What the profile says of a dataset."""

import numpy as np
import pandas as pd
import pytest

from podium.curation.dataset_profile import MOST_UNUSUAL, describe, robust_deviations
from podium.curation.measures import NAMES, measure
from podium.data.manifest import MEASURES, image_id
from podium.records.profile import LEVEL_BINS, Profile

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(60, 200, (40, 16, 16, 3), dtype=np.uint8)
PIXELS[7] = 255  # a flat white image, in train
PIXELS[8] = 0  # and a flat black one, in test
MEASURED = pd.DataFrame([measure(picture) for picture in PIXELS], columns=list(NAMES))


def dataset() -> tuple[pd.DataFrame, pd.DataFrame]:
    count = len(PIXELS)
    ids = [image_id("made-up", str(number)) for number in range(count)]
    manifest = pd.DataFrame(
        {
            "image_id": ids,
            "path": [f"{number}.png" for number in range(count)],
            "label": [("apple", "pear")[number % 2] for number in range(count)],
            "source": [("market", "field")[number % 4 // 3] for number in range(count)],
            "group": "fruit",
            "licence": ["CC0-1.0"] * 30 + ["CC-BY-4.0"] * 10,
            "split": ["test" if number % 4 == 0 else "val" if number % 4 == 1 else "train" for number in range(count)],
            "source_split": "",
            "width": range(100, 100 + count),
            "height": 50,
            "duplicate_group": ids,
            "duplicate_kind": "",
            "split_group": ids,
            "note": ["first of 12 frames, EXIF orientation 6" if number == 3 else "" for number in range(count)],
        }
    )
    return manifest, MEASURED.assign(image_id=ids)


def rejected(*kinds: str) -> pd.DataFrame:
    rows = [(f"{i}.jpg", "apple", f"because of {i}", kind, "") for i, kind in enumerate(kinds)]
    return pd.DataFrame(rows, columns=["path", "label", "reason", "kind", "image_id"])


def profile(manifest: pd.DataFrame, measures: pd.DataFrame, naive: pd.Series | None = None) -> Profile:
    return describe(manifest, measures, manifest["split"] if naive is None else naive, rejected("unreadable"))


def test_counts_add_up_over_splits_classes_sources_and_licences() -> None:
    found = profile(*dataset())

    assert found.images == 40 and found.per_split == {"train": 20, "val": 10, "test": 10}
    assert {s: part.images for s, part in found.splits.items()} == found.per_split
    assert sum(part.images for part in found.by_class.values()) == 40
    assert (
        {name: part.images for name, part in found.by_source.items()} == found.per_source == {"field": 10, "market": 30}
    )
    assert found.per_licence == {"CC-BY-4.0": 10, "CC0-1.0": 30}
    assert found.notes == {"EXIF orientation 6": 1, "first of several frames": 1}
    assert all(sum(counts) == part.images for part in found.splits.values() for counts in part.histograms.values())


def test_levels_of_splits_and_classes_are_shares_in_which_each_image_counts_the_same() -> None:
    manifest, measures = dataset()
    sums = {}
    for split, of in manifest.groupby("split"):
        sums[split] = {
            label: np.full((3, LEVEL_BINS), rows / LEVEL_BINS) for label, rows in of["label"].value_counts().items()
        }

    found = describe(manifest, measures, manifest["split"], rejected(), sums)

    for part in (*found.splits.values(), *found.by_class.values()):
        assert list(part.levels) == ["red", "green", "blue"]
        assert part.levels["red"] == [1 / LEVEL_BINS] * LEVEL_BINS
    assert all(part.levels == {} for part in found.by_source.values())


def test_what_was_left_out_is_counted_by_its_kind() -> None:
    manifest, measures = dataset()
    found = describe(manifest, measures, manifest["split"], rejected("unreadable", "too_small", "too_small", "skipped"))

    assert (found.rejected, found.too_small, found.skipped) == (1, 2, 1)
    assert found.rejected_by_reason == {"because of #": 4}


def test_the_order_of_rows_does_not_matter() -> None:
    manifest, measures = dataset()
    shuffled = manifest.sample(frac=1, random_state=1)

    assert profile(shuffled, measures.sample(frac=1, random_state=2)) == profile(manifest, measures)


def test_channel_statistics_are_those_of_the_pixels_of_train() -> None:
    manifest, measures = dataset()
    found = profile(manifest, measures)

    train = PIXELS[(manifest["split"] == "train").to_numpy()] / 255
    assert found.channel_mean == pytest.approx(list(train.mean(axis=(0, 1, 2))), rel=1e-4)
    assert found.channel_std == pytest.approx(list(train.std(axis=(0, 1, 2))), rel=1e-4)


def test_spreads_are_of_the_part_they_stand_under() -> None:
    manifest, measures = dataset()
    found = profile(manifest, measures)

    pears = measures.loc[(manifest["label"] == "pear").to_numpy(), "brightness"]
    assert found.by_class["pear"].measures["brightness"].q50 == pytest.approx(pears.median(), rel=1e-5)
    assert found.by_class["pear"].measures["brightness"].mean == pytest.approx(pears.mean(), rel=1e-5)
    assert list(found.splits["train"].measures) == list(MEASURES)
    assert found.splits["val"].sizes["shorter_side"].q50 == 50


def test_the_oddest_image_comes_first_and_test_images_are_never_named() -> None:
    found = profile(*dataset())

    assert found.unusual[0].path == "7.png" and len(found.unusual) == MOST_UNUSUAL
    assert {one.split for one in found.unusual} <= {"train", "val"}
    distances = [one.distance for one in found.unusual]
    assert distances == sorted(distances, reverse=True)


def test_measures_that_are_all_the_same_set_nothing_apart() -> None:
    _, measures = dataset()
    deviations = robust_deviations(measures.assign(aspect=1.0))

    assert not deviations[:, NAMES.index("aspect")].any()
    one = measures.assign(aspect=[3.0] + [1.0] * 39)  # the median deviation is 0, the standard deviation is not
    assert robust_deviations(one)[0, NAMES.index("aspect")] > 5


def test_a_naive_draw_leaks_the_test_images_that_have_a_twin_in_its_train() -> None:
    manifest, measures = dataset()
    first = manifest.loc[0, "image_id"]
    manifest.loc[[1, 2, 3], ["duplicate_group", "split_group"]] = first
    manifest.loc[[4, 5], "split_group"] = manifest.loc[4, "image_id"]  # two crops of one photograph
    naive = pd.Series(["test", "test", "train", "val", "test", "train", *["test"] * 10, *["train"] * 24])

    found = profile(manifest, measures, naive)

    assert (found.naive_groups_torn, found.naive_test_images, found.naive_test_twins) == (2, 13, 3)
    assert found.groups_would_straddle == 1 and len(found.duplicates) == 1
    assert [member.path for member in found.duplicates[0].members] == sorted(
        ["0.png", "1.png", "2.png", "3.png"], key=lambda path: image_id("made-up", path[0])
    )


def test_groups_say_what_the_source_had_torn_apart_and_which_labels_disagree() -> None:
    manifest, measures = dataset()
    first = manifest.loc[0, "image_id"]
    manifest.loc[[1, 2], "duplicate_group"] = first
    manifest.loc[1, "duplicate_kind"] = "near"
    manifest.loc[[0, 1, 2], "source_split"] = ["test", "train", "train"]
    manifest.loc[[0, 1, 2], "split"] = "train"

    group = profile(manifest, measures).duplicates[0]

    assert (group.kind, group.straddled, group.moved, group.conflicting_labels) == ("near", True, 1, True)
    assert not group.would_straddle


def test_a_profile_survives_its_file(tmp_path) -> None:
    found = profile(*dataset())
    found.write(tmp_path / "profile.json")

    assert Profile.read(tmp_path / "profile.json") == found
