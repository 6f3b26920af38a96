"""Do two pictures show the same scene? Their corners say so when many lie alike, up to shift, turn and scale.

Corners that match by their ORB descriptors (the ratio test of Lowe, "Distinctive image features from scale-invariant
keypoints", IJCV 2004) vote by RANSAC. Depends on OpenCV and NumPy.
"""

from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

ENOUGH = 50  # corners of both pictures, from which on a "no" counts
# Of 5,174 pairs of the most alike of 1,250 photographs 36 have 8 or more inliers, and all show the same scene; of
# different scenes the best has 7.
_LEAST_INLIERS = 10
_LEAST_AREA = 3000.0  # pixels^2 of 256 x 256; a line of text across a third of the picture has less
_RATIO = 0.8
_TOLERANCE = 4.0  # pixels of 256
_SCALES = (0.5, 2.0)


class Verdict(Enum):
    """What corners say of two pictures."""

    SAME = "same"
    DIFFERENT = "different"
    LOCAL = "local"  # alike in one small place: a single object, or a mark that many pictures carry
    UNKNOWN = "unknown"  # too few corners to tell


def compare(first: NDArray[np.void], second: NDArray[np.void], mirrored: bool) -> Verdict:
    """Whether the corners of one picture are found in the other in the same arrangement.

    Args:
        first: a `signatures.RECORD`, 0-dimensional.
        second: likewise.
        mirrored: compare with the mirror image of the second.

    Returns:
        The verdict.
    """
    ours, theirs = int(first["corners"]), int(second["corners"])
    otherwise = Verdict.DIFFERENT if min(ours, theirs) >= ENOUGH else Verdict.UNKNOWN
    if min(ours, theirs) < _LEAST_INLIERS:
        return otherwise
    descriptors = second["mirrored" if mirrored else "descriptors"][:theirs]
    distance, nearest = cv2.batchDistance(
        first["descriptors"][:ours], descriptors, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2
    )
    clear = distance[:, 0] < _RATIO * distance[:, 1]
    if np.count_nonzero(clear) < _LEAST_INLIERS:
        return otherwise
    here = first["at"][:ours][clear].astype(np.float32)
    there = second["at"][:theirs][nearest[clear, 0]].astype(np.float32)
    if mirrored:
        there[:, 0] = 255 - there[:, 0]
    cv2.setRNGSeed(0)
    transform, voted = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE)
    if transform is None:
        return otherwise
    inlier = voted[:, 0] == 1
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if np.count_nonzero(inlier) < _LEAST_INLIERS or not _SCALES[0] < scale < _SCALES[1]:
        return otherwise
    area = min(_area(here[inlier]), _area(there[inlier]))
    return Verdict.SAME if area >= _LEAST_AREA else Verdict.LOCAL


def _area(points: NDArray[np.float32]) -> float:
    """Pixels^2 of the convex hull."""
    return float(cv2.contourArea(cv2.convexHull(points)))
