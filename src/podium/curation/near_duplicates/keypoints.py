"""Keypoints of a picture, and whether those of two pictures lie alike.

SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004) describes a place whatever the turn
and size of the picture; descriptors are compared by Hellinger's distance (Arandjelovic and Zisserman, "Three things
everyone should know to improve object retrieval", CVPR 2012), rounded to 4 bits a number. The descriptor of the mirror
image follows from that of the picture. Places are fractions of the width and of the height, so a picture that was
stretched has its keypoints where they were.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

KEYPOINTS = 160
LENGTH = 128  # numbers of a descriptor
SCALE = 255  # of a width or a height
_SIDE = 192  # pixels of the longer side of the copy in which keypoints are sought
_LARGEST_ZOOM = 2.0  # of a smaller picture
_LEAST_SIDE = 16  # pixels of the shorter side
_LAYERS, _CONTRAST = 3, 0.01
_LEVELS = 15  # of a number of a descriptor

_RATIO = 0.8  # of the distances to the nearest and to the next
_LEAST_INLIERS = 8
_TOLERANCE = 4.0  # units of `SCALE`
_TRIES = 500
_SIZES = (0.4, 2.5)  # singular values of the map
_LARGEST_STRETCH = 2.0  # of one to the other
_BAND = SCALE // 5

_cells = np.arange(LENGTH).reshape(4, 4, 8)  # across, down, direction
MIRRORED: NDArray[np.int64] = _cells[::-1, :, -np.arange(8) % 8].ravel()
"""Where each number of the mirror image's descriptor stands in that of the picture, shape (LENGTH,)."""

RECORD = np.dtype([("count", "<u2"), ("at", "u1", (KEYPOINTS, 2)), ("descriptors", "u1", (KEYPOINTS, LENGTH // 2))])
"""What is kept of a picture: places (x, y), strongest first, and descriptors, two numbers a byte."""


def detect(image: Image.Image) -> NDArray[np.void]:
    """The strongest keypoints of a picture of any size, as a 0-dimensional `RECORD`."""
    record = np.zeros((), RECORD)
    scale = min(_SIDE / max(image.size), _LARGEST_ZOOM)
    size = round(image.width * scale), round(image.height * scale)
    if min(size) < _LEAST_SIDE:
        return record
    kind = Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.BICUBIC
    grey = np.asarray(image.convert("L").resize(size, kind))
    found, descriptors = cv2.SIFT.create(KEYPOINTS, _LAYERS, _CONTRAST).detectAndCompute(grey, None)
    if descriptors is None:
        return record
    strongest = np.argsort([-one.response for one in found], kind="stable")[:KEYPOINTS]
    count = len(strongest)
    places = (np.array([found[at].pt for at in strongest]) + 0.5) / np.array(size) * SCALE
    numbers = np.minimum(np.round(np.sqrt(descriptors[strongest])), _LEVELS).astype(np.uint8)
    record["count"] = count
    record["at"][:count] = np.clip(np.round(places), 0, SCALE)
    record["descriptors"][:count] = numbers[:, 0::2] << 4 | numbers[:, 1::2]
    return record


def unpack(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors of which two numbers lie in a byte, uint8, shape (N, LENGTH / 2), as (N, LENGTH)."""
    numbers = np.empty((len(descriptors), LENGTH), np.float32)
    numbers[:, 0::2], numbers[:, 1::2] = descriptors >> 4, descriptors & _LEVELS
    return numbers


@dataclass(frozen=True)
class Arrangement:
    """Keypoints of two pictures that lie alike.

    Attributes:
        inliers: how many.
        beside: how many of them lie outside the fullest band, a fifth of the width or height: a line of text has few.
        area: of the smaller hull of the two, a share of the picture.
        by: float32, shape (2, 3): the map from the first picture to the second (or its mirror image), in `SCALE`.
    """

    inliers: int
    beside: int
    area: float
    by: NDArray[np.float32]


def compare(first: NDArray[np.void], second: NDArray[np.void], mirrored: bool) -> Arrangement | None:
    """The largest arrangement of keypoints that two pictures share up to an affine map; None where none is.

    Both are a 0-dimensional `RECORD`; `mirrored` compares with the mirror image of the second.
    """
    ours, theirs = int(first["count"]), int(second["count"])
    if min(ours, theirs) < _LEAST_INLIERS:
        return None
    one, other = unpack(first["descriptors"][:ours]), unpack(second["descriptors"][:theirs])
    if mirrored:
        other = other[:, MIRRORED]
    # whole numbers below 2^24: exact in any order of summation
    distance = (one * one).sum(1)[:, None] + (other * other).sum(1) - 2 * (one @ other.T)
    nearest, all_of_ours = distance.argmin(1), np.arange(ours)
    least = distance[all_of_ours, nearest]
    distance[all_of_ours, nearest] = np.inf
    clear = least < _RATIO**2 * distance.min(1)
    if np.count_nonzero(clear) < _LEAST_INLIERS:
        return None
    here = first["at"][:ours][clear].astype(np.float32)
    there = second["at"][:theirs][nearest[clear]].astype(np.float32)
    if mirrored:
        there[:, 0] = SCALE - there[:, 0]
    return _largest_arrangement(here, there)


def _largest_arrangement(here: NDArray[np.float32], there: NDArray[np.float32]) -> Arrangement | None:
    """RANSAC over affine maps of moderate stretch."""
    cv2.setRNGSeed(0)
    by, voted = cv2.estimateAffine2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=_TRIES)
    if by is None or not np.isfinite(by).all():
        return None
    sizes = np.linalg.svd(by[:, :2], compute_uv=False)
    inlier = voted[:, 0] == 1
    # keypoints at one place, with several directions, count once
    places = [np.unique(points[inlier], axis=0) for points in (here, there)]
    inliers = min(map(len, places))
    if inliers < _LEAST_INLIERS or sizes[0] > min(_SIZES[1], _LARGEST_STRETCH * sizes[1]) or sizes[1] < _SIZES[0]:
        return None
    area = min(cv2.contourArea(cv2.convexHull(points[inlier])) for points in (here, there))
    beside = min(map(_outside_a_band, places))
    return Arrangement(inliers, beside, float(area) / SCALE**2, by.astype(np.float32))


def _outside_a_band(places: NDArray[np.float32]) -> int:
    """How many places lie outside the upright or level band that holds the most of them."""
    across_and_down = np.sort(places, axis=0).T
    ends = [np.searchsorted(line, line + _BAND, side="right") for line in across_and_down]
    return len(places) - int(max((end - np.arange(len(places))).max() for end in ends))
