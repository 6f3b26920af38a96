"""Coarse classes: their probabilities are sums, so they can be right where the class is wrong."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.analysis.groups import coarse
from podium.analysis.metrics import group_metrics
from podium.analysis.predictions import predictions_of

CLASSES = ("apple", "leek", "onion")
GROUPS = {"apple": "fruit", "leek": "vegetable", "onion": "vegetable"}


def predictions(labels, probabilities, classes=CLASSES):
    ids = [f"{number:016x}" for number in range(len(labels))]
    index = pd.DataFrame({"image_id": ids, "path": ids, "label": [classes[label] for label in labels]})
    return predictions_of(classes, index, np.array(labels), np.array(probabilities, np.float32))


def test_the_most_probable_group_need_not_be_that_of_the_most_probable_class():
    fine = predictions([1], [[0.4, 0.3, 0.3]])
    found = coarse(fine, GROUPS)
    assert found.classes == ("fruit", "vegetable")
    assert fine.predicted_names == ["apple"]
    assert (found.predicted_names, found.correct.tolist()) == (["vegetable"], [True])
    assert found.probabilities == pytest.approx(np.array([[0.4, 0.6]]))


def test_recall_is_told_by_group():
    certain = np.eye(3)
    found = group_metrics(coarse(predictions([0, 1, 2, 2], certain[[0, 2, 1, 0]]), GROUPS), 50, 0)
    assert found.accuracy.value == 0.75  # leek and onion are taken for each other, one onion for an apple
    assert {name: (g.recall, g.support) for name, g in found.per_group.items()} == {
        "fruit": (1.0, 1),
        "vegetable": (pytest.approx(2 / 3), 3),
    }
    assert found.macro_f1.value == pytest.approx((2 / 3 + 0.8) / 2)


def test_a_class_without_a_group_is_one_of_its_own():
    found = coarse(predictions([0], [[0.2, 0.5, 0.3]]), {"leek": "vegetable", "onion": "vegetable", "apple": ""})
    assert found.classes == ("apple", "vegetable")


@pytest.mark.parametrize(
    "groups",
    [
        {},
        dict.fromkeys(CLASSES, ""),
        dict.fromkeys(CLASSES, "food"),
        {"apple": "a", "leek": "b", "onion": "c"},
    ],
    ids=["none", "empty", "one for all", "one each"],
)
def test_groups_that_tell_nothing_new_are_not_measured(groups):
    assert coarse(predictions([0], [[0.2, 0.5, 0.3]]), groups) is None


@given(st.lists(st.sampled_from("abc"), min_size=5, max_size=5), st.integers(0, 2**32 - 1))
def test_a_group_is_right_whenever_its_class_is_certain_and_sums_stay_one(of_class, seed):
    classes = tuple("vwxyz")
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 20)
    probabilities = random.dirichlet(np.full(5, 0.1), 20)
    fine = predictions(labels, probabilities, classes)
    found = coarse(fine, dict(zip(classes, of_class, strict=True)))
    if found is None:
        assert len(set(of_class)) in (1, 5)
        return
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-6)
    assert found.correct[fine.correct & (fine.confidence > 0.5)].all()
