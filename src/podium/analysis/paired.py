"""Two models on the same test images: is one better, are they equivalent, or do the images not say?

- Better: a two-sided test of no difference. Accuracy: McNemar, "Note on the sampling error of the difference between
  correlated proportions", Psychometrika 12, 1947, in its exact binomial form. Macro F1: the randomisation test of Yeh,
  "More accurate tests for the statistical significance of result differences", COLING 2000.
- Equivalent: two one-sided tests at 5 %, which is a 90 % interval of the difference within the margin. Schuirmann,
  "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of average
  bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15(6), 1987. The interval of accuracy is the score
  interval of Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
  design", Statistics in Medicine 17(8), 1998; that of macro F1 a paired percentile bootstrap.
- Several models: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
  6(2), 1979.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podium.analysis.statistics import CELLS_AT_ONCE, generator_of, macro_f1, sum_by
from podium.config.judging import Metric
from podium.records.evaluation import Interval, Outcome, PairedTest

if TYPE_CHECKING:
    import pandas as pd

Z = NormalDist().inv_cdf(0.95)
"""Of each of the two one-sided tests, and so of a 90 % interval."""
RANDOMISATIONS = 9_999
BOOTSTRAP_SAMPLES = 2_000
_SEED = 0  # of a test: its p must not depend on the experiment's seed


def compare_answers(
    first: str, second: str, answers: tuple["pd.DataFrame", "pd.DataFrame"], metric: Metric
) -> PairedTest:
    """Two models by the answers that were stored of them.

    Args:
        first: name of a model.
        second: name of another.
        answers: of the first and of the second, columns `label predicted`, one row an image, the same in both.
        metric: what the test is of.
    """
    mine, theirs = answers
    columns = (mine["label"], mine["predicted"], theirs["predicted"])
    number = {name: code for code, name in enumerate(sorted({name for column in columns for name in column}))}
    labels, one, other = (column.map(number).to_numpy(dtype=np.int64) for column in columns)
    if metric == "accuracy":
        return mcnemar(first, second, one == labels, other == labels)
    return compare_f1(first, second, labels, (one, other))


def mcnemar(first: str, second: str, first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> PairedTest:
    """Exact two-sided McNemar test of accuracy on the same images, with Tango's interval of the difference.

    Under the null hypothesis each image that only one of the two names rightly is as likely to be the one's as the
    other's; p is the two-sided binomial probability of a split at least this uneven, and 1 where there is none.

    Args:
        first: name of a model.
        second: name of another.
        first_right: whether `first` was right, shape (N,), N at least 1.
        second_right: whether `second` was right about the same images, shape (N,).

    Returns:
        The discordant counts, p in (0, 1], and the difference in accuracy, in [-1, 1].
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    p_value = 1.0
    if only_first + only_second:
        from scipy.stats import binomtest

        p_value = float(binomtest(only_first, only_first + only_second, 0.5).pvalue)
    return PairedTest(
        first=first,
        second=second,
        only_first_right=only_first,
        only_second_right=only_second,
        p_value=p_value,
        difference=score_interval(only_first, only_second, len(first_right)),
    )


def score_interval(only_first: float, only_second: float, images: float) -> Interval:
    """Tango's 90 % score interval of the difference between two paired rates.

    It holds every difference that neither one-sided score test rejects, found by bisection. Unlike Wald's interval it
    has a width where the two never disagree: z^2 / (N + z^2) to each side.

    Args:
        only_first: images only the first names rightly, b; a share of an image is taken too.
        only_second: images only the second names rightly, c.
        images: all images N, at least b + c and above 0.

    Returns:
        (b - c) / N and its bounds, in [-1, 1].
    """
    from scipy.optimize import bisect

    def distance(assumed: float, z: float) -> float:
        """How far the score statistic of an assumed difference lies above z."""
        return score(only_first, only_second, images, assumed) - z

    low, high = (bisect(distance, -1.0, 1.0, args=(z,), xtol=1e-14) for z in (Z, -Z))
    value = (only_first - only_second) / images
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))


