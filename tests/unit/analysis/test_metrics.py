"""Numbers of metrics.json against hand-computed values and sklearn."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from sklearn.metrics import log_loss as sklearn_log_loss
from torchmetrics.functional.classification import multiclass_auroc, multiclass_average_precision

from podium.analysis.evaluation import measure
from podium.analysis.leaderboard import leaderboard_table, rank
from podium.analysis.metrics import (
    METRICS,
    Answers,
    accuracy_of_first,
    class_metrics,
    log_loss,
    mean_scores,
    metric,
)
from podium.analysis.predictions import sort_predictions
from podium.config.judging import Evaluate
from podium.core.errors import ModelError
from podium.records.base import round_floats
from podium.records.evaluation import Leaderboard, Metrics
from tests.cards import a_card

CLASSES = ("apple", "banana", "cherry")
CARD = a_card()


def predictions(labels, probabilities, ids=None):
    labels = np.array(labels)
    ids = ids or [f"{i:016x}" for i in range(len(labels))]
    index = pd.DataFrame({"image_id": ids, "path": ids, "label": [CLASSES[i] for i in labels]})
    return sort_predictions(CLASSES, index, labels, np.array(probabilities, np.float32))


def measured(test, **settings_):
    return measure(CARD, test=test, validation=test, test_digest="d", settings=Evaluate(**settings_), seed=0)


def random_predictions(seed, images=40):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, images), rng.dirichlet([1, 1, 1], images).astype(np.float32)


def test_four_images_by_hand():
    test = predictions([0, 0, 1, 2], [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.4, 0.4], [0.5, 0.1, 0.4]])
    answers = Answers(test, test, Evaluate(top_k=2, low_confidence=0.5, calibration_bins=1))
    values = {name: known.compute(answers) for name, known in METRICS.items()}
    assert values["mean_confidence"] == pytest.approx((0.8 + 0.6 + 0.4 + 0.5) / 4)
    assert values["mean_confidence_correct"] == pytest.approx(0.6)
    assert values["mean_confidence_wrong"] == pytest.approx(0.55)
    assert values["low_confidence_count"] == 1  # 0.5 itself is not below 0.5
    assert values["ece"] == values["ece_uncalibrated"] == pytest.approx(0.575 - 0.5)
    # squares of (p - [y = c]): 0.04 + 0.01 + 0.01, 0.49 + 0.36 + 0.01, 0.04 + 0.36 + 0.16, 0.25 + 0.01 + 0.36
    assert values["brier_score"] == pytest.approx((0.06 + 0.86 + 0.56 + 0.62) / 4)
    assert values["balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    # in order, of apples 0.8 0.3 | 0.2 0.5: 3 of 4; of bananas 0.4 | 0.1 0.6 0.1: 2 of 3; of cherries 0.4 | 0.1 0.1 0.4
    assert values["macro_auroc"] == pytest.approx((3 / 4 + 2 / 3 + 2.5 / 3) / 3)
    # 1 / 2 at the first apple and 1 / 2 x 2 / 3 at the second; banana is second; cherry shares the first place
    assert values["macro_auprc"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 3)
    # surest first: right, wrong, wrong, right
    assert values["aurc"] == pytest.approx((0 + 1 / 2 + 2 / 3 + 2 / 4) / 4)
    metrics = measured(test, top_k=2, low_confidence=0.5, calibration_bins=1)
    assert metrics.accuracy.value == 0.5
    assert metrics.loss == pytest.approx(-np.log([0.8, 0.3, 0.4, 0.4]).mean(), abs=1e-6)
    assert metrics.top_k_accuracy == 1.0
    # 1 of 2, z = 1.96: centre 1 / 2, half width z / (2 + z²) * sqrt(1 * 1 / 2 + z²/4)
    assert metrics.per_class["apple"].model_dump() == pytest.approx(
        {"precision": 0.5, "recall": 0.5, "recall_low": 0.09453, "recall_high": 0.90547, "f1": 0.5, "support": 2},
        abs=1e-5,
    )
    assert metrics.per_class["cherry"].f1 == 0
    assert metrics.macro_f1.value == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    assert metrics.macro_precision == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)  # cherry is never named: 0 / 0 is 0
    assert metrics.weighted_precision == pytest.approx((2 / 2 + 1 / 2 + 0) / 4)
    assert metrics.slices == {}


def test_the_validation_split_is_measured_apart():
    validation = predictions([0, 1, 2, 2], [[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.2, 0.1, 0.7]])
    metrics = measure(CARD, test=seven_images(), validation=validation, test_digest="d", settings=Evaluate(), seed=0)
    assert metrics.val_accuracy == 3 / 4
    assert metrics.val_loss == pytest.approx(-np.log([0.6, 0.2, 0.4, 0.7]).mean(), abs=1e-6)
    assert metrics.accuracy.value == pytest.approx(5 / 7)


def seven_images():
    """apple: 3 of 4 right; banana: 1 of 2, named twice; cherry: 1 of 1, named twice."""
    return predictions([0, 0, 0, 0, 1, 1, 2], np.eye(3)[[0, 0, 0, 1, 1, 2, 2]])


def test_macro_and_weighted_means_by_hand():
    metrics = measured(seven_images())
    assert metrics.per_class["apple"].model_dump() == pytest.approx(
        {"precision": 1, "recall": 3 / 4, "recall_low": 0.30064, "recall_high": 0.95442, "f1": 6 / 7, "support": 4},
        abs=1e-5,
    )
    assert metrics.macro_precision == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert metrics.macro_recall == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert metrics.macro_f1.value == pytest.approx((6 / 7 + 1 / 2 + 2 / 3) / 3)
    assert metrics.weighted_precision == pytest.approx((4 * 1 + 2 * 1 / 2 + 1 / 2) / 7)
    assert metrics.weighted_recall == pytest.approx((4 * 3 / 4 + 2 * 1 / 2 + 1) / 7) == metrics.accuracy.value
    assert metrics.weighted_f1 == pytest.approx((4 * 6 / 7 + 2 * 1 / 2 + 2 / 3) / 7)


@pytest.fixture
def worst_recall():
    """A metric of somebody else's module: one decorated function."""

    @metric("lowest recall of a class; [0, 1]", on_leaderboard=True)
    def worst_recall(answers: Answers) -> float:
        return min(of_class.recall for of_class in answers.per_class.values())

    yield METRICS["worst_recall"]
    del METRICS["worst_recall"]


