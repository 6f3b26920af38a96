"""Parts of the test split with known truth: is the model worse where it is hard? Needs numpy and pandas only.

The truth comes with the images (columns `occlusion clutter objects view` of the index). The thresholds lie in the gaps
of the embedded sample: a busy background covers a quarter of the surface or more and any other none of it; an occluder
hides an eighth of the object or more.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.statistics import bootstrap_rate
from podium.records.evaluation import SliceMetrics

OCCLUSION = 0.1  # share of the object hidden, above which it counts as occluded
CLUTTER = 0.2  # share of the surface covered, above which the background counts as busy
SLICES = ("clean", "occluded", "busy_background", "several_objects", "rotated_view", "hard")


def slice_masks(index: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Which images belong to which slice.

    Args:
        index: one row an image; any of the columns `occlusion` and `clutter` (shares in [0, 1]), `objects` (a count)
            and `view` (`front` or `rotated`). An unknown value does not make an image hard.

    Returns:
        Masks of shape (N,) by slice name, in the order of `SLICES`; slices without truth are left out, and all of
        them where there is no truth at all.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    if "occlusion" in index:
        masks["occluded"] = _numbers(index["occlusion"]) > OCCLUSION
    if "clutter" in index:
        masks["busy_background"] = _numbers(index["clutter"]) > CLUTTER
    if "objects" in index:
        masks["several_objects"] = _numbers(index["objects"]) > 1
    if "view" in index:
        masks["rotated_view"] = index["view"].eq("rotated").to_numpy(dtype=bool)
    if not masks:
        return {}
    hard = np.logical_or.reduce(list(masks.values()))
    return {"clean": ~hard, **masks, "hard": hard}


def slice_metrics(index: pd.DataFrame, correct: NDArray[np.bool_], samples: int, seed: int) -> dict[str, SliceMetrics]:
    """Accuracy with its 95 % interval on each slice that holds an image.

    Args:
        index: as in `slice_masks`.
        correct: whether each image was named rightly, shape (N,).
        samples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        By slice name; empty slices are left out.
    """
    return {
        name: SliceMetrics(
            accuracy=bootstrap_rate(int(correct[mask].sum()), int(mask.sum()), samples, seed, name),
            images=int(mask.sum()),
        )
        for name, mask in slice_masks(index).items()
        if mask.any()
    }


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    """A column as floats; what is no number is NaN."""
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
