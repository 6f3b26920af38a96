"""Do train and test look alike, measure by measure?

The test is the two-sample Kolmogorov-Smirnov test (Hodges 1958, Ark. Mat. 3). A large set makes every
trifle significant and a small one makes every accident large, so a measure drifts only when both hold: its distance D
(the largest difference between the shares of train and of test images below any value) is above a limit that a person
can judge, and D is no accident after Benjamini & Yekutieli (2001, Ann. Statist. 29), which allows for measures that
depend on one another. Crops and copies of one photograph are no independent draws, which makes p too small; then the
limit on D decides alone.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from podium.records.profile import MEASURES
from podium.records.validate import MeasureDrift

_EXACT = 10_000  # train x test images up to which p is exact; the asymptotic one is far off for a handful


@dataclass(frozen=True)
class _Gap:
    """Where the distribution functions of train and test are furthest apart.

    `test_is_lower`: test has the larger share of values up to `at`.
    """

    distance: float
    p_value: float
    at: float
    test_is_lower: bool


def compare_splits(measures: pd.DataFrame, maximum: float, significance: float) -> list[MeasureDrift]:
    """Holds train against test.

    Args:
        measures: columns `split` and those of `MEASURES`, a row an image.
        maximum: distance (0 to 1) above which a measure drifts.
        significance: false discovery rate below which a distance is no accident.

    Returns:
        One entry a measure, in the order of `MEASURES`; none where train or test is empty.
    """
    names = [name for name in MEASURES if name in measures.columns]
    train, test = (measures[measures["split"] == split] for split in ("train", "test"))
    if train.empty or test.empty or not names:
        return []
    gaps = [_gap(train[name], test[name]) for name in names]
    adjusted = stats.false_discovery_control([gap.p_value for gap in gaps], method="by")
    return [
        _drift(name, gap, float(p), maximum, significance) for name, gap, p in zip(names, gaps, adjusted, strict=True)
    ]


def _drift(name: str, gap: _Gap, adjusted: float, maximum: float, significance: float) -> MeasureDrift:
    """What is reported of a measure; `adjusted` is its p-value beside those of all others."""
    distance, p_value = round(gap.distance, 10), float(f"{adjusted:.3g}")
    drifts = distance > maximum and p_value < significance
    return MeasureDrift(measure=name, distance=distance, p_value=p_value, threshold=maximum, drifts=drifts)


def _gap(train: pd.Series, test: pd.Series) -> _Gap:
    """The two-sample Kolmogorov-Smirnov test of one measure."""
    method = "exact" if len(train) * len(test) <= _EXACT else "asymp"
    found = stats.ks_2samp(train.to_numpy(np.float64), test.to_numpy(np.float64), method=method)
    return _Gap(float(found.statistic), float(found.pvalue), float(found.statistic_location), found.statistic_sign < 0)


def surplus(measures: pd.DataFrame, name: str) -> list[str]:
    """The test images that train has too few of: those on their side of the largest distance of one measure.

    Args:
        measures: as for `compare_splits`, with `image_id`.
        name: of the measure.

    Returns:
        Their `image_id`, the most extreme first.
    """
    test = measures[measures["split"] == "test"]
    gap = _gap(measures.loc[measures["split"] == "train", name], test[name])
    values: NDArray[np.float64] = test[name].to_numpy(np.float64)
    there = values <= gap.at if gap.test_is_lower else values > gap.at
    outwards = values[there] if gap.test_is_lower else -values[there]
    ordered: list[str] = test.loc[there, "image_id"].iloc[np.argsort(outwards, kind="stable")].tolist()
    return ordered
