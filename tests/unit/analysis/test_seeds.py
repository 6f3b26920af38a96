"""Two models over several seeds: by hand, the level, what is found, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from podium.analysis.decision import compared, decide, describe_needed, describe_power, verdict
from podium.analysis.leaderboard import rank
from podium.analysis.paired import Z, compare_answers
from podium.analysis.power import POWER, minimum_detectable_difference, seeds_to_decide
from podium.analysis.seeds import compare_runs, compare_seeds, contributions
from podium.config.judging import Compare
from podium.records.evaluation import Interval, PairedTest, VarianceComponents
from tests.unit.analysis.boards import metrics

RULES = Compare(margin=0.02)
LABELS = np.array([0, 0, 1, 1])


def answers(*rows):
    """Answers of one model, a row a seed: `1` right, `0` wrong, about the images of `LABELS`."""
    return np.array([[label if r == "1" else 1 - label for r, label in zip(row, LABELS, strict=True)] for row in rows])


def test_two_seeds_and_four_images_by_hand():
    found = compare_seeds("a", "b", LABELS, (answers("1111", "1101"), answers("1100", "0110")), "accuracy")
    # means over seeds: a 1 1 1/2 1, b 1/2 1 1/2 0, so a - b is 1/2 0 0 1 with mean 3/8 and squares 0.6875 around it
    # means over images: a 1 and 3/4, b 1/2 and 1/2: variances 1/32 and 0, halved for two seeds
    # what is left of a is -+1/8 everywhere, 3/8 at the third image: 2 (3 / 64 + 9 / 64) = 3/8; of b 1/2 at two: 1
    assert found.difference.value == pytest.approx(3 / 8)
    assert found.variance.of_images == pytest.approx((0.6875 + Z**2) / 16)
    noise = (3 / 8 + 1) / (1 * 3) / 8
    assert found.variance.of_seeds == pytest.approx(max(0, 1 / 64 - noise)) == 0
    assert (found.only_first_right, found.only_second_right) == (2, 0)  # 1.75 and 0.25 on average over pairs of seeds
    assert found.variance.freedom >= 1


def test_where_no_answer_differs_the_interval_is_as_wide_as_tangos():
    same = np.tile(np.arange(200) % 2, (3, 1))
    found = compare_seeds("a", "b", same[0], (same, same), "accuracy")
    assert (found.p_value, found.difference.value) == (1, 0)
    assert found.difference.high == pytest.approx(Z**2 / 200, rel=0.02)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_contributions_average_to_the_metric_and_their_variance_is_that_of_a_bootstrap(metric):
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    given = np.where(random.random((2, 300)) < 0.8, labels, random.integers(0, 3, (2, 300)))
    rows = contributions(labels, given, metric)

    def value(rows, one):
        right, got = labels[rows], one[rows]
        return f1_score(right, got, average="macro") if metric == "macro_f1" else float((right == got).mean())

    for row, one in zip(rows, given, strict=True):
        assert row.mean() == pytest.approx(value(np.arange(300), one))
        drawn = [value(random.integers(0, 300, 300), one) for _ in range(400)]
        assert row.std() / 300**0.5 == pytest.approx(np.std(drawn), rel=0.12)


def table(labels, given):
    return pd.DataFrame({"label": labels.astype(str), "predicted": given.astype(str)})


def test_one_run_of_each_is_the_test_of_two_models_and_names_of_classes_may_be_any():
    given = answers("1111"), answers("1001")
    one, other = (table(LABELS, mine[0]) for mine in given)
    assert compare_runs("a", "b", ([one], [other]), "accuracy") == compare_answers("a", "b", (one, other), "accuracy")
    assert "variance" not in compare_runs("a", "b", ([one], [other]), "accuracy").model_dump()
    both = compare_runs("a", "b", ([one, one], [other, one]), "accuracy")
    assert both == compare_seeds("a", "b", LABELS, (answers("1111", "1111"), answers("1001", "1111")), "accuracy")


def world(random, *, gap, deviation, images=400, seeds=3):
    """Answers of two models whose accuracies differ by a gap, and by a deviation between seeds: labels are all 1."""
    chance = random.beta(4.4, 0.6, images)
    shifts = random.normal(0, deviation, (2, seeds, 1)) - np.array([0, gap])[:, None, None]
    lower = shifts < 0
    chances = np.where(
        lower, chance * (1 + shifts / chance.mean()), chance + (1 - chance) * shifts / (1 - chance.mean())
    )
    given = (random.random((2, seeds, images)) < chances).astype(np.int64)
    return compare_seeds("a", "b", np.ones(images, np.int64), (given[0], given[1]), "accuracy")


@pytest.mark.parametrize("deviation", [0.0, 0.02])
def test_equal_models_are_called_different_in_at_most_one_case_of_twenty(deviation):
    random, runs = np.random.default_rng(1), 400
    found = [world(random, gap=0.0, deviation=deviation) for _ in range(runs)]
    tolerance = 2.6 * (0.05 * 0.95 / runs) ** 0.5
    assert np.mean([test.p_value < 0.05 for test in found]) <= 0.05 + tolerance
    assert np.mean([not test.difference.low <= 0 <= test.difference.high for test in found]) <= 0.10 + tolerance


def test_a_planted_gap_is_found_and_about_as_often_as_is_stated():
    random = np.random.default_rng(2)
    found = [world(random, gap=0.06, deviation=0.005) for _ in range(200)]
    share = np.mean([test.p_value < 0.05 and test.difference.value > 0 for test in found])
    smallest = np.median([minimum_detectable_difference(test, 400, 0.05, True) for test in found])
    assert share > POWER
    assert 0.02 < smallest < 0.08


def spread(value, of_seeds, of_images, seeds=3, freedom=4.0):
    half = 2.132 * (of_seeds + of_images) ** 0.5
    return PairedTest(
        first="a",
        second="b",
        only_first_right=9,
        only_second_right=5,
        p_value=0.2,
        difference=Interval(value=value, low=value - half, high=value + half),
        variance=VarianceComponents(seeds=seeds, of_seeds=of_seeds, of_images=of_images, freedom=freedom),
    )


def test_more_images_seeds_or_both_would_decide():
    both = compared(spread(0.02, 1e-5, 1e-4), 277, RULES)
    assert both.outcome == "undecided" and both.images_needed > 277 and both.seeds_needed > 3
    assert describe_needed([both]).startswith("About ") and describe_needed([both]).endswith(
        f"{both.seeds_needed} seeds"
    )
    no_images_would = compared(spread(0.02, 4e-4, 1e-6), 277, RULES)
    assert no_images_would.images_needed is None and no_images_would.seeds_needed > 3
    assert describe_needed([no_images_would]) == f"About {no_images_would.seeds_needed} seeds"
    no_seeds_would = compared(spread(0.02, 1e-9, 4e-4), 277, RULES)
    assert no_seeds_would.seeds_needed is None
    assert describe_needed([no_seeds_would, no_images_would]) == "Only more seeds on more test images"
    assert seeds_to_decide(spread(0.02, 4e-4, 1e-6, seeds=3), 0.01, 0.02) > no_images_would.seeds_needed


def test_the_smallest_difference_shrinks_with_either_variance_and_grows_with_fewer_degrees_of_freedom():
    def smallest(*parts, seeds=3, freedom=4.0):
        return minimum_detectable_difference(spread(0.02, *parts, seeds=seeds, freedom=freedom), 277, 0.05, True)

    assert smallest(1e-4, 1e-4) > smallest(1e-4, 5e-5) > smallest(5e-5, 5e-5)
    assert smallest(1e-4, 1e-4, freedom=2.0) > smallest(1e-4, 1e-4) == smallest(1e-4, 1e-4, freedom=400.0)
    assert smallest(1e-4, 0.0, seeds=10**6, freedom=1e6) == pytest.approx(0.01 * (1.959964 + 0.841621), rel=1e-3)
    assert smallest(1.0, 1.0) is None
    assert "277 test images and 3 seeds" in describe_power([compared(spread(0.02, 1e-4, 1e-4), 277, RULES)], 277)


def test_the_mean_over_seeds_ranks_and_the_decision_speaks_of_seeds():
    entries = [metrics("a", 0.90), metrics("b", 0.89)]
    repeats = {"a": [metrics("a", 0.80), metrics("a", 0.82)], "b": [metrics("b", 0.91), metrics("b", 0.93)]}
    board = rank(entries, "accuracy", None, repeats)
    assert [row.model for row in board.rows] == ["b", "a"]
    assert board.rows[0].over_seeds.accuracy.mean == pytest.approx(0.91)
    assert board.rows[0].over_seeds.accuracy.deviation == pytest.approx(0.02)
    assert "over_seeds" not in rank(entries, "accuracy").rows[0].model_dump()
    test = spread(0.07, 1e-3, 1e-4).model_copy(update={"first": "b", "second": "a"})
    said = decide(board, [test], RULES, True)
    assert "91.0% ± 2.0% (3 seeds)" in said.reason and "200 test images and 3 seeds do not decide" in said.reason
    assert "t test over 3 seeds and the test images" in said.rule and "t test over 3 seeds" in verdict(said)
