"""What more training images would bring: the error as a power law of their number, and where it leads.

error(n) = a (n / N)^-b + c, with a, b and c at least 0: Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves:
asymptotic values and rate of convergence", NIPS 6, 1993; Hestness et al., "Deep learning scaling is predictable,
empirically", arXiv 1712.00409, 2017. The interval is a parametric bootstrap (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, section 6.5): draws of the same number of images differ by as much as they were seen to differ.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podium.analysis.statistics import LEVEL, generator_of
from podium.records.training import LearningCurve, LearningPoint

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Of the training groups."""
_EXPONENTS = np.linspace(0.05, 2.0, 79)
"""Those tried. A curve that falls more slowly cannot be told from a straight one by a few sizes."""
_RESAMPLES = 1000


def draw_rows(
    labels: NDArray[np.int64], groups: NDArray[np.object_], share: float, seed: int, draw: int
) -> NDArray[np.int64]:
    """Training images for a point of the curve: a share of the groups of each class, so every class stays.

    Within a draw a larger share holds the smaller ones.

    Args:
        labels: class of each image, shape (N,).
        groups: name of its split group, shape (N,); a group counts for the class of its first image.
        share: of the groups of each class, in (0, 1]; at least one is taken.
        seed: of the experiment.
        draw: from 0.

    Returns:
        Row numbers, ascending, int64.
    """
    names, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    order = generator_of(seed, f"learning curve {draw}").permutation(len(names))
    class_of = labels[first]
    taken = np.zeros(len(names), np.bool_)
    for label in np.unique(class_of):
        own = order[class_of[order] == label]
        taken[own[: max(1, round(share * len(own)))]] = True
    return np.flatnonzero(taken[group_of]).astype(np.int64)


def fit_curve(
    model: str, fingerprint: str, points: Sequence[LearningPoint], *, images: int, val_images: int, seed: int
) -> LearningCurve:
    """Puts the power law through the points and says what doubling the images would bring.

    Args:
        model: whose recipe it is.
        fingerprint: of that model, trained on all images.
        points: of at least three different shares.
        images: training images in all, N.
        val_images: that accuracies were measured on.
        seed: of the bootstrap.

    Returns:
        The curve; `doubling` = a (1 - 2^-b).
    """
    shares = np.array([point.images / images for point in points])
    errors = 1 - np.array([point.accuracy for point in points])
    law = _fit(shares, errors[None, :])[0]
    fitted = _law(shares, law[None, :])[0]
    freedom = max(1, len(points) - 3)
    # Where all draws agree, half an image more or less could still have been seen.
    spread = max(float(np.sqrt(np.sum((errors - fitted) ** 2) / freedom)), 0.5 / val_images)
    generator = generator_of(seed, "learning curve")
    # The spread itself is known from few points: its chi-square share makes the noise Student's t.
    known = np.sqrt(freedom / generator.chisquare(freedom, (_RESAMPLES, 1)))
    noise = spread * known * generator.standard_normal((_RESAMPLES, len(points)))
    gains = _gain(_fit(shares, fitted + noise))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(gains, [tail, 1 - tail])
    gain = float(_gain(law[None, :])[0])
    scale, exponent, floor = (float(value) for value in law)
    return LearningCurve(
        model=model,
        fingerprint=fingerprint,
        images=images,
        val_images=val_images,
        points=tuple(points),
        scale=scale,
        exponent=exponent,
        floor=floor,
        doubling=gain,
        # The percentile interval and its mirror image, whichever is wider: c >= 0 pulls the estimates to one side.
        low=max(0.0, min(float(low), 2 * gain - float(high))),
        high=max(float(high), 2 * gain - float(low)),
    )


def expected_accuracy(curve: LearningCurve, share: float) -> float:
    """What the power law gives for a share of the training images, above 1 for more than there are."""
    return float(1 - (curve.scale * share**-curve.exponent + curve.floor))


def describe_curve(curve: LearningCurve) -> str:
    """What doubling the images would bring, in a sentence."""
    sure = "" if curve.low > 0.001 else ", so it may bring nothing"
    return (
        f"Twice the {curve.images:,} training images would bring about {100 * curve.doubling:+.1f} points of "
        f"validation accuracy ({100 * curve.low:.1f} to {100 * curve.high:.1f}, 95 % interval){sure}, if they are like "
        f"those there are and {curve.model} is trained by the same recipe."
    )


def _fit(shares: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of the law for many sets of errors, (R, P), at shares (P,): `a b c` of each, shape (R, 3).

    For a given b the law is linear in a and c, so b is tried on a grid and the other two follow.
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), 3))
    centred = errors - errors.mean(axis=1, keepdims=True)
    for exponent in _EXPONENTS:
        x = shares**-exponent
        slope = np.maximum(centred @ (x - x.mean()) / np.sum((x - x.mean()) ** 2), 0.0)
        floor = errors.mean(axis=1) - slope * x.mean()
        through_zero = floor < 0  # the best law with c >= 0 then has c = 0
        slope = np.where(through_zero, np.maximum(errors @ x / np.sum(x**2), 0.0), slope)
        floor = np.where(through_zero, 0.0, floor)
        law = np.column_stack([slope, np.full(len(errors), exponent), floor])
        missed = np.sum((errors - _law(shares, law)) ** 2, axis=1)
        better = missed < best
        best[better], found[better] = missed[better], law[better]
    return found


def _law(shares: NDArray[np.float64], law: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors, (R, P), by laws (R, 3) at shares (P,)."""
    return law[:, :1] * shares[None, :] ** -law[:, 1:2] + law[:, 2:]


def _gain(law: NDArray[np.float64]) -> NDArray[np.float64]:
    """What doubling all images brings, (R,)."""
    return np.asarray(law[:, 0] * (1 - 2 ** -law[:, 1]), np.float64)