def test_a_metric_is_added_by_one_function(worst_recall, tmp_path):
    metrics = measured(seven_images())
    round_floats(metrics).write(tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())["worst_recall"] == 0.5
    board = round_floats(rank([Metrics.read(tmp_path / "metrics.json")], "accuracy"))
    board.write(tmp_path / "leaderboard.json")
    assert Leaderboard.read(tmp_path / "leaderboard.json").model_dump()["rows"][0]["worst_recall"] == 0.5
    assert "worst\nrecall" in [column.header for column in leaderboard_table(board).columns]
    assert row_of(worst_recall) == "| `worst_recall` | lowest recall of a class; [0, 1] | higher |"


def row_of(known) -> str:
    """Its row of the table in docs/metrics.md."""
    better = {True: "higher", False: "lower", None: "neither"}[known.higher_is_better]
    return f"| `{known.name}` | {known.sentence} | {better} |"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("-inf")])
def test_a_metric_that_gives_no_number_is_named_in_one_line(value):
    @metric("of no use")
    def broken(answers: Answers) -> float:
        return value

    try:
        with pytest.raises(ModelError, match=r"^the metric broken gave -?(nan|inf) .*let it return None") as caught:
            measured(predictions([0, 1, 2], np.eye(3)))
    finally:
        del METRICS["broken"]
    assert "\n" not in str(caught.value)


def test_every_metric_is_documented():
    said = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [row for row in map(row_of, METRICS.values()) if row not in said] == []


def test_without_mistakes_there_is_no_confidence_on_mistakes():
    metrics = measured(predictions([0], [[1, 0, 0]]))
    assert metrics.mean_confidence_wrong is None
    assert metrics.mean_confidence_correct == metrics.mean_confidence
    assert metrics.model_extra["macro_auroc"] is None  # no image that is no apple


