"""Temperature, calibration errors, abstention and sets: by hand, against torchmetrics, simulated."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from podium.analysis.calibration import (
    area_under_risk_coverage,
    calibrate,
    choose_threshold,
    classwise_error,
    fit_temperature,
    measure_abstention,
    measure_sets,
    reliability,
    reliability_by_mass,
    risk_coverage,
    set_limits,
)
from podium.analysis.predictions import Predictions
from podium.config.judging import Abstain


def predictions(labels, probabilities):
    labels = np.asarray(labels, np.int64)
    classes = tuple("abcdefghij"[: np.shape(probabilities)[1]])
    index = pd.DataFrame({"image_id": [f"{i:06d}" for i in range(len(labels))]})
    return Predictions(classes, index, labels, np.asarray(probabilities, np.float32))


def drawn(seed, images, temperature=1.0, classes=5, sharpness=2.0):
    """A model whose probabilities are true at `temperature`: labels are drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness * temperature, (images, classes))
    labels = (rng.random(images)[:, None] > softmax(logits / temperature, axis=1).cumsum(axis=1)).sum(axis=1)
    return predictions(np.minimum(labels, classes - 1), softmax(logits, axis=1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    assert fit_temperature(drawn(0, 5000, temperature)) == pytest.approx(temperature, rel=0.05)


def test_answers_that_are_all_right_do_not_make_it_certain():
    sure = predictions([0] * 20, np.tile([0.9, 0.1], (20, 1)))
    temperature = fit_temperature(sure)
    assert calibrate(sure, temperature).confidence.max() == pytest.approx((20 + 0.5) / 21, abs=1e-4)  # Laplace's rule


def test_temperature_on_logits_is_a_power_of_probabilities_and_changes_no_answer():
    logits = np.random.default_rng(1).normal(0, 2, (50, 4))
    raw = predictions(np.zeros(50), softmax(logits, axis=1))
    found = calibrate(raw, 2.0)
    assert found.probabilities == pytest.approx(softmax(logits / 2.0, axis=1), abs=1e-6)
    assert (found.predicted == raw.predicted).all()


@given(arrays(np.float32, (8, 3), elements=st.floats(0, 1, width=32)), st.floats(0.05, 20))
def test_no_temperature_changes_an_answer(scores, temperature):
    raw = predictions(np.zeros(8), (scores + 1e-3) / (scores + 1e-3).sum(axis=1, keepdims=True))
    assert (calibrate(raw, temperature).predicted == raw.predicted).all()


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_expected_calibration_error_is_torchmetrics(bins):
    some = drawn(2, 400, 1.7)
    expected = multiclass_calibration_error(
        torch.from_numpy(some.probabilities), torch.from_numpy(some.labels), 5, n_bins=bins, norm="l1"
    )
    ours = reliability(some.confidence, some.correct, bins).expected_calibration_error
    assert ours == pytest.approx(float(expected), abs=1e-6)


def test_bins_of_equal_mass_by_hand():
    confidence, correct = np.array([0.5, 0.6, 0.7, 0.8]), np.array([True, False, True, True])
    found = reliability_by_mass(confidence, correct, 2)
    assert found.counts.tolist() == [2, 2]
    assert found.expected_calibration_error == pytest.approx(0.5 * abs(0.5 - 0.55) + 0.5 * abs(1 - 0.75))


def test_equal_confidences_are_one_bin():
    assert reliability_by_mass(np.full(6, 0.8), np.ones(6, bool), 3).expected_calibration_error == pytest.approx(0.2)


def test_a_calibrated_model_has_no_debiased_error_where_the_plain_one_is_biased():
    plain, debiased = [], []
    for seed in range(60):
        some = drawn(seed, 200)
        found = reliability_by_mass(some.confidence, some.correct, 15)
        plain.append(found.expected_calibration_error)
        debiased.append(found.debiased_error)
    assert np.mean(plain) > 0.07
    assert np.median(debiased) < 0.03


def test_debiased_error_by_hand_and_without_two_images_in_a_bin():
    # one bin of four, 3 right, confidence 0.95: (0.75 - 0.95)² - 0.75 * 0.25 / 3 is below 0
    four = reliability_by_mass(np.full(4, 0.95), np.array([True, True, True, False]), 3)
    assert four.debiased_error == 0
    none_right = reliability_by_mass(np.full(4, 0.9), np.zeros(4, bool), 1)
    assert none_right.debiased_error == pytest.approx(0.9)
    assert reliability(np.array([0.4]), np.array([True]), 1).debiased_error is None


def test_classwise_error_by_hand():
    two = predictions([0, 1], [[0.8, 0.2], [0.6, 0.4]])
    # one bin: p(a) 0.7 on average where half is a, p(b) 0.3 where half is b
    assert classwise_error(two, 1) == pytest.approx(0.2)


def test_risk_and_coverage_by_hand_with_equals_together():
    confidence = np.array([0.9, 0.8, 0.8, 0.5])
    coverage, risk = risk_coverage(confidence, np.array([True, True, False, False]))
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 2])
    assert area_under_risk_coverage(confidence, np.array([True, True, False, False])) == pytest.approx(
        0.25 * 0 + 0.5 / 3 + 0.25 / 2
    )


