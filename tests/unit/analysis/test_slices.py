"""Slices: who is in them, what is known of an image, and when a model is said to be worse on one."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from podium.analysis.slices import (
    SIGNIFICANCE,
    describe_images,
    images_needed,
    is_worse,
    measure_slices,
    resolve,
    slice_masks,
    worst_first,
)
from podium.config.judging import Slice
from podium.core.errors import DataError
from tests.measurements import a_slice

TRUTH = pd.DataFrame(
    {
        "occlusion": [0.0, 0.3, 0.0, 0.0, 0.0, 0.05],
        "clutter": [0.0, 0.0, 0.25, 0.0, 0.7, 0.0],
        "objects": [1, 1, 1, 2, 3, 1],
        "view": ["front", "front", "front", "front", "rotated", "front"],
    }
)


def members(index, added=None, validation=None):
    parts = resolve(added or {}, index if validation is None else validation)
    return {name: np.flatnonzero(mask).tolist() for name, (_, mask) in slice_masks(parts, index).items()}


def test_each_image_is_in_the_slices_its_truth_says():
    assert members(TRUTH) == {
        "clean": [0, 5],
        "occluded": [1],
        "busy_background": [2, 4],
        "several_objects": [3, 4],
        "rotated_view": [4],
        "hard": [1, 2, 3, 4],
    }


def test_images_of_which_nothing_is_known_have_no_slices():
    assert members(pd.DataFrame({"label": ["a", "b"]})) == {}


def test_unknown_and_textual_values_do_not_make_an_image_hard():
    found = members(pd.DataFrame({"occlusion": [None, "0.4", ""], "view": [None, "front", "rotated"]}))
    assert (found["occluded"], found["hard"]) == ([1], [1, 2])
    assert members(pd.DataFrame({"is_occluded": [1, 0, -1], "is_truncated": [0, 1, -1]}))["hard"] == [0, 1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"column": "taken", "category": "night"}, [0, 3]),
        ({"column": "camera", "category": 2}, [1, 3]),
        ({"column": "brightness", "below": 2}, [0, 1]),
        ({"column": "brightness", "above": 2}, [3, 4]),
        ({"column": "brightness", "lowest": 0.25}, [0, 1]),
        ({"column": "brightness", "highest": 0.25}, [3, 4]),
    ],
)
def test_a_users_slice_is_a_category_a_limit_or_a_quantile(given, expected):
    index = pd.DataFrame(
        {"taken": ["night", "day", None, "night", ""], "camera": [1, 2, 1, 2, None], "brightness": [0, 1, 2, 3, 4]}
    )
    assert members(index, {"mine": Slice(**given)})["mine"] == expected


def test_quantiles_are_those_of_the_validation_images():
    validation = pd.DataFrame({"sharpness": np.arange(101.0)})
    found = members(pd.DataFrame({"sharpness": [10.0, 25, 26, 75, np.nan]}), validation=validation)
    assert found == {"sharpness_lowest": [0, 1], "sharpness_highest": [3]}


def test_a_column_of_one_value_has_no_lowest_quarter_and_one_source_no_slice():
    constant = pd.DataFrame({"aspect": [1.0] * 6, "source": "album", "contrast": [None] * 6})
    assert members(constant) == {}
    several = pd.DataFrame({"source": ["a", "b", "c"], "group": ["fruit", "", "fruit"]})
    assert members(several) == {"source: a": [0], "source: b": [1], "source: c": [2], "group: fruit": [0, 2]}


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("mine", {"column": "brigthness", "below": 1}, "there is no column 'brigthness'.*did you mean 'brightness'"),
        ("hard", {"column": "brightness", "below": 1}, "slices.hard: a built-in slice has this name"),
        ("mine", {"column": "taken", "lowest": 0.1}, "'taken' holds no numbers: use `category`"),
    ],
)
def test_a_users_mistake_is_named(name, given, said):
    with pytest.raises(DataError, match=said):
        members(pd.DataFrame({"brightness": [0.1, 0.2], "taken": ["day", "day"]}), {name: Slice(**given)})


@pytest.mark.parametrize("rules", [{}, {"above": 1, "below": 2}, {"lowest": 0.1, "category": "a"}])
def test_a_slice_has_one_rule(rules):
    with pytest.raises(ValueError, match="names one of lowest, highest, category, above, below"):
        Slice(column="a", **rules)


def test_what_is_known_of_an_image_comes_together_in_the_order_of_the_split():
    index = pd.DataFrame({"image_id": ["b", "a"], "x0": [0, 8], "y0": 0, "x1": [16, 16], "y1": [8, 16]})
    manifest = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "width": 16, "height": [16, 32, 1], "note": ["", "first of 2 frames", ""]}
    ).assign(duplicate_kind=["near", "", ""])
    found = describe_images(index, manifest, pd.DataFrame({"image_id": ["c", "b", "a"], "sharpness": [3, 2, 1]}))
    assert found[["image_id", "sharpness", "object_size", "shorter_side", "is_duplicate", "is_converted"]].to_dict(
        "list"
    ) == {
        "image_id": ["b", "a"],
        "sharpness": [2, 1],
        "object_size": [0.25, 0.5],
        "shorter_side": [16, 16],
        "is_duplicate": [0, 1],
        "is_converted": [1, 0],
    }


def test_how_alike_an_image_is_to_the_nearest_training_image():
    manifest = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "phash": ["0f", "ff", "f1", "0e", "", ""],
            "split": [*["train"] * 2, *["test"] * 3, "train"],
        }
    )
    measures = pd.DataFrame({"image_id": list("abcdef")})
    found = describe_images(pd.DataFrame({"image_id": list("ecd")}), manifest, measures)
    assert found["train_distance"].to_list() == pytest.approx([np.nan, 3, 1], nan_ok=True)
    none = describe_images(pd.DataFrame({"image_id": ["c"]}), manifest.assign(split="test"), measures)
    assert none["train_distance"].isna().all()
    assert members(found.assign(train_distance=[1.0, 5, 9]))["train_distance_lowest"] == [0]


def masks_of(**members_of):
    return {name: (f"those of {name}", np.isin(np.arange(100), rows)) for name, rows in members_of.items()}


def test_a_slice_is_held_against_the_rest_by_fishers_test_and_holms_correction():
    correct = np.ones(100, np.bool_)
    correct[:10] = False
    found = measure_slices(masks_of(first=range(20), last=range(80, 100), empty=[], all=range(100)), correct)
    assert list(found) == ["first", "last", "all"]
    first = found["first"]
    assert (first.images, first.accuracy.value, first.rest.value) == (20, 0.5, 1.0)
    assert first.p_value == pytest.approx(fisher_exact([[10, 10], [80, 0]]).pvalue)
    assert first.adjusted_p == pytest.approx(2 * first.p_value)
    assert is_worse(first)
    assert first.images_needed is None
    assert (found["all"].rest, found["all"].p_value, found["all"].images_needed) == (None, None, None)
    # better than the rest, but not worse; nothing that chance does not explain
    assert found["last"].adjusted_p > SIGNIFICANCE
    assert not is_worse(found["last"])
    assert found["last"].images_needed > 20


def test_wilsons_interval_of_a_slice_by_hand():
    found = measure_slices(masks_of(ten=range(10)), np.arange(100) >= 2)["ten"]
    assert found.accuracy.model_dump() == pytest.approx({"value": 0.8, "low": 0.4901625, "high": 0.9433178}, abs=1e-6)


def test_slices_that_part_the_images_in_the_same_way_count_once():
    correct = np.arange(100) >= 8
    once = measure_slices(masks_of(one=range(20)), correct)["one"]
    thrice = measure_slices(masks_of(one=range(20), same=range(20), others=range(20, 100)), correct)
    assert {part.adjusted_p for part in thrice.values()} == {once.p_value}


def test_images_needed_by_hand():
    # rest 0.9 against 0.85 at half each: p = 0.875, z = 1.96 and 0.8416:
    # (1.96 sqrt(4 x 0.875 x 0.125) + 0.8416 sqrt(2 x (0.85 x 0.15 + 0.9 x 0.1)))² / 0.05² / 2
    assert images_needed(0.5, 0.9, 0.05) == 686
    assert images_needed(0.5, 0.9, 0.01) > 686
    assert images_needed(0.25, 1.0, 0.05) > 0 < images_needed(0.25, 0.02, 0.05)


def test_as_many_images_as_needed_show_the_gap_as_often_as_promised():
    share, rest, rng = 0.25, 0.9, np.random.default_rng(0)
    inside = images_needed(share, rest, SIGNIFICANCE)
    beside = round(inside / share * (1 - share))
    right = rng.binomial([inside, beside], [rest - 0.05, rest], size=(1000, 2))
    tables = [[[a, inside - a], [b, beside - b]] for a, b in right]
    seen = np.mean([fisher_exact(table).pvalue < SIGNIFICANCE for table in tables])
    assert 0.74 < seen < 0.86


def test_the_worst_come_first_and_what_chance_explains_after_them():
    rate = {"low": 0.0, "high": 1.0}
    slices = {
        "better": a_slice(accuracy={"value": 0.99, **rate}, adjusted_p=0.001),
        "chance": a_slice(accuracy={"value": 0.2, **rate}),
        "worse": a_slice(accuracy={"value": 0.7, **rate}, adjusted_p=0.001),
        "worst": a_slice(accuracy={"value": 0.6, **rate}, adjusted_p=0.001),
    }
    assert worst_first(slices) == ["worst", "worse", "chance", "better"]
