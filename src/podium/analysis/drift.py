"""Do the images a model is asked about look like those it was trained on, and does it answer as on its test images?

The rule is that of `curation.findings`: a Kolmogorov-Smirnov distance above a limit that is no accident. Shares of the
named classes are held against each other by their total variation distance (half the sum of absolute differences) and a
permutation test of Pearson's chi-squared (Fisher, *The Design of Experiments*, 1935; with both margins as they are, the
counts of one side are multivariate hypergeometric).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.statistics import generator_of
from podium.curation.findings import judge_drift, kolmogorov_smirnov
from podium.records.drift import ClassShare
from podium.records.validate import MeasureDrift

CLASSES, CONFIDENCE = "classes", "confidence"
_PERMUTATIONS = 9999


@dataclass(frozen=True)
class Profiled:
    """Images and what a model answered, M and N rows; of a log, the same images.

    Attributes:
        images: a column a measure, M rows.
        confidence: calibrated, in [0, 1], shape (N,).
        predicted: class names, shape (N,).
        abstained: shape (N,).
    """

    images: pd.DataFrame
    confidence: NDArray[np.float64]
    predicted: NDArray[np.str_]
    abstained: NDArray[np.bool_]


def find_drift(before: Profiled, now: Profiled, maximum: float, significance: float) -> list[MeasureDrift]:
    """Holds later images and answers against earlier ones.

    Args:
        before: training images, and answers on test images.
        now: images and answers of a log.
        maximum: distance above which something drifts.
        significance: false discovery rate over all of it below which a distance is no accident.

    Returns:
        An entry for each measure that both have, for `confidence` and for `classes`.
    """
    names = [str(name) for name in before.images if name in now.images]
    pairs = {name: (before.images[name], now.images[name]) for name in names}
    pairs[CONFIDENCE] = (pd.Series(before.confidence), pd.Series(now.confidence))
    found = {name: kolmogorov_smirnov(*pair) for name, pair in pairs.items()}
    tests = {name: (float(one.statistic), float(one.pvalue)) for name, one in found.items()}
    return judge_drift({**tests, CLASSES: _compare_shares(before.predicted, now.predicted)}, maximum, significance)


def class_shares(before: Profiled, now: Profiled) -> list[ClassShare]:
    """How often each class was named then and now, those with the largest difference first."""
    labels = sorted({*before.predicted, *now.predicted})
    then, later = ({label: float((some.predicted == label).mean()) for label in labels} for some in (before, now))
    ordered = sorted(labels, key=lambda label: (-abs(later[label] - then[label]), label))
    return [ClassShare(label=label, now=later[label], test=then[label]) for label in ordered]


def smallest_distance(before: int, now: int, tests: int, significance: float) -> float:
    """The least Kolmogorov-Smirnov distance that so many images tell from chance, in [0, 1].

    By the asymptotic distribution, for one distance alone among `tests` that Benjamini and Yekutieli's rule adjusts.
    """
    from scipy.special import kolmogi

    strictest = significance / (tests * float(np.sum(1 / np.arange(1, tests + 1))))
    return min(1.0, float(kolmogi(strictest)) * float(np.sqrt((before + now) / (before * now))))


def _compare_shares(before: NDArray[np.str_], now: NDArray[np.str_]) -> tuple[float, float]:
    """Total variation distance of the shares of the classes, and its p-value; the same for the same answers."""
    labels = np.unique(np.concatenate([before, now]))
    then, later = (np.array([(some == label).sum() for label in labels]) for some in (before, now))
    total = then + later
    distance = float(np.abs(then / then.sum() - later / later.sum()).sum() / 2)
    expected = total * later.sum() / total.sum()
    drawn = generator_of(0, CLASSES).multivariate_hypergeometric(
        total, int(later.sum()), size=_PERMUTATIONS, method="marginals"
    )
    statistic, drawn_statistics = (((some - expected) ** 2 / total).sum(axis=-1) for some in (later, drawn))
    as_large = int((drawn_statistics >= statistic * (1 - 1e-9)).sum())
    return distance, (as_large + 1) / (_PERMUTATIONS + 1)
