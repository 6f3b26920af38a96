"""`python -m benchmarks.ab_power` in short: equal models seldom differ, gaps are found as often as stated."""

import numpy as np
import pytest

from benchmarks.ab_power import GAP, bootstrapped, detectable, drawn, drawn_seeds, t_test
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


def test_with_three_seeds_that_differ_the_t_test_holds_its_level_and_the_bootstrap_does_not():
    random = np.random.default_rng(0)
    sets = [drawn_seeds(random, 2000, 3, 0.02, 0.0) for _ in range(200)]
    assert np.mean([t_test(one).p_value < 0.05 for one in sets]) <= 0.05 + 2.6 * (0.05 * 0.95 / 200) ** 0.5
    assert np.mean([bootstrapped(random, one)[0] < 0.05 for one in sets]) > 0.1
