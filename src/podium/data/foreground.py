"""Foreground: which pixels of a prepared image show the object that its label names."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ForegroundMethod = Literal["box"]


def foreground_masks(
    images: NDArray[np.uint8], boxes: NDArray[np.float64], method: ForegroundMethod = "box"
) -> NDArray[np.bool_]:
    """Where the object of each image is.

    Args:
        images: uint8, shape (N, S, S, 3).
        boxes: left, top, right, bottom in pixels of the image, shape (N, 4); NaN where none is known.
        method: `box`: every pixel whose middle lies in the box.

    Returns:
        bool, shape (N, S, S); nothing of an image without a known box.
    """
    return box_masks(images.shape[1], boxes)


def box_masks(side: int, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The pixels of squares of so many a side whose middle lies in a box, (N, 4) to bool (N, S, S)."""
    middle = np.arange(side) + 0.5
    columns = (middle >= boxes[:, :1]) & (middle <= boxes[:, 2:3])
    rows = (middle >= boxes[:, 1:2]) & (middle <= boxes[:, 3:])
    return np.asarray(rows[:, :, None] & columns[:, None, :], np.bool_)
