"""Intervals, against hand-computed values, sklearn and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from podium.analysis.statistics import bootstrap_confusion, confusion, macro_f1, order_by_confusion, wilson

ANSWERS = st.integers(2, 6).flatmap(
    lambda classes: st.integers(1, 40).flatmap(
        lambda images: st.tuples(
            st.just(classes),
            arrays(np.int64, images, elements=st.integers(0, classes - 1)),
            arrays(np.int64, images, elements=st.integers(0, classes - 1)),
        )
    )
)


def test_confusion_has_true_classes_as_rows():
    counts = confusion(np.array([0, 0, 1]), np.array([1, 0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


@given(ANSWERS)
def test_macro_f1_is_sklearns(answers):
    classes, truth, predicted = answers
    counts = confusion(truth, predicted, classes)
    ours = macro_f1(np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0))
    assert ours == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0), abs=1e-12)


@settings(max_examples=40)
@given(ANSWERS, st.integers(0, 2**31 - 1))
def test_intervals_hold_the_value_and_ignore_the_order_of_images(answers, seed):
    classes, truth, predicted = answers
    accuracy, f1 = bootstrap_confusion(confusion(truth, predicted, classes), 50, seed)
    for interval in (accuracy, f1):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert accuracy.value == pytest.approx((truth == predicted).mean())
    assert f1.value == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0), abs=1e-12)
    order = np.random.default_rng(seed).permutation(len(truth))
    assert bootstrap_confusion(confusion(truth[order], predicted[order], classes), 50, seed) == (accuracy, f1)


def test_bootstrap_agrees_with_drawing_images_one_by_one_and_scoring_with_sklearn():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 30)
    predicted = np.where(rng.uniform(size=120) < 0.8, truth, rng.integers(0, 4, 120))
    accuracy, f1 = bootstrap_confusion(confusion(truth, predicted, 4), 4000, 0)
    rows = rng.integers(0, 120, (400, 120))
    accuracies = (truth[rows] == predicted[rows]).mean(axis=1)
    scores = [f1_score(truth[r], predicted[r], average="macro") for r in rows]
    assert [accuracy.low, accuracy.high] == pytest.approx(np.quantile(accuracies, [0.025, 0.975]), abs=0.015)
    assert [f1.low, f1.high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.02)


def test_bootstrap_of_many_classes_is_drawn_in_parts_and_depends_on_the_seed_alone():
    rng = np.random.default_rng(1)
    counts = confusion(rng.integers(0, 300, 6000), rng.integers(0, 300, 6000), 300)
    first = bootstrap_confusion(counts, 750, 7)
    assert first == bootstrap_confusion(counts, 750, 7)
    assert first != bootstrap_confusion(counts, 750, 8)


def test_wilsons_interval_by_hand():
    # 8 of 10, z = 1.96: centre (8 + z²/2) / (10 + z²), half width z / (10 + z²) * sqrt(8 * 2 / 10 + z²/4)
    assert wilson(8, 10).model_dump() == pytest.approx({"value": 0.8, "low": 0.4901625, "high": 0.9433178}, abs=1e-6)
    assert wilson(0, 5).low == 0
    assert wilson(0, 5).high == pytest.approx(0.4344825, abs=1e-6)


@pytest.mark.parametrize("classes", [1, 2, 3, 8])
def test_classes_that_are_taken_for_each_other_stand_side_by_side(classes):
    counts = 50 * np.eye(classes, dtype=np.int64)
    for one in range(0, classes // 2):
        counts[one, classes - 1 - one] = 10  # the first for the last, the second for the last but one, ...
    order = order_by_confusion(counts).tolist()
    assert sorted(order) == list(range(classes))
    for one in range(0, classes // 2):
        assert abs(order.index(one) - order.index(classes - 1 - one)) == 1


def test_a_class_without_images_has_its_place_too():
    assert sorted(order_by_confusion(np.array([[2, 1, 0], [0, 0, 0], [1, 0, 5]]))) == [0, 1, 2]
