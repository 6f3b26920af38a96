"""Quality flags: images that are dark, blurred, nearly uniform or of an odd shape, by thresholds on their measures.

Rule: a flag is a hint for a person; nothing is removed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.records.profile import FlaggedImage, QualityFlag

MOST_WORST = 20


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
