"""Ranking, and the table."""

import pytest
from rich.console import Console

from podium.analysis.decision import decide
from podium.analysis.leaderboard import confidence_table, describe_majority, leaderboard_table, rank
from podium.config.judging import Compare
from podium.core.errors import DataError
from podium.records.evaluation import GroupMetrics, Interval, Majority
from tests.measurements import some_metrics
from tests.unit.analysis.boards import metrics, pair


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


def printed(width, *, other=None, accept=None, **fields):
    entry = metrics("convnext_atto", 0.912, flops=148_600_000, parameters=11_182_668, **fields)
    board = rank([entry, other or metrics("b", 0.85)], "accuracy", accept)
    decision = decide(board, [pair("convnext_atto", "b", 30, 10)], Compare(margin=0.02), True)
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


def test_the_majority_class_is_the_last_line_and_no_model():
    ant = Majority(label="ant [1]", accuracy=Interval(value=0.126, low=0.087, high=0.179))
    assert rank([metrics("a", majority=ant)], "accuracy").majority == ant
    assert all(len(line) <= 80 for line in printed(80, majority=ant).splitlines())
    text = printed(120, majority=ant)
    assert text.index("always") > text.index("b ")
    assert all(part in text for part in ("always answering ant [1]", "12.6%", "8.7–17.9"))
    assert describe_majority(ant) == "Always answering ant [1]: 12.6% [8.7–17.9]."
    assert describe_majority(None) == ""
    assert "always" not in printed(80)


def test_a_probe_has_no_learning_rate_and_is_told_below_the_table():
    text = one_line(printed(80, other=metrics("b", 0.85, classifier="logistic_regression", learning_rate=None)))
    assert "Computed from the features of a frozen network, not trained: b (logistic regression);" in text


def test_verdict_stands_below_the_table():
    assert "convnext_atto wins: its accuracy of 91.2% is above the 85.0% of b" in printed(400)


def one_line(text):
    return " ".join(text.split())


def test_a_comparison_on_unequal_conditions_says_so_below_the_table_and_names_no_winner():
    text = one_line(printed(80, other=metrics("b", 0.85, conditions={"pretraining": "in12k_ft_in1k"})))
    assert "convnext_atto is ahead: its accuracy" in text
    assert "Not comparable: the models differ in pretraining (in1k: convnext_atto; in12k_ft_in1k: b)." in text
    assert "compare.accept: {pretraining: <why>}" in text


def test_an_accepted_difference_is_told_too():
    text = one_line(
        printed(
            80,
            other=metrics("b", 0.85, conditions={"pretraining": "none"}),
            accept={"pretraining": "it is the question"},
        )
    )
    assert "convnext_atto wins: its accuracy" in text
    assert (
        "Accepted by compare.accept: the models differ in pretraining (in1k: convnext_atto; none: b), because it "
        "is the question."
    ) in text
    assert "Not comparable" not in text


def test_models_on_equal_conditions_are_comparable_and_nothing_is_said():
    board = rank([metrics("a"), metrics("b")], "accuracy")
    assert (board.comparable, board.differences) == (True, [])
    assert "omparable" not in printed(400)


def test_the_rate_of_coarse_classes_is_told_where_there_are_some():
    rate = Interval(value=0.99, low=0.97, high=1.0)
    groups = GroupMetrics(accuracy=rate, macro_f1=rate, fine_mistakes=None, fine_by_chance=None, per_group={})
    text = one_line(printed(80, groups=groups, other=metrics("b", 0.85, groups=groups)))
    assert "Right about the coarse class: convnext_atto 99.0% [97.0–100.0], b 99.0% [97.0–100.0]." in text
    assert "coarse" not in printed(400)


def test_confidences_fit_80_columns_and_what_was_not_measured_is_a_dash():
    sure = {"mean_confidence": 0.83, "mean_confidence_correct": 0.9, "mean_confidence_wrong": None}
    board = rank([some_metrics(model="convnext_atto", **sure), some_metrics(model="resnet18")], "accuracy")
    console = Console(width=80)
    with console.capture() as capture:
        console.print(confidence_table(board, {"resnet18": 0.0043}))
    lines = capture.get().splitlines()
    row = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert row["resnet18"][:4] == ["4.3", "90.0%", "90.0%", "50.0%"]
    assert row["convnext_atto"][:4] == ["-", "83.0%", "90.0%", "-"]
    assert row["resnet18"][-2:] == ["90.0%", "4.0%"]  # of all images answered, and of these wrong
    assert max(map(len, lines)) <= 80
