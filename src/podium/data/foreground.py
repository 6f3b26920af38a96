"""Foreground: which pixels of a prepared image show the object that its label names."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 5  # of fitting the colours and cutting


def foreground_masks(
    images: NDArray[np.uint8], boxes: NDArray[np.float64], method: Literal["box", "grabcut"] = "box"
) -> NDArray[np.bool_]:
    """Where the object of each image is.

    Args:
        images: uint8, shape (N, S, S, 3).
        boxes: left, top, right, bottom in pixels of the image, shape (N, 4); NaN where none is known.
        method: `box`: every pixel whose middle lies in the box. `grabcut`: those of them that look like an object and
            not like what is outside the box (Rother, Kolmogorov and Blake, *ACM TOG* 23(3), 2004), or the whole box
            where that finds nothing.

    Returns:
        bool, shape (N, S, S); nothing of an image without a known box.
    """
    masks = box_masks(images.shape[1], boxes)
    if method == "grabcut":
        # without a background there is nothing to tell the object from
        for row in np.flatnonzero(masks.any(axis=(1, 2)) & ~masks.all(axis=(1, 2))):
            masks[row] &= _grabcut(images[row], masks[row])
    return masks


def box_masks(side: int, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The pixels of squares of so many a side whose middle lies in a box, (N, 4) to bool (N, S, S)."""
    middle = np.arange(side) + 0.5
    columns = (middle >= boxes[:, :1]) & (middle <= boxes[:, 2:3])
    rows = (middle >= boxes[:, 1:2]) & (middle <= boxes[:, 3:])
    return np.asarray(rows[:, :, None] & columns[:, None, :], np.bool_)


def _grabcut(image: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The object in one image, a function of its pixels and box alone; all pixels where none is found."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)  # the colours of object and background are clustered from random starts
    guess = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    colours = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), guess, None, *colours, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = guess == cv2.GC_PR_FGD
    return np.asarray(found if found.any() else np.ones_like(found), np.bool_)