def compare_f1(
    first: str, second: str, labels: NDArray[np.int64], answers: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> PairedTest:
    """Randomisation test of macro F1 on the same images, with a paired bootstrap interval of the difference.

    Under the null hypothesis the two answers to an image may be swapped. p is the share of `RANDOMISATIONS` sets of
    swaps, the observed one counted among them, whose difference is at least as large. A bootstrap knows nothing of
    disagreements it has not seen, so its interval is never narrower to either side than that of accuracy.

    Args:
        first: name of a model.
        second: name of another.
        labels: true class numbers, shape (N,), N at least 1.
        answers: class numbers the first and the second gave, each of shape (N,).

    Returns:
        The discordant counts, p in (0, 1], and the difference in macro F1, in [-1, 1].
    """
    cells = _Cells.of(labels, answers)
    observed = float(cells.difference(cells.counts[None])[0])
    step = max(1, CELLS_AT_ONCE // len(cells.counts))
    generator = generator_of(_SEED, "macro F1")
    at_least = 1
    for start in range(0, RANDOMISATIONS, step):
        shape = (min(step, RANDOMISATIONS - start), len(cells.counts))
        swapped = cells.difference_after_swaps(generator.binomial(cells.counts, 0.5, size=shape))
        at_least += int((np.abs(swapped) >= abs(observed) - 1e-12).sum())
    shares = cells.counts / len(labels)
    drawn = [
        cells.difference(generator.multinomial(len(labels), shares, min(step, BOOTSTRAP_SAMPLES - start)))
        for start in range(0, BOOTSTRAP_SAMPLES, step)
    ]
    low, high = np.quantile(np.concatenate(drawn), [0.05, 0.95])
    plain = mcnemar(first, second, answers[0] == labels, answers[1] == labels)
    of_accuracy = plain.difference
    bounds = Interval(
        value=observed,
        low=max(-1.0, min(float(low), observed - (of_accuracy.value - of_accuracy.low))),
        high=min(1.0, max(float(high), observed + (of_accuracy.high - of_accuracy.value))),
    )
    return plain.model_copy(update={"p_value": at_least / (RANDOMISATIONS + 1), "difference": bounds})


@dataclass(frozen=True)
class _Cells:
    """Images by true class and the two answers: K different combinations, and how many images each has."""

    classes: int
    truth: NDArray[np.int64]
    mine: NDArray[np.int64]
    theirs: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64], answers: tuple[NDArray[np.int64], NDArray[np.int64]]) -> "_Cells":
        """Of class numbers, each of shape (N,)."""
        cells, counts = np.unique(np.stack([labels, *answers], axis=1), axis=0, return_counts=True)
        truth, mine, theirs = cells.T
        return cls(1 + int(cells.max()), truth, mine, theirs, counts)

    def difference(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Macro F1 of the first less that of the second for each row of weights (B, K), shape (B,)."""
        return self._f1(weights, self.truth, self.mine) - self._f1(weights, self.truth, self.theirs)

    def difference_after_swaps(self, swapped: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same where the two answers change places in so many images of each cell, (B, K)."""
        weights, actual = np.hstack([self.counts - swapped, swapped]), np.hstack([self.truth, self.truth])
        one, other = np.hstack([self.mine, self.theirs]), np.hstack([self.theirs, self.mine])
        return self._f1(weights, actual, one) - self._f1(weights, actual, other)

    def _f1(
        self, weights: NDArray[np.int64], actual: NDArray[np.int64], given: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Macro F1 of each row of weights over cells with a true and a given class, shape (B,)."""
        right = actual == given
        return macro_f1(
            sum_by(weights[:, right], actual[right], self.classes),
            sum_by(weights, actual, self.classes),
            sum_by(weights, given, self.classes),
        )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for how many they are, in the order given: rejecting those below a rate keeps it for all."""
    ordered = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(ordered):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def judge(test: PairedTest, adjusted_p: float, significance: float, margin: float) -> Outcome:
    """What the comparison of two models says.

    Whether they are equivalent does not depend on how many other models there are, so that one more never makes a
    model the equal of a better one.

    Args:
        test: the comparison.
        adjusted_p: its p after Holm's correction.
        significance: p below which a difference counts.
        margin: the difference in the metric that is too small to matter.

    Returns:
        `better`, whichever of the two is ahead, `equivalent` or `undecided`.
    """
    if adjusted_p < significance:
        return "better"
    return "equivalent" if test.p_value >= significance and within(test.difference, margin) else "undecided"


def within(difference: Interval, margin: float) -> bool:
    """Whether all of a difference's interval lies within the margin."""
    return -margin < difference.low and difference.high < margin


def score(only_first: float, only_second: float, images: float, assumed: float) -> float:
    """Tango's T: how many standard errors the observed difference lies above an assumed one.

    The error is that of the most likely rates with this difference, which are a root of a quadratic equation.

    Args:
        only_first: images only the first names rightly; a share of an image is taken too.
        only_second: images only the second names rightly.
        images: all images.
        assumed: a difference in accuracy, in [-1, 1].
    """
    if abs(assumed) == 1:
        return -assumed * math.inf
    linear = (2 * images - only_first + only_second) * assumed - only_first - only_second
    constant = -only_second * assumed * (1 - assumed)
    root = math.sqrt(max(0.0, linear**2 - 8 * images * constant))
    variance = (root - linear) / (2 * images) + assumed * (1 - assumed)
    distance = only_first - only_second - images * assumed
    return distance / math.sqrt(images * max(variance, 1e-300))


def exact_p(only_first: float, only_second: float) -> float:
    """The exact McNemar p-value, continued to shares of an image: twice a binomial tail, as a beta function."""
    from scipy.special import betainc

    larger, smaller = max(only_first, only_second), min(only_first, only_second)
    return min(1.0, 2 * float(betainc(larger, smaller + 1, 0.5))) if larger else 1.0
