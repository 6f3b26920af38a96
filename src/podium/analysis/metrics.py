"""From probabilities to numbers: a metric is one function under `@metric`.

Formulas and sources: docs/metrics.md. No number depends on the order of the images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from podium.analysis.calibration import (
    Reliability,
    area_under_risk_coverage,
    classwise_error,
    reliability,
    reliability_by_mass,
)
from podium.analysis.predictions import Predictions
from podium.analysis.statistics import wilson
from podium.config.judging import Evaluate
from podium.records.evaluation import ClassMetrics

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


class MeanScores(NamedTuple):
    """Means of the classes' precision, recall and F1, fractions in [0, 1]."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Answers:
    """What a metric is measured on: the answers on the test split and the `evaluate` section.

    Attributes:
        raw: as the model gives them.
        predictions: calibrated.
        settings: how to measure.
    """

    raw: Predictions
    predictions: Predictions
    settings: Evaluate

    @property
    def top_k(self) -> int:
        """`evaluate.top_k`, at most the number of classes."""
        return min(self.settings.top_k, len(self.predictions.classes))

    @cached_property
    def per_class(self) -> dict[str, ClassMetrics]:
        """Precision, recall and F1 of each class."""
        return class_metrics(self.predictions)

    @cached_property
    def macro(self) -> MeanScores:
        """Means in which each class that is true or predicted somewhere counts the same."""
        return mean_scores(self.predictions.labels, self.predictions.predicted, "macro")

    @cached_property
    def weighted(self) -> MeanScores:
        """Means in which each image counts the same."""
        return mean_scores(self.predictions.labels, self.predictions.predicted, "weighted")


@dataclass(frozen=True)
class Metric:
    """One number about the test split.

    Attributes:
        name: its key in `metrics.json`, and `test/<name>` in MLflow.
        sentence: what it is, with its range.
        higher_is_better: None where neither is.
        on_leaderboard: whether it is a column of its own there.
        compute: the number; None where there is nothing to measure it on.
    """

    name: str
    sentence: str
    higher_is_better: bool | None
    on_leaderboard: bool
    compute: Callable[[Answers], float | None]


METRICS: dict[str, Metric] = {}
"""Every metric by name."""

_Compute = Callable[[Answers], float | None]


def metric(
    sentence: str, *, higher_is_better: bool | None = True, on_leaderboard: bool = False
) -> Callable[[_Compute], _Compute]:
    """Makes a function a metric, under its own name; the arguments are the attributes of `Metric`."""

    def register(compute: _Compute) -> _Compute:
        """Puts the function into `METRICS` and gives it back as it is."""
        name = compute.__name__
        METRICS[name] = Metric(name, sentence, higher_is_better, on_leaderboard, compute)
        return compute

    return register


@metric("plain mean of the classes' precision, over the classes that are true or predicted somewhere; [0, 1]")
def macro_precision(answers: Answers) -> float:
    """Each class counts the same."""
    return answers.macro.precision


@metric("plain mean of the classes' recall, over the classes that are true or predicted somewhere; [0, 1]")
def macro_recall(answers: Answers) -> float:
    """Each class counts the same."""
    return answers.macro.recall


@metric("mean of the classes' precision weighted by support; [0, 1]")
def weighted_precision(answers: Answers) -> float:
    """Each image counts the same."""
    return answers.weighted.precision


@metric("mean of the classes' recall weighted by support, which is the accuracy; [0, 1]")
def weighted_recall(answers: Answers) -> float:
    """Each image counts the same."""
    return answers.weighted.recall


@metric("mean of the classes' F1 weighted by support; [0, 1]")
def weighted_f1(answers: Answers) -> float:
    """Each image counts the same."""
    return answers.weighted.f1


@metric(
    "mean of -ln p(y), p kept above float32's epsilon as in scikit-learn's `log_loss`; nats, [0, 15.94]",
    higher_is_better=False,
)
def loss(answers: Answers) -> float:
    """Without label smoothing or weights, whatever was minimised; of the probabilities as the model gives them."""
    return log_loss(answers.raw.labels, answers.raw.probabilities)


