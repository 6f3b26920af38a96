"""Suite `drift`: train and test look alike, measure by measure.

The test is the two-sample Kolmogorov-Smirnov test (Hodges 1958, Ark. Mat. 3). A large set makes every
trifle significant and a small one makes every accident large, so a measure drifts only when both hold: its distance D
(the largest difference between the shares of train and of test images below any value) is above a limit that a person
can judge, and D is no accident after Benjamini & Yekutieli (2001, Ann. Statist. 29), which allows for measures that
depend on one another. Crops and copies of one photograph are no independent draws, which makes p too small; then the
limit on D decides alone. Depends on pandas, numpy and scipy.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from podium.config.validate import SplitDrift, Validate
from podium.curation.expectations.evidence import CannotCheck, Evidence, Figures, Offending
from podium.records.profile import MEASURES
from podium.records.validate import MeasureDrift

_NAMED = 3  # measures told one by one
_LISTED = 100  # paths looked up
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


def compare(measures: pd.DataFrame, settings: SplitDrift) -> list[MeasureDrift]:
    """Holds train against test.

    Args:
        measures: columns `split` and those of `MEASURES`, a row an image.
        settings: limit of the distance, false discovery rate.

    Returns:
        One entry a measure, in the order of `MEASURES`; none where train or test is empty.
    """
    names = [name for name in MEASURES if name in measures.columns]
    train, test = (measures[measures["split"] == split] for split in ("train", "test"))
    if train.empty or test.empty or not names:
        return []
    gaps = [_gap(train[name], test[name]) for name in names]
    adjusted = stats.false_discovery_control([gap.p_value for gap in gaps], method="by")
    return [_drift(name, gap, float(p), settings) for name, gap, p in zip(names, gaps, adjusted, strict=True)]


def split_drift(evidence: Evidence, validate: Validate) -> Figures:
    """Distances that are no accident; named are the test images that one split has too many of."""
    measured = evidence.measures
    if measured is None or not evidence.drift:
        raise CannotCheck("the images of train and test were not measured")
    absent = [name for name in MEASURES if name not in measured.columns]
    if absent:
        raise CannotCheck(f"the measures lack {absent[0]!r}")
    by_name = {one.measure: one for one in evidence.drift}

    def observed(broken: list[str]) -> str:
        worst = sorted(evidence.drift, key=lambda one: (one.measure not in broken, -one.distance))[:_NAMED]
        told = ", ".join(f"{one.measure} {one.distance:.3f} (p {one.p_value:.2g})" for one in worst)
        return f"{len(broken)} of {len(by_name)} measures drift; largest distances: {told}"

    def unlike_train(broken: list[str]) -> Offending:
        worst = max(broken, key=lambda name: by_name[name].distance)
        return _surplus(measured, worst, evidence)

    significant = validate.split_drift.significance
    return Figures(
        values={one.measure: one.distance if one.p_value < significant else 0.0 for one in evidence.drift},
        most=validate.split_drift.maximum,
        observed=observed,
        images=unlike_train,
    )


def _drift(name: str, gap: _Gap, adjusted: float, settings: SplitDrift) -> MeasureDrift:
    """What is reported of a measure; `adjusted` is its p-value beside those of all others."""
    distance, p_value = round(gap.distance, 10), float(f"{adjusted:.3g}")
    drifts = distance > settings.maximum and p_value < settings.significance
    return MeasureDrift(measure=name, distance=distance, p_value=p_value, threshold=settings.maximum, drifts=drifts)


def _gap(train: pd.Series, test: pd.Series) -> _Gap:
    """The two-sample Kolmogorov-Smirnov test of one measure."""
    method = "exact" if len(train) * len(test) <= _EXACT else "asymp"
    found = stats.ks_2samp(train.to_numpy(np.float64), test.to_numpy(np.float64), method=method)
    return _Gap(float(found.statistic), float(found.pvalue), float(found.statistic_location), found.statistic_sign < 0)


def _surplus(measures: pd.DataFrame, name: str, evidence: Evidence) -> Offending:
    """The test images on the side of the largest distance where test has too many, the most extreme first."""
    test = measures[measures["split"] == "test"]
    gap = _gap(measures.loc[measures["split"] == "train", name], test[name])
    values: NDArray[np.float64] = test[name].to_numpy(np.float64)
    there = values <= gap.at if gap.test_is_lower else values > gap.at
    outwards = values[there] if gap.test_is_lower else -values[there]
    ordered = test.loc[there, "image_id"].iloc[np.argsort(outwards, kind="stable")]
    if "path" not in evidence.manifest.columns or "image_id" not in evidence.manifest.columns:
        return Offending([], len(ordered))
    wanted = ordered.iloc[:_LISTED]
    rows = evidence.manifest.loc[evidence.manifest["image_id"].isin(wanted), ["image_id", "path"]]
    path = dict(zip(rows["image_id"], rows["path"], strict=True))
    return Offending([str(path[key]) for key in wanted if key in path], len(ordered))