def ten(wrong):
    """Ten images, confidences 0.95, 0.90 ... 0.50; those at `wrong` are named wrongly."""
    sure = np.linspace(0.95, 0.5, 10) + 1e-4
    return predictions([int(place in wrong) for place in range(10)], np.stack([sure, 1 - sure], axis=1))


def test_threshold_for_a_risk_is_the_lowest_whose_upper_bound_keeps_it():
    # none of ten wrong: 1 - 0.1 ** (1 / 10) = 0.206; none of nine 0.226, then one of ten 0.337
    assert choose_threshold(ten([]), Abstain(risk=0.21)) == pytest.approx(0.5001, abs=1e-6)
    assert choose_threshold(ten([9]), Abstain(risk=0.23)) == pytest.approx(0.5501, abs=1e-6)
    assert choose_threshold(ten([9]), Abstain(risk=0.34)) == pytest.approx(0.5001, abs=1e-6)
    assert choose_threshold(ten([]), Abstain(risk=0.2)) == 1.0
    assert choose_threshold(ten(range(10)), Abstain(risk=0.9)) == 1.0


def test_threshold_for_a_coverage():
    assert choose_threshold(ten([]), Abstain(coverage=0.75)) == pytest.approx(0.6001, abs=1e-6)
    assert choose_threshold(ten([]), Abstain(coverage=1.0)) == pytest.approx(0.5001, abs=1e-6)


def test_the_threshold_itself_is_an_answer():
    some = ten([0])
    found = measure_abstention(some, choose_threshold(some, Abstain(coverage=0.5)), Abstain(coverage=0.5))
    assert (found.coverage.value, found.risk.value) == (0.5, 0.2)
    assert measure_abstention(some, 1.0, Abstain(risk=0.01)).risk is None


def test_nine_of_ten_models_keep_the_risk_that_was_asked_for():
    coverage, risk = risk_coverage((many := drawn(9, 100_000)).confidence, many.correct)
    surest, over = np.sort(many.confidence)[::-1], 0
    for seed in range(200):
        threshold = choose_threshold(drawn(seed, 300), Abstain(risk=0.2))
        answered = np.count_nonzero(surest >= threshold)
        over += answered > 0 and np.interp(answered / len(surest), coverage, risk) > 0.2
    assert 5 <= over <= 32  # 10 % of 200, within three standard deviations


@pytest.mark.parametrize("seed", range(5))
def test_sets_hold_the_truth_of_every_class_as_often_as_asked(seed):
    validation, test = drawn(seed, 3000), drawn(seed + 5000, 3000)
    found = measure_sets(test, set_limits(validation, 0.9), 0.9)
    assert found.coverage.value == pytest.approx(0.9, abs=0.03)
    assert min(found.per_class.values()) > 0.84
    assert 1 < found.mean_size < 5


def test_limits_of_sets_by_hand():
    nine = predictions([0] * 9 + [1], [[p, 1 - p] for p in np.linspace(0.1, 0.9, 9)] + [[0.5, 0.5]])
    limits = set_limits(nine, 0.8)
    assert limits["a"] == pytest.approx(0.2)  # the 2nd of nine: floor(10 x 0.2)
    assert limits["b"] == 0  # one image is too few to leave the class out anywhere
    found = measure_sets(nine, limits, 0.8)
    assert (found.per_class["a"], found.coverage.value) == (pytest.approx(8 / 9), 0.9)
    assert found.mean_size == pytest.approx(1.9)


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
