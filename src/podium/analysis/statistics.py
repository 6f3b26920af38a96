"""How sure a number is: intervals.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from podium.records.evaluation import Interval

LEVEL = 0.95
CELLS_AT_ONCE = 4_000_000
"""Numbers drawn together, so that memory stays the same for any number of resamples."""


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts images by true and predicted class.

    Args:
        labels: true class numbers, shape (N,).
        predicted: predicted class numbers, shape (N,).
        classes: number of classes C.

    Returns:
        Counts, shape (C, C); rows are true classes, columns predicted ones.
    """
    cells = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def order_by_confusion(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order of classes in which those that are taken for each other stand side by side.

    Average linkage on 1 - the mean of both shares, leaves in the best order (Bar-Joseph et al., "Fast optimal leaf
    ordering for hierarchical clustering", Bioinformatics 17, 2001).

    Args:
        counts: shape (C, C); rows are true classes, columns predicted ones.

    Returns:
        Class numbers, shape (C,).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts), dtype=np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    order: NDArray[np.int64] = leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))
    return order.astype(np.int64)


def macro_f1(right: NDArray[np.int64], actual: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over classes of F1 = 2 x right / (actual + predicted), over the classes that occur at all.

    Args:
        right: rightly named images per class, shape (..., C).
        actual: images per true class, shape (..., C).
        predicted: images per predicted class, shape (..., C).

    Returns:
        Shape (...), in [0, 1]. A class that neither is true nor predicted anywhere does not count, as in sklearn.
    """
    total = actual + predicted
    scores = np.divide(2.0 * right, total, out=np.zeros(total.shape), where=total > 0)
    mean: NDArray[np.float64] = scores.sum(axis=-1) / (total > 0).sum(axis=-1)
    return mean


def bootstrap_confusion(counts: NDArray[np.int64], samples: int, seed: int) -> tuple[Interval, Interval]:
    """Percentile bootstrap over images, for accuracy and macro F1.

    Drawing N images with replacement and counting them by (true, predicted) class is drawing the cells of the
    confusion matrix from a multinomial distribution, so the cells are drawn at once. Only cells that hold images can
    be drawn, so memory grows with them and not with the square of the classes.

    Args:
        counts: the confusion matrix, shape (C, C), at least one image.
        samples: how many resamples, at least 1.
        seed: of the generator (PCG64).

    Returns:
        95 % intervals of accuracy and of macro F1; each holds the value of the plain sample.
    """
    classes = len(counts)
    actual, predicted = (cell.astype(np.int64) for cell in np.nonzero(counts))
    cells = counts[actual, predicted]
    images = int(cells.sum())
    generator = generator_of(seed, "confusion")
    step = max(1, CELLS_AT_ONCE // len(cells))
    accuracies, scores = [], []
    for start in range(0, samples, step):
        drawn = generator.multinomial(images, cells / images, size=min(step, samples - start))
        right = sum_by(drawn[:, actual == predicted], actual[actual == predicted], classes)
        accuracies.append(right.sum(axis=1) / images)
        scores.append(macro_f1(right, sum_by(drawn, actual, classes), sum_by(drawn, predicted, classes)))
    diagonal = np.diagonal(counts)
    f1 = float(macro_f1(diagonal, counts.sum(axis=1), counts.sum(axis=0)))
    return (
        _percentiles(float(diagonal.sum() / images), np.concatenate(accuracies)),
        _percentiles(f1, np.concatenate(scores)),
    )


def percent(interval: Interval) -> str:
    """A rate and its interval for people: `91.2% [88.0–94.1]`."""
    return f"{interval.value:.1%} [{100 * interval.low:.1f}–{100 * interval.high:.1f}]"


def wilson(right: int, images: int) -> Interval:
    """A share with its 95 % score interval (Wilson, JASA 22, 1927): never of no width, however few images there are."""
    from scipy.stats import binomtest

    bounds = binomtest(right, images).proportion_ci(LEVEL, method="wilson")
    return Interval(value=right / images, low=float(bounds.low), high=float(bounds.high))


def generator_of(seed: int, name: str) -> np.random.Generator:
    """Random numbers (PCG64) that depend on the seed and on what they are drawn for, and on nothing else."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())])))


def sum_by(drawn: NDArray[np.int64], group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Sums columns by group: int64 of shape (B, K) and the group of each column, (K,), to (B, groups)."""
    out = np.zeros((len(drawn), groups), dtype=np.int64)
    if len(group):
        order = np.argsort(group, kind="stable")
        present, starts = np.unique(group[order], return_index=True)
        out[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return out


def _percentiles(value: float, drawn: NDArray[np.float64]) -> Interval:
    """The interval between the percentiles of the resampled values, never beside the value itself."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    # On a handful of images the resampled macro F1 can lie wholly on one side of the value: widen, never mislead.
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))
