"""What a test set of some size can show: power, the smallest difference it finds, how many images would decide."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from podium.analysis.paired import Z, judge, mcnemar
from podium.analysis.power import POWER, images_to_decide, mcnemar_power, minimum_detectable_difference
from tests.unit.analysis.boards import pair, some_test


def test_power_by_hand():
    """Six images about which the two always disagree tell them apart where all six go one way: 2 / 64 < 0.05."""
    assert mcnemar_power(6, 1.0, 0.9, 0.05) == pytest.approx(0.95**6)
    assert mcnemar_power(6, 1.0, 1.0, 0.05) == 1
    assert mcnemar_power(5, 1.0, 1.0, 0.05) == 0
    found = minimum_detectable_difference(pair("a", "b", 3, 3, 6), 6, 0.05, of_accuracy=True)
    assert found == pytest.approx(2 * 0.8 ** (1 / 6) - 1, abs=1e-6)


def connor(images, disagreement, significance=0.05):
    """The difference of Connor's equation (1987), solved for it: what the exact test does a little worse than."""
    a, b = 1.959964**2, 0.841621**2
    assert significance == 0.05
    spread = math.sqrt(a * images * disagreement - (images + b) * (a - b) * disagreement)
    return (math.sqrt(a * images * disagreement) + spread) / (images + b)


@pytest.mark.parametrize(("only_first", "only_second", "images"), [(24, 9, 277), (20, 20, 400), (300, 280, 10_000)])
def test_the_smallest_difference_is_near_connors_and_never_smaller(only_first, only_second, images):
    found = minimum_detectable_difference(pair("a", "b", only_first, only_second, images), images, 0.05, True)
    approximate = connor(images, (only_first + only_second) / images)
    assert approximate <= found <= 1.1 * approximate


@pytest.mark.parametrize(("disagreements", "images"), [(33, 277), (4, 60), (0, 100), (240, 2000)])
def test_the_smallest_difference_is_found_in_eight_of_ten_simulated_test_sets(disagreements, images):
    test = pair("a", "b", disagreements, 0, images)
    difference = minimum_detectable_difference(test, images, 0.05, of_accuracy=True)
    rate = max(disagreements / images, difference)
    shares = [(rate + difference) / 2, (rate - difference) / 2, 1 - rate]
    drawn = np.random.default_rng(0).multinomial(images, shares, size=2000)
    counts, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    alone, both = counts[:, 0], counts.sum(axis=1)
    better = 2 * binom.sf(alone - 1, both, 0.5) < 0.05
    assert np.average(better, weights=times) == pytest.approx(POWER, abs=3 * math.sqrt(0.8 * 0.2 / 2000))


def test_it_shrinks_with_more_images_grows_with_disagreement_and_with_a_stricter_test():
    def smallest(disagreements, images, significance=0.05):
        return minimum_detectable_difference(pair("a", "b", disagreements, 0, images), images, significance, True)

    assert smallest(20, 200) > smallest(40, 400) > smallest(400, 4000)
    assert smallest(20, 400) < smallest(40, 400) < smallest(80, 400)
    assert smallest(40, 400, 0.05) < smallest(40, 400, 0.05 / 3)
    assert smallest(0, 5) is None  # the most uneven split of five has p = 0.06
    assert 0 < smallest(0, 7) <= 1


def test_that_of_macro_f1_follows_the_width_of_its_interval():
    error = 0.04 / Z
    found = minimum_detectable_difference(some_test(0.3, -0.04, 0.04), 100, 0.05, of_accuracy=False)
    assert found == pytest.approx((1.959964 + 0.841621) * error, rel=1e-5)
    assert minimum_detectable_difference(some_test(0.3, -0.9, 0.9), 3, 0.05, of_accuracy=False) is None


def test_a_million_images_are_no_matter():
    assert minimum_detectable_difference(pair("a", "b", 50_000, 50_000, 10**6), 10**6, 0.05, True) < 0.001


@pytest.mark.parametrize("counts", [(20, 11), (0, 0), (3, 3), (7, 6)])
def test_so_many_images_decide_at_this_rate_and_one_less_does_not(counts):
    images = 264
    right = np.zeros((2, images), bool)
    right[0, : counts[0]] = right[1, counts[0] : sum(counts)] = True
    test = mcnemar("a", "b", *right)
    assert judge(test, test.p_value, 0.05, 0.01) == "undecided"
    needed = images_to_decide(test, images, 0.05, 0.01, of_accuracy=True)

    def outcome(wanted):
        more = [round(count * wanted / images) for count in counts]
        again = np.zeros((2, wanted), bool)
        again[0, : more[0]] = again[1, more[0] : sum(more)] = True
        later = mcnemar("a", "b", *again)
        return judge(later, later.p_value, 0.05, 0.01)

    assert outcome(round(1.05 * needed)) != "undecided"
    assert outcome(round(0.9 * needed)) == "undecided"


def test_images_for_macro_f1_follow_the_width_of_its_interval():
    assert images_to_decide(some_test(0.3, -0.04, 0.04), 100, 0.05, 0.02, of_accuracy=False) == 401
    far = images_to_decide(some_test(0.2, -0.01, 0.11), 100, 0.05, 0.02, of_accuracy=False)
    assert far == pytest.approx(100 * (1.96 * 0.06 / Z / 0.05) ** 2, abs=2)
