"""What a test set of this size can show of two models: the smallest difference, and how many images would decide.

Power of the exact McNemar test: Schork and Williams, "Number of observations required for the comparison of two
correlated proportions", Communications in Statistics, Simulation and Computation 9(4), 1980. The normal approximation
to it is that of Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics
43(1), 1987. Power of the t test over seeds and images is a non-central t's.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from podium.analysis.paired import Z, exact_p, score, within
from podium.records.evaluation import Interval, PairedTest, VarianceComponents

POWER = 0.8
"""How often the minimum detectable difference is found."""
_MOST_IMAGES = 10**9
_MOST_SEEDS = 1000
_UNLIKELY = 1e-9  # counts of disagreements beyond it are left out


def mcnemar_power(images: int, disagreement: float, difference: float, significance: float) -> float:
    """How often the exact two-sided McNemar test finds that the better of two models is better.

    The number of images about which one alone is right is binomial(N, r), and of m such images the better model has
    binomial(m, (r + d) / 2r).

    Args:
        images: test images N.
        disagreement: share of images about which one model alone is right, r, in [d, 1] and above 0.
        difference: in accuracy, d, at least 0.
        significance: p below which a difference counts.

    Returns:
        A probability.
    """
    from scipy.stats import binom

    least, most = binom.ppf([_UNLIKELY, 1 - _UNLIKELY], images, disagreement)
    either = np.arange(int(least), int(most) + 1)
    not_enough = binom.isf(significance / 2 * (1 - 1e-12), either, 0.5)  # p is twice a tail, and is to be below
    found = binom.sf(not_enough, either, (disagreement + difference) / (2 * disagreement))
    return float(np.sum(binom.pmf(either, images, disagreement) * found))


def minimum_detectable_difference(
    test: PairedTest, images: int, significance: float, of_accuracy: bool
) -> float | None:
    """The difference that a test set of this size, and so many seeds, find in `POWER` of cases.

    It is taken that the two go on to disagree at this rate.

    Where even a disagreement that is all in favour of one model would be found less often, the rate is taken to grow
    with the difference: two models that differ by d disagree about d of the images at least.

    Args:
        test: of the two models on `images` images.
        images: N, at least 1.
        significance: p below which a difference counts.
        of_accuracy: whether the metric is accuracy; the standard error of another is taken from its interval.

    Returns:
        A difference in the metric, in (0, 1]; None where no difference, however large, would be found so often.
    """
    if test.variance is not None:
        return _detectable_over_seeds(test.variance, significance)
    if of_accuracy:
        return _detectable_accuracy(test.only_first_right + test.only_second_right, images, significance)
    error = (test.difference.high - test.difference.low) / (2 * Z)
    found = error * (NormalDist().inv_cdf(1 - significance / 2) + NormalDist().inv_cdf(POWER))
    return found if found <= 1 else None


@lru_cache(maxsize=4096)
def _detectable_accuracy(disagreements: int, images: int, significance: float) -> float | None:
    """The same of accuracy, from the number of images about which one model alone was right."""
    from scipy.optimize import brentq

    observed = disagreements / images

    def missing(difference: float) -> float:
        """Power that a difference lacks."""
        return mcnemar_power(images, max(observed, difference), difference, significance) - POWER

    if missing(1.0) < 0:
        return None
    return float(brentq(missing, 1e-9, 1.0, xtol=1e-7))


def _detectable_over_seeds(variance: VarianceComponents, significance: float) -> float | None:
    """The same of means over seeds.

    A few seeds tell their own variance badly: what was estimated is as often too small as too large once it is divided
    by the median of its distribution, and other seeds may leave fewer degrees of freedom than these. Those of Welch's
    test of two models lie between S - 1 and 2 (S - 1); more than their middle is not counted on.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, nct, t

    freedom = min(variance.freedom, 1.5 * (variance.seeds - 1))
    error = math.sqrt((variance.of_seeds + variance.of_images) * freedom / float(chi2.median(freedom)))
    limit = float(t.isf(significance / 2, freedom))

    def missing(distance: float) -> float:
        """Power that a difference of so many standard errors lacks."""
        return float(nct.sf(limit, freedom, distance)) - POWER

    found = float(brentq(missing, 0.0, 10 * limit)) * error
    return found if found <= 1 else None


def seeds_to_decide(test: PairedTest, significance: float, margin: float) -> int | None:
    """How many seeds would make two models differ or be equivalent on the same test images, all else as it was.

    The variance that the choice of seeds makes shrinks with their number; that of the images is taken to stay, so it is
    rather too many.

    Args:
        test: of the two models, over several seeds.
        significance: p below which a difference counts.
        margin: the difference in the metric that is too small to matter.

    Returns:
        The smallest number above those there are, at most 1,000; None where no number would, or there is one seed.
    """
    known = test.variance
    if known is None:
        return None
    for seeds in range(known.seeds + 1, _MOST_SEEDS + 1):
        fewer = known.seeds / seeds
        error = (known.of_seeds + known.of_images) ** 2 / known.freedom * fewer**2 * (known.seeds - 1) / (seeds - 1)
        variance = known.of_seeds * fewer + known.of_images
        if _decided(test.difference.value, variance, max(seeds - 1, variance**2 / error), significance, margin):
            return seeds
    return None


def _decided(value: float, variance: float, freedom: float, significance: float, margin: float) -> bool:
    """Whether a difference with this variance is significant, or surely within the margin."""
    from scipy.stats import t

    error = math.sqrt(variance)
    surely = abs(value) + float(t.isf(0.05, freedom)) * error < margin
    return surely or abs(value) > float(t.isf(significance / 2, freedom)) * error


def images_to_decide(
    test: PairedTest, images: int, significance: float, margin: float, of_accuracy: bool
) -> int | None:
    """How many test images would make two models differ or be equivalent, if they went on to disagree at this rate.

    Args:
        test: of the two models on `images` images.
        images: N.
        significance: p below which a difference counts.
        margin: the difference in the metric that is too small to matter.
        of_accuracy: whether the metric is accuracy, whose test and interval are computed anew for more images; the
            interval of another metric is taken to narrow with the square root of their number.

    Returns:
        The smallest number above N, at most 10^9; None where more images alone would not do, for the seeds are too few.
    """

    def decided(wanted: int) -> bool:
        """Whether that many would do."""
        times, known = wanted / images, test.variance
        if known is not None:
            variance = known.of_seeds + known.of_images / times
            freedom = max(known.seeds - 1, variance**2 * known.freedom / (known.of_seeds + known.of_images) ** 2)
            return _decided(test.difference.value, variance, freedom, significance, margin)
        if of_accuracy:
            counts = test.only_first_right * times, test.only_second_right * times
            surely_above, surely_below = score(*counts, wanted, -margin) > Z, score(*counts, wanted, margin) < -Z
            return exact_p(*counts) < significance or (surely_above and surely_below)
        shown = test.difference
        narrow = Interval(
            value=shown.value,
            low=shown.value - (shown.value - shown.low) / math.sqrt(times),
            high=shown.value + (shown.high - shown.value) / math.sqrt(times),
        )
        error = (narrow.high - narrow.low) / (2 * Z)
        return abs(shown.value) > NormalDist().inv_cdf(1 - significance / 2) * error or within(narrow, margin)

    if test.variance is not None and not decided(_MOST_IMAGES):
        return None
    low, high = images, 2 * images
    while high < _MOST_IMAGES and not decided(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return min(high, _MOST_IMAGES)
