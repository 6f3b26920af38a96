"""Everything that is measured of one model: all metrics, and accuracy by class, slice and coarse class."""

import math

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
from podium.analysis.statistics import bootstrap_confusion, confusion
from podium.config.judging import Evaluate
from podium.core.errors import ModelError
from podium.records.evaluation import GroupMetrics, Metrics
from podium.records.training import ModelCard


def group_metrics(coarsened: Predictions, samples: int, seed: int) -> GroupMetrics:
    """Accuracy, macro F1 and recall over coarse classes, as `measure` has them over classes.

    Args:
        coarsened: predictions over groups (`predict_groups`).
        samples: bootstrap resamples.
        seed: of the bootstrap.
    """
    counts = confusion(coarsened.labels, coarsened.predicted, len(coarsened.classes))
    accuracy, f1 = bootstrap_confusion(counts, samples, seed)
    return GroupMetrics(accuracy=accuracy, macro_f1=f1, per_group=class_metrics(coarsened))


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
    groups = predict_groups(calibrated, card.groups)
    parts = resolve(settings.slices, validation.index)
    slices, known_slices = (slice_masks(parts, some.index) for some in (test, validation))
    return Metrics(
        **card.facts,
        **{name: _value(metric, answers) for name, metric in METRICS.items()},
        conditions=read_conditions(card),
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
        slices=measure_slices(slices, test.correct),
        worst_slices=search_slices(known_slices, validation.correct, slices, test.correct),
        groups=None if groups is None else group_metrics(groups, samples, seed),
    )


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
