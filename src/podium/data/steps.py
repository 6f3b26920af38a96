"""Optional preprocessing steps, the same for training, evaluation and serving: they are stored with the weights.

Rule: crops are made on the upright image before it is resized; every other step works on the resized image, before
padding, so that its cost does not depend on the original and the padding keeps its colour. Nothing is random. OpenCV
is imported only where a step needs it: serving a model without steps does not.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.preprocess import (
    BoxCrop,
    CentreCrop,
    Clahe,
    Denoise,
    Equalise,
    Grey,
    Hsv,
    Sharpen,
    Step,
)

Pixels = NDArray[np.uint8]
Region = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of an image's width and height; 0 <= left < right <= 1 and so on."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_MEDIAN_SIDE = 3
_SNAP = 1e-6  # a box drawn on pixel borders keeps them although its fractions were rounded


def region_of(row: Mapping[Hashable, Any]) -> Region:
    """The region of a manifest's row, from its columns `box_left box_top box_right box_bottom`."""
    return float(row["box_left"]), float(row["box_top"]), float(row["box_right"]), float(row["box_bottom"])


def has_crops(steps: Sequence[Step]) -> bool:
    """Whether a step needs the image before it is resized."""
    return any(isinstance(step, CentreCrop | BoxCrop) for step in steps)


def needs_opencv(steps: Sequence[Step]) -> bool:
    """Whether a step is made by OpenCV."""
    return any(not isinstance(step, CentreCrop | BoxCrop) for step in steps)


def crop(pixels: Pixels, region: Region) -> Pixels:
    """The part of an image in a region, at least one pixel a side; borders that cut a pixel take it in.

    Args:
        pixels: uint8, shape (H, W, 3).
        region: what to keep.

    Returns:
        A view, shape (h, w, 3).
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = region
    columns, rows = _span(left, right, width), _span(top, bottom, height)
    return pixels[rows, columns]


def apply_crops(pixels: Pixels, steps: Sequence[Step]) -> Pixels:
    """Makes the crops among the steps on the upright image at its full size: a view of uint8, shape (H, W, 3)."""
    for step in steps:
        match step:
            case CentreCrop():
                margin = (1 - step.share) / 2
                pixels = crop(pixels, (margin, margin, 1 - margin, 1 - margin))
            case BoxCrop():
                pixels = crop(pixels, (step.left, step.top, step.right, step.bottom))
            case _:
                pass
    return pixels


def apply_steps(pixels: Pixels, steps: Sequence[Step]) -> Pixels:
    """Makes the other steps on the resized content without padding.

    Pixels are uint8, shape (h, w, 3), RGB, and come back so; the given ones themselves where there is nothing to do.
    """
    if not needs_opencv(steps):
        return pixels
    import cv2

    cv2.setNumThreads(1)  # images are spread over processes; and one thread adds in one order
    for step in steps:
        pixels = _apply(pixels, step)
    return np.ascontiguousarray(pixels)


def _apply(pixels: Pixels, step: Step) -> Pixels:
    """One step on the resized content; crops, made before, leave it as it is."""
    import cv2

    match step:
        case Equalise():
            return _change_lightness(pixels, cv2.equalizeHist)
        case Clahe():
            return _change_lightness(pixels, cv2.createCLAHE(step.clip_limit, (step.tiles, step.tiles)).apply)
        case Denoise(method="median"):
            return np.asarray(cv2.medianBlur(pixels, _MEDIAN_SIDE), np.uint8)
        case Denoise():
            blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # the order in which it finds brightness and colour
            quiet = cv2.fastNlMeansDenoisingColored(blue_first, None, step.strength, step.strength)
            return np.asarray(cv2.cvtColor(quiet, cv2.COLOR_BGR2RGB), np.uint8)
        case Grey():
            return np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
        case Hsv():
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL), np.uint8)
        case Sharpen():
            blurred = cv2.GaussianBlur(pixels, (0, 0), step.sigma)
            return np.asarray(cv2.addWeighted(pixels, 1 + step.amount, blurred, -step.amount, 0), np.uint8)
        case _:  # a crop, made before
            return pixels


def _change_lightness(pixels: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """Changes the lightness of CIE Lab and leaves the colour alone."""
    import cv2

    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = change(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _span(start: float, end: float, length: int) -> slice:
    """Whole pixels of an axis from a fraction to another, at least one."""
    first = min(int(start * length + _SNAP), length - 1)
    last = -int(-(end * length - _SNAP) // 1)
    return slice(first, min(max(last, first + 1), length))
