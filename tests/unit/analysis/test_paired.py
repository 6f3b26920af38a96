"""Two models on the same images: tests and intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from sklearn.metrics import f1_score

from podium.analysis.paired import Z, compare_f1, holm, judge, mcnemar, score_interval
from tests.unit.analysis.boards import some_test


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),  # never disagree
        (5, 0, 2 / 32),  # 2 x (1/2)^5
        (0, 6, 2 / 64),
        (3, 3, 1.0),
        (8, 2, 2 * (1 + 10 + 45) / 1024),  # 2 x P(at most 2 of 10)
    ],
)
def test_mcnemar_by_hand(only_first, only_second, p):
    first = np.array([True] * only_first + [False] * only_second + [True] * 7 + [False] * 2)
    second = np.array([False] * only_first + [True] * only_second + [True] * 7 + [False] * 2)
    test = mcnemar("a", "b", first, second)
    assert (test.only_first_right, test.only_second_right) == (only_first, only_second)
    assert test.p_value == pytest.approx(p)


@given(arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 60))))
def test_mcnemar_is_symmetric_and_a_probability(right):
    there, back = mcnemar("a", "b", right[0], right[1]), mcnemar("b", "a", right[1], right[0])
    assert 0 < there.p_value <= 1
    assert there.p_value == pytest.approx(back.p_value)


def test_the_interval_of_models_that_never_disagree_is_as_wide_as_their_images_are_few():
    for images in (20, 45, 400):
        found = score_interval(0, 0, images)
        assert (found.value, found.low) == (0, pytest.approx(-found.high))
        assert found.high == pytest.approx(Z**2 / (images + Z**2))


def test_the_interval_is_near_walds_where_there_are_many_images():
    found = score_interval(150, 86, 1600)  # the approval ratings of Agresti, Categorical Data Analysis, section 10.1
    error = math.sqrt(236 - 64**2 / 1600) / 1600
    assert (found.low, found.high) == pytest.approx((0.04 - Z * error, 0.04 + Z * error), abs=2e-4)


@pytest.mark.parametrize("counts", [(5, 0, 40), (0, 3, 12), (7, 2, 45), (1, 1, 9), (12, 30, 300)])
def test_the_bounds_are_where_the_score_test_with_the_most_likely_rates_just_does_not_reject(counts):
    only_first, only_second, images = counts
    found = score_interval(*counts)
    for assumed, sign in ((found.low, 1), (found.high, -1)):

        def unlikely(q, d=assumed):  # q of only the second right, q + d of only the first
            logs = [(only_first, q + d), (only_second, q), (images - only_first - only_second, 1 - 2 * q - d)]
            return -sum(n * math.log(max(p, 1e-300)) for n, p in logs if n)

        bounds = (max(0.0, -assumed), (1 - assumed) / 2)
        q = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        error = math.sqrt(images * (2 * q + assumed * (1 - assumed)))
        assert (only_first - only_second - images * assumed) / error == pytest.approx(sign * Z, abs=1e-4)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_interval_holds_the_difference_is_bounded_and_turns_with_the_models(only_first, only_second, both):
    images = only_first + only_second + both
    if not images:
        return
    found, turned = score_interval(only_first, only_second, images), score_interval(only_second, only_first, images)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def answers_of(right, classes, seed):
    """True classes, and those given by models of that accuracy."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, 300)
    given = [np.where(random.random(300) < share, labels, random.integers(0, classes, 300)) for share in right]
    return labels, tuple(given)


def test_macro_f1_of_a_much_better_model_differs_and_the_difference_is_that_of_scikit_learn():
    labels, answers = answers_of((0.9, 0.6), 4, 1)
    test = compare_f1("a", "b", labels, answers)
    ours = [f1_score(labels, given, average="macro") for given in answers]
    assert test.difference.value == pytest.approx(ours[0] - ours[1])
    assert test.p_value == 1e-4  # none of 9,999 sets of swaps comes near it
    assert 0.1 < test.difference.low < test.difference.value < test.difference.high


def test_macro_f1_of_equal_answers_does_not_differ_and_few_images_do_not_make_them_equivalent():
    labels, (answers, _) = answers_of((0.8, 0.8), 3, 2)
    test = compare_f1("a", "b", labels[:45], (answers[:45], answers[:45]))
    assert (test.p_value, test.difference.value) == (1.0, 0.0)
    assert test.difference.high == pytest.approx(Z**2 / (45 + Z**2))


def test_macro_f1_is_tested_alike_from_both_sides():
    labels, answers = answers_of((0.8, 0.75), 3, 3)
    there, back = compare_f1("a", "b", labels, answers), compare_f1("b", "a", labels, answers[::-1])
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert there.p_value == pytest.approx(back.p_value, abs=0.02)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("p", "adjusted", "low", "high", "outcome"),
    [
        (0.01, 0.01, 0.02, 0.2, "better"),
        (0.01, 0.01, 0.001, 0.015, "better"),  # small and yet sure
        (0.3, 0.3, -0.01, 0.019, "equivalent"),
        (0.3, 0.3, -0.02, 0.01, "undecided"),  # at the margin is not within it
        (0.3, 0.3, -0.01, 0.1, "undecided"),
        (0.04, 0.08, 0.001, 0.015, "undecided"),  # other contenders never make it the equal of a better one
    ],
)
def test_what_a_comparison_says(p, adjusted, low, high, outcome):
    assert judge(some_test(p, low, high), adjusted, 0.05, 0.02) == outcome
