"""Two models that were trained with several seeds each: what the luck of seeds and of test images leaves open.

The answers are those of a study in which several readers look at all cases, by one method or another: a seed is a
reader, a test image a case. The variance of the difference is the sum of what the choice of images makes of it and what
the choice of seeds does, less what both hold of the luck of single answers; p and interval are Student's t with
Satterthwaite's degrees of freedom. Hillis, "A marginal-mean ANOVA approach for analyzing multireader multicase
radiological imaging data", Statistics in Medicine 33(2), 2014; Satterthwaite, "An approximate distribution of estimates
of variance components", Biometrics Bulletin 2(6), 1946. That trainings must be repeated: Bouthillier et al.,
"Accounting for variance in machine learning benchmarks", MLSys 2021. A hierarchical bootstrap over seeds and images
(Davison and Hinkley, "Bootstrap methods and their application", 1997, section 3.8) does not hold its level with three
seeds: `benchmarks/ab_power.py` measures both.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podium.analysis.paired import Z, compare_answers
from podium.config.judging import Metric
from podium.records.evaluation import Interval, PairedTest, VarianceComponents

if TYPE_CHECKING:
    import pandas as pd


def compare_runs(
    first: str, second: str, runs: "tuple[Sequence[pd.DataFrame], Sequence[pd.DataFrame]]", metric: Metric
) -> PairedTest:
    """Two models by the answers that were stored of their runs: `compare_answers` of one, `compare_seeds` of several.

    Args:
        first: name of a model.
        second: name of another.
        runs: of the first and of the second, a table a seed, as many of both: columns `label predicted`, one row an
            image, the same in all.
        metric: what the test is of.
    """
    if len(runs[0]) == 1:
        return compare_answers(first, second, (runs[0][0], runs[1][0]), metric)
    given = [np.stack([run["predicted"].to_numpy(dtype=str) for run in mine]) for mine in runs]
    labels = runs[0][0]["label"].to_numpy(dtype=str)
    names = np.unique(np.concatenate([labels, *map(np.ravel, given)]))
    one, other = (np.searchsorted(names, answers).astype(np.int64) for answers in given)
    return compare_seeds(first, second, np.searchsorted(names, labels).astype(np.int64), (one, other), metric)


def compare_seeds(
    first: str,
    second: str,
    labels: NDArray[np.int64],
    answers: tuple[NDArray[np.int64], NDArray[np.int64]],
    metric: Metric,
) -> PairedTest:
    """Tests whether two models differ in the mean of a metric over seeds and test images.

    Args:
        first: name of a model.
        second: name of another.
        labels: true class numbers, shape (N,), N at least 2.
        answers: class numbers that the first and the second gave, each of shape (S, N), a row a seed; S at least 2.
        metric: what is compared.

    Returns:
        The difference of the means with its 90 % interval, p, and the parts of its variance. The images that one alone
        names rightly are means over all pairs of a seed of the first and one of the second, rounded.
    """
    rates = [contributions(labels, given, metric) for given in answers]
    right = [(given == labels).mean(axis=0) for given in answers]
    value, parts = float(rates[0].mean() - rates[1].mean()), _variance(*rates)
    from scipy.stats import t

    error = math.sqrt(parts.of_images + parts.of_seeds)
    half = float(t.isf(0.05, parts.freedom)) * error
    return PairedTest(
        first=first,
        second=second,
        only_first_right=round(float((right[0] * (1 - right[1])).sum())),
        only_second_right=round(float((right[1] * (1 - right[0])).sum())),
        p_value=float(2 * t.sf(abs(value) / error, parts.freedom)),
        difference=Interval(value=value, low=max(-1.0, value - half), high=min(1.0, value + half)),
        variance=parts,
    )


def contributions(labels: NDArray[np.int64], given: NDArray[np.int64], metric: Metric) -> NDArray[np.float64]:
    """What each image adds to a metric: the mean of a row is the metric, its variance / N that of the metric.

    Of accuracy it is whether the answer is right. Of macro F1 it is the metric and N times its derivative by the weight
    of the image (the infinitesimal jackknife: Jaeckel, Bell Laboratories memorandum 72-1215-11, 1972).

    Args:
        labels: true class numbers, shape (N,).
        given: class numbers that were given, shape (S, N).
        metric: accuracy or macro F1.

    Returns:
        Shape (S, N).
    """
    right: NDArray[np.bool_] = given == labels
    if metric == "accuracy":
        return right.astype(np.float64)
    classes, out = 1 + int(max(labels.max(), given.max())), np.empty(given.shape)
    for row, (named, hit) in enumerate(zip(given, right, strict=True)):
        total = np.bincount(labels, minlength=classes) + np.bincount(named, minlength=classes)
        f1 = 2 * np.bincount(labels[hit], minlength=classes) / np.maximum(total, 1)
        slope = (2 * hit - f1[labels]) / total[labels] - f1[named] / total[named]
        out[row] = (f1.sum() + len(labels) * slope) / int((total > 0).sum())
    return out


def _variance(first: NDArray[np.float64], second: NDArray[np.float64]) -> VarianceComponents:
    """The variance of the difference between the means of two tables of contributions, each of shape (S, N).

    Where no answer differs it is that of Tango's interval for one seed (`analysis.paired`), not 0.
    """
    seeds, images = first.shape
    apart = first.mean(axis=0) - second.mean(axis=0)
    of_images = float(((apart - apart.mean()) ** 2).sum() + Z**2) / images**2
    of_means = noise = spread = 0.0
    for table in (first, second):
        means = table.mean(axis=1)
        part = float(means.var(ddof=1)) / seeds
        rest = table - means[:, None] - table.mean(axis=0) + means.mean()
        of_means += part
        spread += part**2 / (seeds - 1)
        noise += float((rest**2).sum()) / ((seeds - 1) * (images - 1) * seeds * images)
    of_seeds = max(0.0, of_means - noise)
    freedom = (of_images + of_seeds) ** 2 / (spread + of_images**2 / (images - 1))
    return VarianceComponents(
        seeds=seeds, of_seeds=of_seeds, of_images=of_images, freedom=max(float(seeds - 1), freedom)
    )
