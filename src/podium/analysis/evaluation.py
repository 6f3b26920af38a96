"""Everything that is measured of one model: all metrics, and accuracy by class, slice and coarse class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
from podium.analysis.statistics import bootstrap_confusion, confusion, generator_of, wilson
from podium.config.judging import Evaluate
from podium.core.errors import ModelError
from podium.records.evaluation import (
    ConfusedPair,
    DistanceCorrelation,
    GroupMetrics,
    Majority,
    Metrics,
    SliceSearch,
)
from podium.records.training import ModelCard

PAIRS = 10
"""Pairs of classes that `metrics.json` lists."""
_SHUFFLES = 499  # of Mantel's test


class ClassMoments:
    """Mean and spread of each class's features, added up part by part."""

    def __init__(self, classes: int) -> None:
        self._counts, self._squares = np.zeros(classes), np.zeros(classes)
        self._sums = np.zeros((classes, 0))

    def add(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Counts images in: features of shape (N, D), class numbers of shape (N,)."""
        if not self._sums.size:
            self._sums = np.zeros((len(self._counts), features.shape[1]))
        for label in np.unique(labels):
            own = features[labels == label].astype(np.float64)
            self._counts[label] += len(own)
            self._sums[label] += own.sum(axis=0)
            self._squares[label] += float(np.sum(own**2))

    def distances(self) -> NDArray[np.float64]:
        """Distance of the means of every two classes over the sum of their spreads, shape (C, C).

        The spread of a class is the root mean square distance of its images to its mean (with n - 1). It is 1 / R of
        Davies and Bouldin, "A cluster separation measure", IEEE TPAMI 1(2), 1979. NaN where a class has fewer than two
        images, or two have no spread.
        """
        from scipy.spatial.distance import cdist

        n = np.where(self._counts > 1, self._counts, np.nan)
        means = self._sums / n[:, None]
        spread = np.sqrt(np.maximum(self._squares - n * np.sum(means**2, axis=1), 0) / (n - 1))
        both = spread[:, None] + spread
        found: NDArray[np.float64] = cdist(means, means) / np.where(both > 0, both, np.nan)
        return found


def distance_correlation(
    distances: NDArray[np.float64], counts: NDArray[np.int64], seed: int
) -> DistanceCorrelation | None:
    """Whether near classes are taken for each other more often than distant ones.

    Pairs of classes share classes, so the p-value is of shuffled classes: Mantel, "The detection of disease clustering
    and a generalized regression approach", Cancer Research 27(2), 1967.

    Args:
        distances: of every two classes, shape (C, C), NaN where unknown.
        counts: the confusion matrix, shape (C, C).
        seed: of the shuffles.

    Returns:
        None of fewer than three classes, and where one side is the same for all pairs.
    """
    from scipy.stats import rankdata

    known = np.isfinite(distances).sum(axis=1) > 1
    distances, counts = distances[np.ix_(known, known)], counts[np.ix_(known, known)]
    if len(counts) < 3 or not np.isfinite(distances).all():
        return None
    images, upper = counts.sum(axis=1), np.triu_indices(len(counts), 1)
    taken = (counts + counts.T) / np.maximum(images[:, None] + images, 1)
    near, often = (rankdata(values[upper]) for values in (distances, taken))
    near, often = near - near.mean(), often - often.mean()
    scale = float(np.sqrt(np.sum(near**2) * np.sum(often**2)))
    if scale == 0:
        return None
    ranks = np.zeros(counts.shape)
    ranks[upper] = often
    ranks += ranks.T
    generator, rho, as_low = generator_of(seed, "distances"), float(near @ often), 1
    for _ in range(_SHUFFLES):
        order = generator.permutation(len(counts))
        as_low += float(near @ ranks[np.ix_(order, order)][upper]) <= rho + 1e-9 * scale
    return DistanceCorrelation(pairs=len(near), rho=rho / scale, p_value=as_low / (_SHUFFLES + 1))


def confused_pairs(predictions: Predictions, distances: NDArray[np.float64] | None = None) -> list[ConfusedPair]:
    """The `PAIRS` pairs of classes that are most often taken for each other, the most frequent first.

    `distances` are those of every two classes in feature space, shape (C, C), NaN where unknown.
    """
    away = np.full((len(predictions.classes),) * 2, np.nan) if distances is None else distances
    every = np.sort(away[np.triu_indices(len(away), 1)])
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
                distance=float(away[a, b]) if np.isfinite(away[a, b]) else None,
                nearness=int(np.searchsorted(every, away[a, b])) + 1 if np.isfinite(away[a, b]) else None,
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


Masks = Mapping[str, tuple[str, NDArray[np.bool_]]]
"""By slice a sentence, and which images lie in it, shape (N,)."""


@dataclass(frozen=True)
class Chosen:
    """What is chosen on the validation images, before others are looked at, and how the model did on them.

    Attributes:
        temperature: of its probabilities.
        threshold: confidence below which it abstains, in [0, 1].
        limits: by class the least probability with which it is in an image's set.
        accuracy: share of the validation images that were named rightly.
        loss: mean log loss on them, in nats.
    """

    temperature: float
    threshold: float
    limits: dict[str, float]
    accuracy: float
    loss: float

    @classmethod
    def on(cls, validation: Predictions, settings: Evaluate) -> "Chosen":
        """Chooses on predictions on the validation split, as the params ask."""
        temperature = fit_temperature(validation)
        known = calibrate(validation, temperature)
        return cls(
            temperature=temperature,
            threshold=choose_threshold(known, settings.abstain),
            limits=set_limits(known, settings.set_coverage),
            accuracy=float(validation.correct.mean()),
            loss=log_loss(validation.labels, validation.probabilities),
        )

    @classmethod
    def of(cls, metrics: Metrics) -> "Chosen":
        """What was chosen when a model was evaluated."""
        threshold, limits = metrics.abstention.threshold, metrics.sets.limits
        return cls(metrics.temperature, threshold, limits, metrics.val_accuracy, metrics.val_loss)


def measure(
    card: ModelCard,
    *,
    test: Predictions,
    validation: Predictions,
    test_digest: str,
    settings: Evaluate,
    seed: int,
    distances: NDArray[np.float64] | None = None,
) -> Metrics:
    """Everything that is measured on the test split, as `metrics.json` holds it; the images' order changes nothing.

    Args:
        card: of the model.
        test: its predictions on the test split, with all that is known of its images (`describe_images`).
        validation: likewise on the validation split.
        test_digest: of the prepared test split.
        settings: the `evaluate` section.
        seed: of the bootstrap.
        distances: of every two classes in feature space (`ClassMoments`), of validation images; None: not known.
    """
    slices, known_slices = _masks(settings, test, validation)
    found = measure_with(
        card,
        Chosen.on(validation, settings),
        test=test,
        test_digest=test_digest,
        slices=slices,
        settings=settings,
        seed=seed,
        distances=distances,
    )
    worst = search_slices(known_slices, validation.correct, slices, test.correct)
    return found.model_copy(update={"worst_slices": worst})


def measure_with(
    card: ModelCard,
    chosen: Chosen,
    *,
    test: Predictions,
    test_digest: str,
    slices: Masks,
    settings: Evaluate,
    seed: int,
    distances: NDArray[np.float64] | None = None,
) -> Metrics:
    """As `measure`, by what was chosen before, and without a search for the worst slices.

    Args:
        card: of the model.
        chosen: temperature, threshold and limits.
        test: its predictions on the images.
        test_digest: of the images.
        slices: of them.
        settings: the `evaluate` section.
        seed: of the bootstrap.
        distances: of every two classes in feature space; None: not known.
    """
    samples, calibrated = settings.bootstrap_samples, calibrate(test, chosen.temperature)
    answers, counts = Answers(test, calibrated, settings), confusion(test.labels, test.predicted, len(test.classes))
    accuracy, macro_f1 = bootstrap_confusion(counts, samples, seed)
    return Metrics(
        **card.facts,
        **{name: _value(metric, answers) for name, metric in METRICS.items()},
        conditions=read_conditions(card),
        instruction_set=str(card.runtime.get("instruction_set", "unknown")),
        majority=_majority(card, test),
        test_digest=test_digest,
        images=len(test.labels),
        accuracy=accuracy,
        macro_f1=macro_f1,
        top_k=answers.top_k,
        low_confidence_threshold=settings.low_confidence,
        temperature=chosen.temperature,
        abstention=measure_abstention(calibrated, chosen.threshold, settings.abstain),
        sets=measure_sets(calibrated, chosen.limits, settings.set_coverage),
        val_accuracy=chosen.accuracy,
        val_loss=chosen.loss,
        per_class=answers.per_class,
        confused=confused_pairs(test, distances),
        distance_correlation=None if distances is None else distance_correlation(distances, counts, seed),
        slices=measure_slices(slices, test.correct),
        worst_slices=SliceSearch(looked_at=0, found=0, confirmed=[]),
        groups=group_metrics(calibrated, card.groups, samples, seed),
    )


def _masks(settings: Evaluate, *splits: Predictions) -> list[dict[str, tuple[str, NDArray[np.bool_]]]]:
    """Which images of each split lie in which slice; quantiles are those of the last one, which is validation."""
    parts = resolve(settings.slices, splits[-1].index)
    return [slice_masks(parts, some.index) for some in splits]


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
