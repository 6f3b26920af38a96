"""Ranking, the verdict between the best two, and the table."""

import pytest
from rich.console import Console

from podium.analysis.leaderboard import decide, leaderboard_table, rank, verdict
from podium.core.errors import DataError
from podium.records.evaluation import GroupMetrics, Interval, PairedTest
from tests.measurements import some_metrics


def metrics(model, accuracy=0.9, f1=0.9, flops=100, parameters=10, digest="d", images=200, **fields):
    return some_metrics(
        model=model,
        architecture=f"arch_{model}",
        fingerprint=model * 4,
        test_digest=digest,
        images=images,
        accuracy=Interval(value=accuracy, low=accuracy - 0.05, high=min(1, accuracy + 0.05)),
        macro_f1=Interval(value=f1, low=f1 - 0.05, high=min(1, f1 + 0.05)),
        parameters=parameters,
        flops=flops,
        **fields,
    )


def paired(first, second, only_first, only_second, p):
    return PairedTest(first=first, second=second, only_first_right=only_first, only_second_right=only_second, p_value=p)


def order(*entries, metric="accuracy"):
    return [row.model for row in rank(entries, metric).rows]


def test_higher_metric_comes_first():
    assert order(metrics("a", 0.8, 0.9), metrics("b", 0.9, 0.8)) == ["b", "a"]
    assert order(metrics("a", 0.8, 0.9), metrics("b", 0.9, 0.8), metric="macro_f1") == ["a", "b"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (metrics("z", flops=1), metrics("a", flops=2)),
        (metrics("z", parameters=1), metrics("a", parameters=2)),
        (metrics("a"), metrics("z")),
    ],
)
def test_equal_metric_goes_by_flops_then_parameters_then_name(left, right):
    assert order(left, right) == order(right, left) == [left.model, right.model]


@pytest.mark.parametrize("other", [metrics("b", digest="e"), metrics("b", images=199)])
def test_models_measured_on_different_images_are_not_compared(other):
    with pytest.raises(DataError, match="different test splits"):
        rank([metrics("a"), other], "accuracy")


def test_no_model_is_refused():
    with pytest.raises(DataError, match="no evaluation"):
        rank([], "accuracy")


def test_significant_difference_wins_at_any_cost():
    board = rank([metrics("big", 0.95, flops=10**9), metrics("small", 0.80, flops=1)], "accuracy")
    decision = decide(board, paired("big", "small", 40, 10, 3e-5), 0.05, True)
    assert (decision.winner, decision.fingerprint, decision.tie) == ("big", "bigbigbigbig", False)
    assert "95.0%" in decision.reason
    assert "80.0%" in decision.reason
    assert "only big was right about 40 images, only small about 10; McNemar p = 3e-05 < 0.05" in decision.reason


@pytest.mark.parametrize("p", [0.05, 0.6])
def test_tie_goes_to_fewer_flops(p):
    board = rank([metrics("big", 0.95, flops=2_000_000_000), metrics("small", 0.94, flops=50_000_000)], "accuracy")
    decision = decide(board, paired("big", "small", 12, 10, p), 0.05, True)
    assert (decision.winner, decision.tie) == ("small", True)
    assert "fewer FLOPs an image (0.05 against 2 G)" in decision.reason
    assert "fewer FLOPs" in decision.rule


def test_tie_at_equal_flops_goes_to_fewer_parameters_then_to_the_leader():
    board = rank([metrics("a", 0.95, parameters=20), metrics("b", 0.94, parameters=10)], "accuracy")
    assert decide(board, paired("a", "b", 12, 10, 0.8), 0.05, True).winner == "b"
    board = rank([metrics("a", 0.94), metrics("b", 0.95)], "accuracy")
    decision = decide(board, paired("b", "a", 12, 10, 0.8), 0.05, True)
    assert (decision.winner, decision.tie) == ("b", True)
    assert "cost the same" in decision.reason