def test_top_k_is_never_more_than_the_classes():
    metrics = measured(predictions([0], [[0, 0.5, 0.5]]), top_k=5)
    assert (metrics.top_k, metrics.top_k_accuracy) == (3, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_top_k_are_sklearns(seed):
    labels, probabilities = random_predictions(seed)
    exact = probabilities.astype(float)
    exact /= exact.sum(axis=1, keepdims=True)
    expected = sklearn_log_loss(labels, exact, labels=[0, 1, 2])
    assert log_loss(labels, probabilities) == pytest.approx(expected, abs=1e-6)
    for k in (1, 2):
        expected = top_k_accuracy_score(labels, probabilities, k=k, labels=[0, 1, 2])
        assert accuracy_of_first(labels, probabilities, k) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_scores_over_all_thresholds_are_sklearns_and_torchmetrics(seed):
    labels, probabilities = random_predictions(seed)
    answers = Answers(predictions(labels, probabilities), predictions(labels, probabilities), Evaluate())
    values = {name: METRICS[name].compute(answers) for name in ("macro_auroc", "macro_auprc", "balanced_accuracy")}
    given_ = torch.from_numpy(probabilities), torch.from_numpy(labels)
    assert values["macro_auroc"] == pytest.approx(float(multiclass_auroc(*given_, 3)), abs=1e-6)
    assert values["macro_auprc"] == pytest.approx(float(multiclass_average_precision(*given_, 3)), abs=1e-6)
    assert values["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, probabilities.argmax(axis=1)), abs=1e-12
    )
    brier = METRICS["brier_score"].compute(answers)
    exact = probabilities / probabilities.astype(float).sum(axis=1, keepdims=True)
    assert brier == pytest.approx(brier_score_loss(labels, exact, labels=[0, 1, 2]), abs=1e-6)


def test_confidences_are_those_at_the_temperature_chosen_on_validation_and_the_answers_stay():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 400), rng.normal(0, 1, (400, 3))
    logits[np.arange(400), labels] += 1
    sharp = softmax(4 * logits, axis=1)  # four times too sure
    metrics = measure(
        CARD,
        test=predictions(labels[200:], sharp[200:]),
        validation=predictions(labels[:200], sharp[:200]),
        test_digest="d",
        settings=Evaluate(),
        seed=0,
    )
    assert metrics.temperature == pytest.approx(4, rel=0.35)
    assert metrics.ece < metrics.model_extra["ece_uncalibrated"] / 2
    assert metrics.model_extra["calibrated_loss"] < metrics.loss
    assert metrics.accuracy.value == pytest.approx((sharp[200:].argmax(axis=1) == labels[200:]).mean())


def test_loss_of_an_impossible_truth_is_finite():
    assert log_loss(np.array([0]), np.array([[0, 1, 0]], np.float32)) == pytest.approx(15.94, abs=0.01)


def test_first_of_equally_probable_classes_is_the_answer_in_accuracy_and_top_1():
    labels, even = np.array([0, 1]), np.full((2, 3), 1 / 3, np.float32)
    assert accuracy_of_first(labels, even, 1) == 0.5
    assert predictions(labels, even).correct.tolist() == [True, False]


def test_a_class_that_never_occurs_is_zero_but_does_not_pull_the_macro_mean():
    truth, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    every = class_metrics(predictions(truth, np.eye(3, dtype=np.float32)[predicted]))
    macro = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    assert every["cherry"].support == 0
    assert mean_scores(truth, predicted, "macro").precision == pytest.approx(macro[0]) == pytest.approx(0.75)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.permutations(range(40)))
def test_order_of_the_images_changes_nothing(seed, order):
    labels, probabilities = random_predictions(seed)
    ids = [f"{i:016x}" for i in range(40)]
    plain = measured(predictions(labels, probabilities, ids), bootstrap_samples=20)
    order = list(order)
    shuffled = predictions(labels[order], probabilities[order], [ids[i] for i in order])
    assert measured(shuffled, bootstrap_samples=20) == plain