@metric("`loss` of the calibrated probabilities; nats, [0, 15.94]", higher_is_better=False)
def calibrated_loss(answers: Answers) -> float:
    """The negative log likelihood a user of the probabilities pays."""
    return log_loss(answers.predictions.labels, answers.predictions.probabilities)


@metric("mean of the sum over classes of (p(c) - [y = c])²; [0, 2]", higher_is_better=False)
def brier_score(answers: Answers) -> float:
    """Over all classes (Brier, Monthly Weather Review 78(1), 1950)."""
    probabilities = answers.predictions.probabilities.astype(np.float64)
    truth = np.arange(len(probabilities)), answers.predictions.labels
    squares = (probabilities**2).sum(axis=1) - 2 * probabilities[truth] + 1
    return _mean(squares) or 0.0


@metric("mean of the recalls of the classes that are in the test split; [0, 1]")
def balanced_accuracy(answers: Answers) -> float:
    """scikit-learn's `balanced_accuracy_score`."""
    present = [of_class.recall for of_class in answers.per_class.values() if of_class.support]
    return float(np.mean(present))


@metric("mean over classes of the area under the ROC curve of p(c), c against the rest; [0, 1]")
def macro_auroc(answers: Answers) -> float | None:
    """scikit-learn's `roc_auc_score`, one against the rest; of classes that some images have and others have not."""
    from sklearn.metrics import roc_auc_score

    return _one_against_rest(answers.predictions, roc_auc_score)


@metric("mean over classes of the average precision of p(c), c against the rest; [0, 1]")
def macro_auprc(answers: Answers) -> float | None:
    """scikit-learn's `average_precision_score`; of classes that some images have and others have not."""
    from sklearn.metrics import average_precision_score

    return _one_against_rest(answers.predictions, average_precision_score)


@metric("images whose y is among the `top_k` most probable classes / N; [`accuracy`, 1]")
def top_k_accuracy(answers: Answers) -> float:
    """`top_k` is at most the number of classes."""
    return accuracy_of_first(answers.predictions.labels, answers.predictions.probabilities, answers.top_k)


@metric("mean of p(ŷ); [1/C, 1]", higher_is_better=None)
def mean_confidence(answers: Answers) -> float:
    """Over all answers."""
    return _mean(answers.predictions.confidence) or 0.0


@metric("mean of p(ŷ) over right answers; [1/C, 1], null where there are none", higher_is_better=None)
def mean_confidence_correct(answers: Answers) -> float | None:
    """Over right answers."""
    return _mean(answers.predictions.confidence[answers.predictions.correct])


@metric("mean of p(ŷ) over wrong answers; [1/C, 1], null where there are none", higher_is_better=None)
def mean_confidence_wrong(answers: Answers) -> float | None:
    """Over wrong answers."""
    return _mean(answers.predictions.confidence[~answers.predictions.correct])


@metric("images with p(ŷ) < `low_confidence_threshold`; 0..N", higher_is_better=None)
def low_confidence_count(answers: Answers) -> int:
    """A confidence of exactly the threshold does not count."""
    return int((answers.predictions.confidence < answers.settings.low_confidence).sum())


@metric(
    "sum over bins of (images in the bin / N) x abs(accuracy - mean confidence in the bin); [0, 1]",
    higher_is_better=False,
)
def ece(answers: Answers) -> float:
    """The expected calibration error over `calibration_bins` bins of equal width."""
    return _reliability(answers.predictions, answers.settings).expected_calibration_error


@metric("`ece` of the probabilities as the model gives them; [0, 1]", higher_is_better=False)
def ece_uncalibrated(answers: Answers) -> float:
    """What the temperature is there to lower."""
    return _reliability(answers.raw, answers.settings).expected_calibration_error


@metric("`ece` over bins of as many images each; [0, 1]", higher_is_better=False)
def ece_equal_mass(answers: Answers) -> float:
    """Over `calibration_bins` bins, fewer where many confidences are equal."""
    p = answers.predictions
    return reliability_by_mass(p.confidence, p.correct, answers.settings.calibration_bins).expected_calibration_error