def test_a_test_that_favours_the_runner_up_is_told():
    board = rank([metrics("a", 0.80, 0.9), metrics("b", 0.95, 0.8)], "macro_f1")
    decision = decide(board, paired("a", "b", 10, 40, 0.001), 0.05, True)
    assert decision.winner == "a"
    assert "By right answers alone b is ahead" in decision.reason


def test_one_model_wins_without_a_test():
    decision = decide(rank([metrics("a")], "accuracy"), None, 0.05, True)
    assert (decision.winner, decision.tie, decision.test) == ("a", False, None)
    assert "only model" in decision.reason


def test_a_test_of_other_models_is_refused():
    board = rank([metrics("a"), metrics("b")], "accuracy")
    for test in (None, paired("b", "a", 1, 1, 1.0)):
        with pytest.raises(DataError, match="not tested"):
            decide(board, test, 0.05, True)


def test_failed_validation_is_part_of_the_verdict():
    board = rank([metrics("a")], "accuracy")
    assert "do not promote" in verdict(decide(board, None, 0.05, False))
    assert "do not promote" not in verdict(decide(board, None, 0.05, True))


def printed(width, *, other=None, accept=(), **fields):
    entry = metrics("convnext_atto", 0.912, flops=148_600_000, parameters=11_182_668, **fields)
    board = rank([entry, other or metrics("b", 0.85)], "accuracy", accept)
    decision = decide(board, paired("convnext_atto", "b", 30, 10, 0.002), 0.05, True)
    console = Console(width=width, record=True)
    with console.capture() as capture:
        console.print(leaderboard_table(board, decision))
    return capture.get()


def test_table_shows_every_number_in_80_columns():
    text = printed(80)
    for part in ("★1 convnext_atto ", "91.2%", "86.2–96.2", "90.0%", "0.300", "0.001", "7,560", "11.2 M", "0.149"):
        assert part in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "200 test images" in text
    assert "…" not in text


def test_verdict_stands_below_the_table():
    assert "convnext_atto wins: its accuracy of 91.2% is above the 85.0% of b" in printed(400)


def one_line(text):
    return " ".join(text.split())


def test_a_comparison_on_unequal_conditions_says_so_below_the_table_and_names_no_winner():
    text = one_line(printed(80, other=metrics("b", 0.85, conditions={"pretraining": "in12k_ft_in1k"})))
    assert "convnext_atto is ahead: its accuracy" in text
    assert "Not comparable: the models differ in pretraining (in1k: convnext_atto; in12k_ft_in1k: b)." in text
    assert "compare.accept: [pretraining]" in text


def test_an_accepted_difference_is_told_too():
    text = one_line(printed(80, other=metrics("b", 0.85, conditions={"pretraining": "none"}), accept=["pretraining"]))
    assert "convnext_atto wins: its accuracy" in text
    assert "Accepted by compare.accept: the models differ in pretraining (in1k: convnext_atto; none: b)." in text
    assert "Not comparable" not in text


def test_the_decision_carries_what_the_leaderboard_found():
    other = metrics("b", 0.85, conditions={"seed": 1, "images_seen": 100})
    board = rank([metrics("a"), other], "accuracy", ["seed"])
    decision = decide(board, paired("a", "b", 30, 10, 0.002), 0.05, True)
    assert (board.comparable, decision.comparable) == (False, False)
    assert decision.differences == board.differences
    assert [(d.condition, d.accepted) for d in board.differences] == [("images_seen", False), ("seed", True)]


def test_models_on_equal_conditions_are_comparable_and_nothing_is_said():
    board = rank([metrics("a"), metrics("b")], "accuracy")
    assert (board.comparable, board.differences) == (True, [])
    assert "omparable" not in printed(400)


def test_the_rate_of_coarse_classes_is_told_where_there_are_some():
    rate = Interval(value=0.99, low=0.97, high=1.0)
    groups = GroupMetrics(accuracy=rate, macro_f1=rate, per_group={})
    text = one_line(printed(80, groups=groups, other=metrics("b", 0.85, groups=groups)))
    assert "Right about the coarse class: convnext_atto 99.0% [97.0–100.0], b 99.0% [97.0–100.0]." in text
    assert "coarse" not in printed(400)
