"""What the measures of the images say: do train and test look alike, and which images are doubtful?

For drift, the test is the two-sample Kolmogorov-Smirnov test (Hodges 1958, Ark. Mat. 3). A large set makes every
trifle significant and a small one makes every accident large, so a measure drifts only when both hold: its distance D
(the largest difference between the shares of train and of test images below any value) is above a limit that a person
can judge, and D is no accident after Benjamini & Yekutieli (2001, Ann. Statist. 29), which allows for measures that
depend on one another. Crops and copies of one photograph are no independent draws, which makes p too small; then the
limit on D decides alone.
Quality flags are images that are dark, blurred, nearly uniform or of an odd shape, by thresholds on their measures: a
hint for a person; nothing is removed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from podium.records.profile import MEASURES, FlaggedImage, QualityFlag
from podium.records.validate import MeasureDrift

MOST_WORST = 20
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


def flag_images(
    measures: pd.DataFrame,
    manifest: pd.DataFrame,
    *,
    dark: float | None,
    blurred: float | None,
    uniform: float | None,
    aspect: float | None,
) -> list[QualityFlag]:
    """Counts doubtful images and names the worst.

    Args:
        measures: `image_id` and a column per key of `MEASURES`.
        manifest: `image_id path split width height` of the same images.
        dark: mean grey value in [0, 1] below which an image is dark; nothing for no such flag, as everywhere here.
        blurred: variance of the Laplacian below which it is blurred.
        uniform: standard deviation of the grey values (0 to 0.5) below which it is nearly uniform. A uniform image is
            not called blurred as well.
        aspect: longer / shorter side of the original above which its shape is odd.

    Returns:
        One record for each threshold given.
    """
    images = manifest[["image_id", "path", "split", "width", "height"]].merge(
        measures[["image_id", "brightness", "contrast", "sharpness"]], on="image_id", validate="one_to_one"
    )
    sides = images[["width", "height"]].to_numpy(np.float64)
    shape = sides.max(axis=1) / sides.min(axis=1)
    brightness, contrast, sharpness = (
        images[name].to_numpy(np.float64) for name in ("brightness", "contrast", "sharpness")
    )
    flat = contrast < uniform if uniform is not None else np.zeros(len(images), dtype=bool)
    rules = []
    if dark is not None:
        sentence = f"mean grey value below {dark:g} of 1"
        rules.append(_Rule("dark", sentence, dark, brightness, brightness < dark))
    if blurred is not None:
        sentence = f"variance of the Laplacian below {blurred:g}"
        rules.append(_Rule("blurred", sentence, blurred, sharpness, (sharpness < blurred) & ~flat))
    if uniform is not None:
        sentence = f"standard deviation of the grey values below {uniform:g} of 1"
        rules.append(_Rule("uniform", sentence, uniform, contrast, flat))
    if aspect is not None:
        sentence = f"longer side more than {aspect:g} times the shorter"
        rules.append(_Rule("odd_aspect", sentence, aspect, shape, shape > aspect, worst_is_high=True))
    return [_flag(rule, images) for rule in rules]


@dataclass(frozen=True)
class _Rule:
    """A flag, the value of each image, and which images it names."""

    name: Literal["dark", "blurred", "uniform", "odd_aspect"]
    sentence: str
    threshold: float
    values: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    worst_is_high: bool = False


def _flag(rule: _Rule, images: pd.DataFrame) -> QualityFlag:
    """The flag a rule raises: how many images it hits, and the worst of them."""
    values = rule.values[rule.flagged]
    rows = images[rule.flagged].assign(value=values, order=-values if rule.worst_is_high else values)
    worst = rows.sort_values(["order", "image_id"]).head(MOST_WORST)
    return QualityFlag(
        name=rule.name,
        sentence=rule.sentence,
        threshold=rule.threshold,
        count=len(rows),
        worst=[
            FlaggedImage(image_id=key, path=path, split=split, value=round(float(value), 4))
            for key, path, split, value in zip(
                worst["image_id"], worst["path"], worst["split"], worst["value"], strict=True
            )
        ],
    )
