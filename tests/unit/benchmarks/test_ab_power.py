"""`python -m benchmarks.ab_power` in short: equal models seldom differ, gaps are found as often as stated."""

import pytest

from benchmarks.ab_power import GAP, detectable, drawn
from podium.analysis.power import POWER

ERROR = 2.6 * (0.25 / 200) ** 0.5  # of a share of 200 draws


def test_two_copies_of_one_configuration_are_called_different_in_at_most_one_case_of_twenty():
    assert drawn(277, 0.0).either <= 0.05


def test_a_planted_gap_is_found_as_often_as_is_stated():
    found = drawn(2000, GAP)
    assert found.first == pytest.approx(found.stated, abs=ERROR)
    assert found.first > 0.5


def test_the_smallest_detectable_difference_is_found_in_eight_of_ten_cases():
    assert drawn(277, detectable(277)).first == pytest.approx(POWER, abs=ERROR)
