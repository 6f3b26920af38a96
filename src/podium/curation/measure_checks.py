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

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from podium.records.profile import MEASURES, FlaggedImage, QualityFlag
from podium.records.validate import MeasureDrift

MOST_WORST = 20
_Flag = Literal["dark", "blurred", "uniform", "odd_aspect"]
_EXACT = 10_000  # train x test images up to which p is exact; the asymptotic one is far off for a handful


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
    tests = [_kolmogorov_smirnov(train[name], test[name]) for name in names]
    adjusted = stats.false_discovery_control([found.pvalue for found in tests], method="by")
    drifts = []
    for name, found, p in zip(names, tests, adjusted, strict=True):
        distance, p_value = round(float(found.statistic), 10), float(f"{p:.3g}")
        clear = distance > maximum and p_value < significance
        drifts.append(MeasureDrift(measure=name, distance=distance, p_value=p_value, threshold=maximum, drifts=clear))
    return drifts


def _kolmogorov_smirnov(train: pd.Series, test: pd.Series) -> Any:
    """SciPy's result of the two-sample test of one measure."""
    method = "exact" if len(train) * len(test) <= _EXACT else "asymp"
    return stats.ks_2samp(train.to_numpy(np.float64), test.to_numpy(np.float64), method=method)


def surplus(measures: pd.DataFrame, name: str) -> list[str]:
    """The test images that train has too few of: those on their side of the largest distance of one measure.

    Args:
        measures: as for `compare_splits`, with `image_id`.
        name: of the measure.

    Returns:
        Their `image_id`, the most extreme first.
    """
    test = measures[measures["split"] == "test"]
    found = _kolmogorov_smirnov(measures.loc[measures["split"] == "train", name], test[name])
    values: NDArray[np.float64] = test[name].to_numpy(np.float64)
    lower = found.statistic_sign < 0  # test has the larger share of values up to this place
    there = values <= found.statistic_location if lower else values > found.statistic_location
    outwards = values[there] if lower else -values[there]
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
    rules: list[tuple[_Flag, float | None, NDArray[np.float64], str]] = [
        ("dark", dark, brightness, "mean grey value below {:g} of 1"),
        ("blurred", blurred, np.where(flat, np.inf, sharpness), "variance of the Laplacian below {:g}"),
        ("uniform", uniform, contrast, "standard deviation of the grey values below {:g} of 1"),
        ("odd_aspect", aspect, shape, "longer side more than {:g} times the shorter"),
    ]
    return [
        _flag(name, sentence.format(threshold), threshold, images.assign(value=values))
        for name, threshold, values, sentence in rules
        if threshold is not None
    ]


def _flag(name: _Flag, sentence: str, threshold: float, images: pd.DataFrame) -> QualityFlag:
    """How many images have a column `value` beyond the threshold, and the worst of them."""
    high = name == "odd_aspect"  # is the worse; of all others it is the better
    flagged = images[images["value"] > threshold if high else images["value"] < threshold]
    worst = flagged.sort_values(["value", "image_id"], ascending=[not high, True]).head(MOST_WORST)
    told = worst[["image_id", "path", "split", "value"]].itertuples(index=False, name=None)
    return QualityFlag(
        name=name,
        sentence=sentence,
        threshold=threshold,
        count=len(flagged),
        worst=[
            FlaggedImage(image_id=key, path=path, split=split, value=round(value, 4))
            for key, path, split, value in told
        ],
    )
