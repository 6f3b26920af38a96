"""Expected calibration error by hand and within its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from podium.analysis.calibration import reliability


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
