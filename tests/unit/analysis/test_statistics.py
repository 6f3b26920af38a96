"""Intervals and calibration, against hand-computed values, sklearn and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom
from sklearn.metrics import f1_score

from podium.analysis.statistics import bootstrap_confusion, bootstrap_rate, confusion, macro_f1, reliability

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


@settings(max_examples=40, deadline=None)
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


@pytest.mark.parametrize("right", [0, 10])
def test_rate_of_all_or_nothing_has_no_spread(right):
    interval = bootstrap_rate(right, 10, 200, 0, "clean")
    assert interval.low == interval.value == interval.high == right / 10


def test_rate_interval_is_that_of_the_binomial_distribution():
    interval = bootstrap_rate(80, 100, 20000, 0, "clean")
    assert interval.low == pytest.approx(binom.ppf(0.025, 100, 0.8) / 100, abs=0.011)
    assert interval.high == pytest.approx(binom.ppf(0.975, 100, 0.8) / 100, abs=0.011)


def test_error_of_two_bins_by_hand():
    confidence = np.array([0.5, 0.4, 0.9, 1.0])
    correct = np.array([True, False, True, False])
    found = reliability(confidence, correct, 2)
    assert found.counts.tolist() == [2, 2]  # (0, 0.5] holds its upper edge
    assert found.confidence == pytest.approx([0.45, 0.95])
    assert found.accuracy == pytest.approx([0.5, 0.5])
    assert found.expected_calibration_error == pytest.approx(0.5 * 0.05 + 0.5 * 0.45)


def test_sure_and_right_is_perfectly_calibrated_and_sure_and_wrong_is_not_at_all():
    sure = np.ones(4)
    assert reliability(sure, np.ones(4, bool), 15).expected_calibration_error == 0
    assert reliability(sure, np.zeros(4, bool), 15).expected_calibration_error == 1


def test_empty_bins_are_not_a_number_and_do_not_count():
    found = reliability(np.array([0.05]), np.array([True]), 10)
    assert np.isnan(found.accuracy[1:]).all()
    assert found.expected_calibration_error == pytest.approx(0.95)


@given(
    arrays(np.float64, 30, elements=st.floats(0, 1)),
    arrays(np.bool_, 30),
    st.integers(1, 20),
    st.permutations(range(30)),
)
def test_error_is_a_fraction_and_ignores_the_order_of_images(confidence, correct, bins, order):
    found = reliability(confidence, correct, bins)
    assert found.counts.sum() == 30
    assert 0 <= found.expected_calibration_error <= 1
    shuffled = reliability(confidence[order], correct[order], bins)
    assert shuffled.expected_calibration_error == pytest.approx(found.expected_calibration_error, abs=1e-12)
