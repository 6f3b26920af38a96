"""The best of many models looks too good, by less than the bound; those made by looking at the results, by more."""

import pytest

from benchmarks.openings import adaptive_bias, mean_bias
from podium.console.openings import Openings


@pytest.mark.parametrize("models", [2, 20])
def test_models_that_do_not_follow_the_results_stay_below_the_bound(models):
    bound = Openings(models, 264, None).bias
    assert 0 < mean_bias(264, models, 0.8, draws=100) < mean_bias(264, models, 0.0, draws=100) < bound


def test_a_search_that_follows_the_results_does_not():
    assert adaptive_bias(264, 100, draws=20) > Openings(100, 264, None).bias
