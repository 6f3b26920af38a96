"""Slices of known difficulty."""

import numpy as np
import pandas as pd

from podium.analysis.slices import slice_masks, slice_metrics

TRUTH = pd.DataFrame(
    {
        "occlusion": [0.0, 0.3, 0.0, 0.0, 0.0, 0.05],
        "clutter": [0.0, 0.0, 0.25, 0.0, 0.7, 0.0],
        "objects": [1, 1, 1, 2, 3, 1],
        "view": ["front", "front", "front", "front", "rotated", "front"],
    }
)


def test_each_image_is_in_the_slices_its_truth_says():
    masks = {name: np.flatnonzero(mask).tolist() for name, mask in slice_masks(TRUTH).items()}
    assert masks == {
        "clean": [0, 5],
        "occluded": [1],
        "busy_background": [2, 4],
        "several_objects": [3, 4],
        "rotated_view": [4],
        "hard": [1, 2, 3, 4],
    }


def test_accuracy_is_counted_within_each_slice():
    found = slice_metrics(TRUTH, np.array([True, False, True, False, True, True]), 200, 0)
    assert {name: (part.accuracy.value, part.images) for name, part in found.items()} == {
        "clean": (1.0, 2),
        "occluded": (0.0, 1),
        "busy_background": (1.0, 2),
        "several_objects": (0.5, 2),
        "rotated_view": (1.0, 1),
        "hard": (0.5, 4),
    }


def test_images_without_truth_have_no_slices():
    assert slice_masks(pd.DataFrame({"label": ["a", "b"]})) == {}


def test_empty_slices_are_left_out():
    easy = TRUTH.iloc[[0, 5]]
    assert list(slice_metrics(easy, np.array([True, True]), 10, 0)) == ["clean"]


def test_unknown_and_textual_values_do_not_make_an_image_hard():
    index = pd.DataFrame({"occlusion": [None, "0.4", ""], "view": [None, "front", "rotated"]})
    masks = slice_masks(index)
    assert masks["occluded"].tolist() == [False, True, False]
    assert masks["hard"].tolist() == [False, True, True]
