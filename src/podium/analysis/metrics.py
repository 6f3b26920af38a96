"""From probabilities to the numbers of `metrics.json`. numpy and sklearn (imported when something is measured).

Formulas and sources: docs/metrics.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.analysis.calibration import reliability
from podium.analysis.conditions import conditions_of
from podium.analysis.groups import coarse
from podium.analysis.predictions import Predictions
from podium.analysis.slices import slice_metrics
from podium.analysis.statistics import bootstrap_confusion, confusion
from podium.config.judging import Evaluate
from podium.records.evaluation import ClassMetrics, GroupMetrics, Metrics
from podium.records.training import ModelCard

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class ClassReport:
    """Precision, recall and F1 per class, and their macro and weighted means (over the classes that occur)."""

    per_class: dict[str, ClassMetrics]
    macro_precision: float
    macro_recall: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float


def log_loss(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
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


def top_k_accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float32], k: int) -> float:
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


def class_report(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: tuple[str, ...]) -> ClassReport:
    """Precision, recall and F1 per class and their means; 0 where a ratio is 0 / 0.

    Args:
        labels: true class numbers, shape (N,).
        predicted: predicted class numbers, shape (N,).
        classes: C names.

    Returns:
        One entry per class, and means over the classes that are true or predicted somewhere.
    """
    from sklearn.metrics import precision_recall_fscore_support as score

    every = np.arange(len(classes))
    rows = zip(classes, *score(labels, predicted, labels=every, zero_division=0), strict=True)
    macro = score(labels, predicted, average="macro", zero_division=0)
    weighted = score(labels, predicted, average="weighted", zero_division=0)
    return ClassReport(
        per_class={
            name: ClassMetrics(precision=float(p), recall=float(r), f1=float(f), support=int(n))
            for name, p, r, f, n in rows
        },
        macro_precision=float(macro[0]),
        macro_recall=float(macro[1]),
        weighted_precision=float(weighted[0]),
        weighted_recall=float(weighted[1]),
        weighted_f1=float(weighted[2]),
    )


def group_metrics(coarsened: Predictions, samples: int, seed: int) -> GroupMetrics:
    """Accuracy, macro F1 and recall over coarse classes, as `measure` has them over classes.

    Args:
        coarsened: predictions over groups (`groups.coarse`).
        samples: bootstrap resamples.
        seed: of the bootstrap.
    """
    counts = confusion(coarsened.labels, coarsened.predicted, len(coarsened.classes))
    accuracy, f1 = bootstrap_confusion(counts, samples, seed)
    report = class_report(coarsened.labels, coarsened.predicted, coarsened.classes)
    return GroupMetrics(accuracy=accuracy, macro_f1=f1, per_group=report.per_class)


def measure(
    card: ModelCard, *, test: Predictions, validation: Predictions, test_digest: str, settings: Evaluate, seed: int
) -> Metrics:
    """Everything that is measured on the test split.

    Args:
        card: of the model.
        test: its predictions on the test split.
        validation: its predictions on the validation split.
        test_digest: of the prepared test split.
        settings: the `evaluate` section.
        seed: of the bootstrap.

    Returns:
        The document `metrics.json` holds; the order of the images changes nothing.
    """
    counts = confusion(test.labels, test.predicted, len(test.classes))
    accuracy, f1 = bootstrap_confusion(counts, settings.bootstrap_samples, seed)
    report = class_report(test.labels, test.predicted, test.classes)
    confidence, correct = test.confidence, test.correct
    k = min(settings.top_k, len(test.classes))
    coarsened = coarse(test, card.groups)
    return Metrics(
        model=card.model,
        architecture=card.architecture,
        fingerprint=card.fingerprint,
        conditions=conditions_of(card),
        test_digest=test_digest,
        images=len(test.labels),
        accuracy=accuracy,
        macro_f1=f1,
        macro_precision=report.macro_precision,
        macro_recall=report.macro_recall,
        weighted_precision=report.weighted_precision,
        weighted_recall=report.weighted_recall,
        weighted_f1=report.weighted_f1,
        loss=log_loss(test.labels, test.probabilities),
        top_k=k,
        top_k_accuracy=top_k_accuracy(test.labels, test.probabilities, k),
        mean_confidence=_mean(confidence) or 0.0,
        mean_confidence_correct=_mean(confidence[correct]),
        mean_confidence_wrong=_mean(confidence[~correct]),
        low_confidence_threshold=settings.low_confidence,
        low_confidence_count=int((confidence < settings.low_confidence).sum()),
        ece=reliability(confidence, correct, settings.calibration_bins).expected_calibration_error,
        val_accuracy=float(validation.correct.mean()),
        val_loss=log_loss(validation.labels, validation.probabilities),
        per_class=report.per_class,
        slices=slice_metrics(test.index, correct, settings.bootstrap_samples, seed),
        groups=None if coarsened is None else group_metrics(coarsened, settings.bootstrap_samples, seed),
        parameters=card.parameters,
        flops=card.flops,
        weights_bytes=card.weights_bytes,
        learning_rate=card.learning_rate,
        epochs=card.epochs,
        images_seen=card.images_seen,
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean of sorted values, the same for any order of the images; None of none."""
    return float(np.sort(values).mean()) if len(values) else None
