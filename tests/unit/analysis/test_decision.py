"""Who wins or leads, what it is worth on few images, and what one more contender changes."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.analysis.decision import decide, verdict
from podium.analysis.leaderboard import rank
from podium.analysis.paired import compare_f1, mcnemar
from podium.config.judging import Compare
from podium.core.errors import DataError
from tests.unit.analysis.boards import metrics, pair

RULES = Compare(margin=0.02)


def test_a_significant_difference_wins_at_any_cost():
    board = rank([metrics("big", 0.95, flops=10**9), metrics("small", 0.80, flops=1)], "accuracy")
    decision = decide(board, [pair("big", "small", 40, 10)], RULES, True)
    assert (decision.winner, decision.fingerprint, decision.outcome) == ("big", "bigbigbigbig", "better")
    assert verdict(decision) == (
        "big wins: its accuracy of 95.0% is above the 80.0% of small, and the difference is significant: only big was "
        "right about 40 images, only small about 10; exact McNemar p = 2.4e-05 < 0.05."
    )


def test_of_equivalent_models_the_cheaper_wins():
    board = rank(
        [metrics("big", 0.91, flops=2 * 10**9, images=2000), metrics("small", 0.909, flops=5 * 10**7, images=2000)],
        "accuracy",
    )
    decision = decide(board, [pair("big", "small", 12, 10, 2000)], RULES, True)
    assert (decision.winner, decision.outcome) == ("small", "equivalent")
    assert verdict(decision) == (
        "small wins among equivalent models: small (90.9%) is equivalent to big (91.0%) in accuracy: the 90% interval "
        "of the difference, -0.3 to 0.5, lies within ±2 points; small needs fewer FLOPs an image (0.05 against 2 G). "
        "With 2,000 test images a true difference of 0.7 points is found in 8 of 10 cases, a smaller one less often."
    )
    assert "the one with the fewest FLOPs wins" in decision.rule


def test_equivalent_models_of_equal_flops_go_to_fewer_parameters_then_to_the_higher_place():
    board = rank([metrics("a", 0.95, parameters=20), metrics("b", 0.94, parameters=10)], "accuracy")
    decision = decide(board, [pair("a", "b", 12, 10, 2000)], RULES, True)
    assert (decision.winner, "has fewer parameters" in decision.reason) == ("b", True)
    board = rank([metrics("a", 0.94), metrics("b", 0.95)], "accuracy")
    decision = decide(board, [pair("b", "a", 12, 10, 2000)], RULES, True)
    assert (decision.winner, decision.outcome) == ("b", "equivalent")
    assert "cost the same" in decision.reason


def test_not_knowing_is_no_tie_the_higher_leads_provisionally_and_it_is_said_how_many_images_would_decide():
    board = rank([metrics("big", 0.489, flops=10, images=45), metrics("small", 0.311, flops=1, images=45)], "accuracy")
    decision = decide(board, [pair("big", "small", 14, 6, 45)], RULES, True)
    assert (decision.winner, decision.outcome, decision.accepted_because) == ("big", "undecided", None)
    assert verdict(decision) == (
        "big leads provisionally: its accuracy of 48.9% is above the 31.1% of small, but 45 test images do not decide "
        "between the two: only big was right about 14 images, only small about 6; exact McNemar p = 0.12 >= 0.05, and "
        "the difference of 17.8 points (90% interval 1.5 to 33.2) does not show them equivalent within ±2 points. "
        "About 64 test images would decide it, if they go on to disagree at this rate. With 45 test images a true "
        "difference of 28.2 points is found in 8 of 10 cases, a smaller one less often. It is not promoted before "
        "that, unless compare.accept says why it may be: compare.accept: {undecided: <why>}."
    )
    assert decision.comparisons[0].images_needed == 64


def test_an_undecided_leader_that_is_accepted_says_why():
    board = rank([metrics("a", 0.95), metrics("b", 0.94)], "accuracy")
    accepting = Compare(margin=0.02, accept={"undecided": "a demonstration"})
    decision = decide(board, [pair("a", "b", 12, 10)], accepting, True)
    assert (decision.outcome, decision.accepted_because) == ("undecided", "a demonstration")
    assert verdict(decision).endswith(
        "Accepted by compare.accept: it may be promoted undecided, because a demonstration."
    )
    decided = decide(board, [pair("a", "b", 30, 1)], accepting, True)
    assert (decided.outcome, decided.accepted_because) == ("better", None)


def contest(entries, tests):
    """A decision over several models, of equal accuracy where a test says so; `tests` in the order of the board."""
    return decide(rank(entries, "accuracy"), tests, RULES, True)


def test_the_cheapest_of_all_equivalents_wins_wherever_it_stands():
    entries = [metrics("b", 0.910, flops=3), metrics("c", 0.909, flops=2), metrics("a", 0.908, flops=1)]
    tests = [pair(first, second, 11, 10, 2000) for first, second in combinations("bca", 2)]
    assert contest(entries, tests).winner == "a"


def test_with_several_models_those_that_cannot_be_told_from_the_best_are_named():
    rates = {"a": (0.9, 9), "b": (0.899, 5), "c": (0.89, 100), "d": (0.5, 100)}
    entries = [metrics(name, rate, flops=flops, images=2000) for name, (rate, flops) in rates.items()]
    tests = {
        "ab": pair("a", "b", 11, 10, 2000),
        "ac": pair("a", "c", 113, 87, 2000),
        "bc": pair("b", "c", 112, 87, 2000),
        **{f"{x}d": pair(x, "d", 500, 20, 2000) for x in "abc"},
    }
    decision = contest(entries, list(tests.values()))
    assert {c.second: c.outcome for c in decision.comparisons} == {"b": "equivalent", "c": "undecided", "d": "better"}
    assert (decision.winner, decision.outcome) == ("b", "undecided")
    assert "b (89.9%) is equivalent to a (90.0%)" in decision.reason
    assert "after Holm's correction" in decision.reason
    assert decision.comparisons[0].images_needed is None


def test_the_correction_is_over_all_pairs_since_the_best_was_picked_with_the_same_answers():
    tests = [pair("a", "b", 20, 8), pair("a", "c", 20, 8), pair("b", "c", 1, 1)]
    decision = contest([metrics("a", 0.9), metrics("b", 0.84), metrics("c", 0.84)], tests)
    assert tests[0].p_value < 0.05
    assert [c.adjusted_p for c in decision.comparisons] == pytest.approx([3 * tests[0].p_value] * 2)
    assert decision.outcome == "undecided"


def test_macro_f1_is_tested_itself():
    labels = np.arange(300) % 3
    random = np.random.default_rng(0)
    answers = tuple(np.where(random.random(300) < share, labels, (labels + 1) % 3) for share in (0.95, 0.7))
    board = rank([metrics("a", f1=0.95), metrics("b", f1=0.7)], "macro_f1")
    decision = decide(board, [compare_f1("a", "b", labels, answers)], RULES, True)
    assert (decision.winner, decision.outcome) == ("a", "better")
    assert "randomisation test p = 0.0001 < 0.05" in decision.reason


@cache
def registered(costly, cheap, images):
    """Who is registered and how it is called, where each of two models alone was right about so many images."""
    entries = [
        metrics("costly", (images // 2 + costly) / images, flops=2, images=images),
        metrics("cheap", (images // 2 + cheap) / images, flops=1, images=images),
    ]
    board = rank(entries, "accuracy")
    first, second = (row.model for row in board.rows)
    counts = (costly, cheap) if first == "costly" else (cheap, costly)
    decision = decide(board, [pair(first, second, *counts, images)], RULES, True)
    return decision.winner, decision.outcome


def draws(rates, images, seed=0):
    """What is registered in 500 draws, where only the costly and only the cheap model are right at these rates."""
    random = np.random.default_rng(seed)
    counts = random.multinomial(images, [*rates, 1 - sum(rates)], size=500)
    return [registered(int(costly), int(cheap), images) for costly, cheap, _ in counts]


@pytest.mark.parametrize("rates", [(0.12, 0.02), (0.15, 0.05)])
def test_the_worse_of_two_models_ten_points_apart_is_seldom_registered_after_45_images(rates):
    said = draws(rates, 45)
    assert sum(winner == "cheap" for winner, _ in said) < 0.1 * len(said)
    assert not any(outcome == "equivalent" for _, outcome in said)


@pytest.mark.parametrize("images", [45, 264, 2000])
def test_of_equal_models_one_is_called_better_in_at_most_one_case_of_twenty(images):
    said = draws((0.08, 0.08), images, seed=images)
    assert sum(outcome == "better" for _, outcome in said) <= 0.05 * len(said)


@pytest.mark.parametrize("images", [45, 264, 2000])
def test_of_models_that_differ_by_the_margin_few_are_called_equivalent(images):
    said = draws((0.05, 0.03), images, seed=images)
    assert sum(outcome == "equivalent" for _, outcome in said) <= 0.07 * len(said)


@st.composite
def contenders(draw):
    """Answers of three to five models to the same images, right or wrong, and their costs."""
    count, images = draw(st.integers(3, 5)), draw(st.sampled_from([20, 60, 400, 3000]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hard = random.random(images)
    noise = draw(st.sampled_from([0.005, 0.03, 0.2]))
    skills = [draw(st.sampled_from([0.7, 0.703, 0.71, 0.73, 0.8])) for _ in range(count)]
    right = {f"m{i}": hard + random.normal(0, noise, images) < skill for i, skill in enumerate(skills)}
    costs = draw(st.permutations(range(count)))
    return right, dict(zip(right, costs, strict=True))


def judged(right, costs):
    """The board and the decision over models, from their right answers."""
    images = len(next(iter(right.values())))
    board = rank([metrics(m, float(r.mean()), flops=costs[m], images=images) for m, r in right.items()], "accuracy")
    order = [row.model for row in board.rows]
    tests = [mcnemar(first, second, right[first], right[second]) for first, second in combinations(order, 2)]
    return order, decide(board, tests, RULES, True)


@given(contenders())
@settings(max_examples=60)
def test_one_more_contender_never_changes_the_order_of_the_others(drawn_models):
    right, costs = drawn_models
    order, decision = judged(right, costs)
    of_pair = {c.second: (c.difference, c.p_value) for c in decision.comparisons}
    for added in right:
        others = {m: r for m, r in right.items() if m != added}
        order_before, before = judged(others, costs)
        assert order_before == [m for m in order if m != added]
        if added == order[0]:
            continue
        # The best is the same: what is said of each other one is as it was, and no third model comes to win.
        assert decision.winner in (before.winner, added)
        for c in before.comparisons:
            assert of_pair[c.second] == (c.difference, c.p_value)
        now = {c.second: c.outcome for c in decision.comparisons}
        for c in before.comparisons:
            assert (c.outcome == "equivalent") == (now[c.second] == "equivalent")


def test_one_model_wins_without_a_test():
    decision = decide(rank([metrics("a")], "accuracy"), [], RULES, True)
    assert (decision.winner, decision.outcome, decision.comparisons) == ("a", "alone", [])
    assert "only model" in decision.reason


def test_models_that_were_not_tested_against_each_other_are_refused():
    board = rank([metrics("a"), metrics("b")], "accuracy")
    for tests in ([], [pair("b", "a", 1, 1)]):
        with pytest.raises(DataError, match="not tested"):
            decide(board, tests, RULES, True)


def test_failed_validation_is_part_of_the_verdict():
    board = rank([metrics("a")], "accuracy")
    assert "do not promote" in verdict(decide(board, [], RULES, False))
    assert "do not promote" not in verdict(decide(board, [], RULES, True))


def test_the_decision_carries_what_the_leaderboard_found():
    other = metrics("b", 0.85, conditions={"seed": 1, "images_seen": 100})
    board = rank([metrics("a"), other], "accuracy", {"seed": "a test"})
    decision = decide(board, [pair("a", "b", 30, 10)], RULES, True)
    assert (board.comparable, decision.comparable) == (False, False)
    assert decision.differences == board.differences
    assert [(d.condition, d.accepted) for d in board.differences] == [("images_seen", False), ("seed", True)]