@metric(
    "root mean square gap over bins of as many images each, less what chance makes of it; [0, 1]",
    higher_is_better=False,
)
def calibration_error_debiased(answers: Answers) -> float | None:
    """Near 0 for a calibrated model however few the images are."""
    p = answers.predictions
    return reliability_by_mass(p.confidence, p.correct, answers.settings.calibration_bins).debiased_error


@metric("mean over classes of the `ece` of p(c) as a forecast of y = c; [0, 1]", higher_is_better=False)
def classwise_ece(answers: Answers) -> float:
    """Every class's probability counts, not that of the answer alone."""
    return classwise_error(answers.predictions, answers.settings.calibration_bins)


@metric("mean over coverages of the share of wrong answers among the surest; [0, 1]", higher_is_better=False)
def aurc(answers: Answers) -> float:
    """The area under the risk-coverage curve."""
    return area_under_risk_coverage(answers.predictions.confidence, answers.predictions.correct)


def log_loss(labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]) -> float:
    """Mean negative log likelihood of the true classes.

    Args:
        labels: true class numbers, shape (N,).
        probabilities: shape (N, C).

    Returns:
        Nats per image, in [0, 15.94]: probabilities are kept above float32's epsilon, as in sklearn.
    """
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    # Sorted, so that the sum does not depend on the order of the images.
    return float(-np.log(np.sort(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0))).mean())


def accuracy_of_first(labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]], k: int) -> float:
    """Share of images whose true class is among the k most probable ones.

    Args:
        labels: true class numbers, shape (N,).
        probabilities: shape (N, C).
        k: 1..C. Of equally probable classes the first in class order goes first, so k = 1 is the accuracy.

    Returns:
        A fraction in [0, 1].
    """
    of_truth = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    rank = (probabilities > of_truth).sum(axis=1) + ((probabilities == of_truth) & earlier).sum(axis=1)
    return float((rank < k).mean())


def class_metrics(predictions: Predictions) -> dict[str, ClassMetrics]:
    """Precision, recall with its interval and F1 of each class, by its name; 0 where a ratio is 0 / 0."""
    from sklearn.metrics import precision_recall_fscore_support as score

    every = np.arange(len(predictions.classes))
    scores = score(predictions.labels, predictions.predicted, labels=every, zero_division=0)
    found = {}
    for name, p, r, f, n in zip(predictions.classes, *scores, strict=True):
        interval = wilson(round(r * n), int(n)) if n else None
        found[name] = ClassMetrics(
            precision=float(p),
            recall=float(r),
            recall_low=interval.low if interval else None,
            recall_high=interval.high if interval else None,
            f1=float(f),
            support=int(n),
        )
    return found


def mean_scores(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], average: Literal["macro", "weighted"]
) -> MeanScores:
    """Means over the classes that are true or predicted somewhere; 0 where a ratio is 0 / 0.

    Args:
        labels: true class numbers, shape (N,).
        predicted: predicted class numbers, shape (N,).
        average: whether each class counts the same, or each image.
    """
    from sklearn.metrics import precision_recall_fscore_support as score

    precision, recall, f1, _ = score(labels, predicted, average=average, zero_division=0)
    return MeanScores(float(precision), float(recall), float(f1))


def _reliability(predictions: Predictions, settings: Evaluate) -> Reliability:
    """By bins of equal width."""
    return reliability(predictions.confidence, predictions.correct, settings.calibration_bins)


def _one_against_rest(predictions: Predictions, score: Callable[..., float]) -> float | None:
    """Mean over classes of a score of (y = c, p(c)); None where no class is in some images and not in others."""
    found = [
        float(score(predictions.labels == number, predictions.probabilities[:, number]))
        for number in range(len(predictions.classes))
        if 0 < np.count_nonzero(predictions.labels == number) < len(predictions.labels)
    ]
    return float(np.mean(found)) if found else None


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean of sorted values, the same for any order of the images; None of none."""
    return float(np.sort(values).mean()) if len(values) else None
