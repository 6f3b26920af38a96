"""Everything that is measured of one model: all metrics, and accuracy by class, slice and coarse class."""

import math
from collections.abc import Mapping

import numpy as np

from podium.analysis.calibration import (
    calibrate,
    choose_threshold,
    fit_temperature,
    measure_abstention,
    measure_sets,
    set_limits,
)
from podium.analysis.conditions import read_conditions
from podium.analysis.metrics import METRICS, Answers, Metric, class_metrics, log_loss
from podium.analysis.predictions import Predictions, predict_groups
from podium.analysis.slice_search import search_slices
from podium.analysis.slices import measure_slices, resolve, slice_masks
from podium.analysis.statistics import bootstrap_confusion, confusion, wilson
from podium.config.judging import Evaluate
from podium.core.errors import ModelError
from podium.records.evaluation import ConfusedPair, GroupMetrics, Majority, Metrics
from podium.records.training import ModelCard

PAIRS = 10
"""Pairs of classes that `metrics.json` lists."""


def confused_pairs(predictions: Predictions) -> list[ConfusedPair]:
    """The `PAIRS` pairs of classes that are most often taken for each other, the most frequent first."""
    counts = confusion(predictions.labels, predictions.predicted, len(predictions.classes))
    mistakes, images = counts - np.diag(np.diagonal(counts)), counts.sum(axis=1)
    both = np.triu(mistakes + mistakes.T)
    pairs = sorted(zip(*np.nonzero(both), strict=True), key=lambda pair: (-both[pair], pair))[:PAIRS]
    found = []
    for one, other in pairs:
        a, b = (one, other) if mistakes[one, other] >= mistakes[other, one] else (other, one)
        there, back = int(mistakes[a, b]), int(mistakes[b, a])
        found.append(
            ConfusedPair(
                actual=predictions.classes[a],
                predicted=predictions.classes[b],
                mistakes=there,
                images=int(images[a]),
                back=back,
                back_images=int(images[b]),
                symmetry=2 * back / (there + back),
                share=(there + back) / int(mistakes.sum()),
            )
        )
    return found


def group_metrics(predictions: Predictions, groups: Mapping[str, str], samples: int, seed: int) -> GroupMetrics | None:
    """Accuracy, macro F1 and recall over coarse classes, as `measure` has them over classes; what mistakes are fine.

    Args:
        predictions: calibrated, over classes.
        groups: coarse class by class.
        samples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        None where the groups tell nothing new (`predict_groups`).
    """
    coarsened = predict_groups(predictions, groups)
    if coarsened is None:
        return None
    counts = confusion(coarsened.labels, coarsened.predicted, len(coarsened.classes))
    accuracy, f1 = bootstrap_confusion(counts, samples, seed)
    group = np.array([groups.get(label) or label for label in predictions.classes])
    truth, answer = (numbers[~predictions.correct] for numbers in (predictions.labels, predictions.predicted))
    others = ((group[:, None] == group).sum(axis=1) - 1) / (len(group) - 1)
    return GroupMetrics(
        accuracy=accuracy,
        macro_f1=f1,
        fine_mistakes=wilson(int((group[truth] == group[answer]).sum()), len(truth)) if len(truth) else None,
        fine_by_chance=float(np.sort(others[truth]).mean()) if len(truth) else None,
        per_group=class_metrics(coarsened),
    )


def measure(
    card: ModelCard, *, test: Predictions, validation: Predictions, test_digest: str, settings: Evaluate, seed: int
) -> Metrics:
    """Everything that is measured on the test split.

    Args:
        card: of the model.
        test: its predictions on the test split, with all that is known of its images (`describe_images`).
        validation: likewise on the validation split.
        test_digest: of the prepared test split.
        settings: the `evaluate` section.
        seed: of the bootstrap.

    Returns:
        The document `metrics.json` holds; the order of the images changes nothing.
    """
    temperature = fit_temperature(validation)
    calibrated, known = calibrate(test, temperature), calibrate(validation, temperature)
    samples, answers = settings.bootstrap_samples, Answers(test, calibrated, settings)
    accuracy, macro_f1 = bootstrap_confusion(confusion(test.labels, test.predicted, len(test.classes)), samples, seed)
    parts = resolve(settings.slices, validation.index)
    slices, known_slices = (slice_masks(parts, some.index) for some in (test, validation))
    return Metrics(
        **card.facts,
        **{name: _value(metric, answers) for name, metric in METRICS.items()},
        conditions=read_conditions(card),
        majority=_majority(card, test),
        test_digest=test_digest,
        images=len(test.labels),
        accuracy=accuracy,
        macro_f1=macro_f1,
        top_k=answers.top_k,
        low_confidence_threshold=settings.low_confidence,
        temperature=temperature,
        abstention=measure_abstention(calibrated, choose_threshold(known, settings.abstain), settings.abstain),
        sets=measure_sets(calibrated, set_limits(known, settings.set_coverage), settings.set_coverage),
        val_accuracy=float(validation.correct.mean()),
        val_loss=log_loss(validation.labels, validation.probabilities),
        per_class=answers.per_class,
        confused=confused_pairs(test),
        slices=measure_slices(slices, test.correct),
        worst_slices=search_slices(known_slices, validation.correct, slices, test.correct),
        groups=group_metrics(calibrated, card.groups, samples, seed),
    )


def _majority(card: ModelCard, test: Predictions) -> Majority | None:
    """What the most common training class, the first of equals, scores on the test images."""
    if not card.class_counts:
        return None
    label = max(card.class_counts, key=lambda name: card.class_counts[name])
    return Majority(label=label, accuracy=wilson(int((test.index["label"] == label).sum()), len(test.labels)))


def _value(metric: Metric, answers: Answers) -> float | None:
    """What a metric gives.

    Raises:
        ModelError: it is not a number, which neither JSON nor MLflow keeps.
    """
    value = metric.compute(answers)
    if value is not None and not math.isfinite(value):
        raise ModelError(
            f"the metric {metric.name} gave {value} for these predictions: let it return None where it has no value"
        )
    return value
