"""Do two pictures show the same? By their keypoints, or, where either has few, by laying one thumbnail over the other.

Keypoints that match by their ORB descriptors (the ratio test of Lowe, "Distinctive image features from scale-invariant
keypoints", IJCV 2004) vote by RANSAC: many that lie alike, up to shift, turn and scale, show one scene. For pictures
with few keypoints a small crop, turn or shift is undone: two different lemons on white have much in common, but a copy
of one of them has, laid over its original, nearly the same pixels. So the affine map between two thumbnails is
estimated (Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization",
IEEE PAMI 2008), and the correlation of what lies on each other is the measure.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.curation.near_duplicates.signature import THUMBNAIL_SIDE

# Measured on 1,798 drawn pictures of 96 px, copies of 100 of them under eleven changes: all copies reach 0.981, or,
# without the worst cells, 0.99; of 8,000 pairs of different pictures the best has 0.969, and 0.986.
_LEAST = 0.98
_LEAST_BESIDES = (0.92, 0.99)  # of everything, and without the worst cells: a watermark, a turned picture's corners
_WORST = 0.12  # share of cells left out
_CELL = 4  # pixels of a cell's side
_WORTH_ALIGNING = 0.8  # correlation of blurred thumbnails, as they are or with the middle of one
# Grey correlation after a few steps. Of 180 pictures under seven changes 99 % of the copies reach it.
_WORTH_MORE_STEPS = 0.88
_WORTH_THE_OTHER_WAY = 0.95  # correlation one way round, for a look at the other
_LEAST_OVERLAP = 0.6  # share of the thumbnail
_LARGEST_SHIFT = 0.3  # of a side
# What a copy needs; without these limits two ellipses, as different fruits are, could be pulled over each other.
_STRETCH = (0.82, 1.22)  # singular values of the map
_LARGEST_RATIO = 1.13  # of one to the other
_LARGEST_TURN = 9.0  # degrees
_QUICK_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 6, 1e-4)
_FULL_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)
_FILTER = 5  # pixels of a side of the blur while aligning
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

Thumbnail = NDArray[np.uint8]
Picture = NDArray[np.float32]
_IDENTITY = np.eye(2, 3, dtype=np.float32)
_KEPT = 0.9  # of a side, when 5 % are cropped off every side
_CENTRE = (THUMBNAIL_SIDE - 1) / 2
_CROPPED = np.array([[_KEPT, 0, (1 - _KEPT) * _CENTRE], [0, _KEPT, (1 - _KEPT) * _CENTRE]], np.float32)


def _centre_crop_matrix(side: int) -> NDArray[np.float32]:
    """The same crop by linear interpolation, as a matrix, shape (side out, side in)."""
    at = (np.arange(side) - (side - 1) / 2) * _KEPT + (side - 1) / 2
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)
    return weights


_CENTRE_CROP = _centre_crop_matrix(THUMBNAIL_SIDE // 2)
_ENOUGH_KEYPOINTS = 50  # of both pictures, from which on a "no" counts
# Of 5,174 pairs of the most alike of 1,250 photographs 36 have 8 or more inliers, and all show the same scene; of
# different scenes the best has 7.
_LEAST_INLIERS = 10
_LEAST_AREA = 3000.0  # pixels^2 of 256 x 256; a line of text across a third of the picture has less
_RATIO = 0.8
_TOLERANCE = 4.0  # pixels of 256
_SCALES = (0.5, 2.0)


class Verdict(Enum):
    """What keypoints say of two pictures."""

    SAME = "same"
    DIFFERENT = "different"
    LOCAL = "local"  # alike in one small place: a single object, or a mark that many pictures carry
    UNKNOWN = "unknown"  # too few keypoints to tell


def match_keypoints(first: NDArray[np.void], second: NDArray[np.void], mirrored: bool) -> Verdict:
    """Whether the keypoints of one picture are found in the other in the same arrangement.

    Args:
        first: a `signature.RECORD`, 0-dimensional.
        second: likewise.
        mirrored: compare with the mirror image of the second.

    Returns:
        The verdict.
    """
    ours, theirs = int(first["keypoints"]), int(second["keypoints"])
    otherwise = Verdict.DIFFERENT if min(ours, theirs) >= _ENOUGH_KEYPOINTS else Verdict.UNKNOWN
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
    area = min(_hull_area(here[inlier]), _hull_area(there[inlier]))
    return Verdict.SAME if area >= _LEAST_AREA else Verdict.LOCAL


def _hull_area(points: NDArray[np.float32]) -> float:
    """Pixels^2 of the convex hull."""
    return float(cv2.contourArea(cv2.convexHull(points)))


@dataclass(frozen=True)
class Similarity:
    """Correlation over the overlap, colours together, and the same without the cells that differ most; in [-1, 1]."""

    everywhere: float
    mostly: float

    @property
    def same_picture(self) -> bool:
        """Whether only a copy is this much alike."""
        everywhere, mostly = _LEAST_BESIDES
        return self.everywhere >= _LEAST or (self.everywhere >= everywhere and self.mostly >= mostly)


UNLIKE = Similarity(0.0, 0.0)


class InitialWarp(IntEnum):
    """From where the search for a map sets out; `NONE` when the pair is not worth one."""

    NONE = -1
    IDENTITY = 0
    SECOND_IS_LARGER = 1
    FIRST_IS_LARGER = 2


def initial_warps(first: Thumbnail, second: Thumbnail) -> NDArray[np.int8]:
    """The most promising start for pairs, judged by what their blurred thumbnails have in common.

    Args:
        first: uint8, shape (P, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3).
        second: likewise.

    Returns:
        int8, shape (P,): a `InitialWarp` each.
    """
    a, b = _downsample(first), _downsample(second)
    centre_a, centre_b = ((_CENTRE_CROP @ x @ _CENTRE_CROP.T).astype(np.float32) for x in (a, b))
    whole_a, whole_b = _normalise(a), _normalise(b)
    alike = np.stack(
        [
            _products(whole_a, whole_b),
            _products(whole_a, _normalise(centre_b)),
            _products(_normalise(centre_a), whole_b),
        ]
    )
    best: NDArray[np.int8] = alike.argmax(axis=0).astype(np.int8)
    best[alike.max(axis=0) < _WORTH_ALIGNING] = InitialWarp.NONE
    return best


def align(first: Thumbnail, second: Thumbnail, start: int) -> Similarity:
    """How alike two thumbnails are after the best small affine map of either onto the other.

    A common factor on the brightness and a constant added to a channel change nothing. Pictures of one flat colour are
    like nothing.

    Args:
        first: uint8, shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3).
        second: likewise.
        start: what `initial_warps` says of them, not `NONE`.

    Returns:
        The better of both directions; `UNLIKE` when no map is found.
    """
    pictures = (second, first) if start == InitialWarp.FIRST_IS_LARGER else (first, second)
    begin = _IDENTITY if start == InitialWarp.IDENTITY else _CROPPED
    found = _similarity_under(*pictures, begin)  # the steps may lead away from a map that is good already
    if found.same_picture:
        return found
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in pictures]
    for template, image, by in ((0, 1, begin), (1, 0, _IDENTITY)):
        quick = _refine(grey[template], grey[image], by, _QUICK_CRITERIA)
        if quick is None or quick.correlation < _WORTH_MORE_STEPS:
            continue
        aligned = _similarity_aligned((pictures[template], pictures[image]), (grey[template], grey[image]), quick.map)
        found = max(found, aligned, key=lambda one: (one.same_picture, one.everywhere))
        if found.same_picture or aligned.everywhere < _WORTH_THE_OTHER_WAY:
            break
    return found


def _downsample(thumbnails: Thumbnail) -> Picture:
    """Sums of 2 x 2 pixels, channels first, shape (P, 3, n, n)."""
    side = THUMBNAIL_SIDE // 2
    sums: Picture = thumbnails.reshape(-1, side, 2, side, 2, 3).sum((2, 4), dtype=np.float32)
    return sums.transpose(0, 3, 1, 2)


def _normalise(halves: Picture) -> Picture:
    """Blurred, less the mean of each channel, and of length 1 unless nearly flat, shape (P, n)."""
    blurred = halves[:, :, :-1] + halves[:, :, 1:]
    blurred = blurred[..., :-1] + blurred[..., 1:]
    blurred = blurred - blurred.mean((2, 3), keepdims=True)
    flat: Picture = blurred.reshape(len(blurred), 3 * blurred.shape[2] * blurred.shape[3])
    unit: Picture = flat / np.maximum(np.sqrt((flat * flat).sum(1, keepdims=True)), 1.0)
    return unit


def _products(a: Picture, b: Picture) -> Picture:
    """The scalar product of two pictures, pair by pair."""
    products: Picture = (a * b).sum(1)
    return products


@dataclass(frozen=True)
class _Estimate:
    """Grey correlation, and the affine map from places in the first to places in the second, float32, shape (2, 3)."""

    correlation: float
    map: NDArray[np.float32]


def _refine(template: Picture, image: Picture, start: Picture, until: tuple[int, int, float]) -> _Estimate | None:
    """Better maps, step by step; None when they lead away or there is nothing to hold on to."""
    try:
        correlation, found = cv2.findTransformECC(
            template, image, start.copy(), cv2.MOTION_AFFINE, until, None, _FILTER
        )
    except cv2.error:  # the library's way to say "does not converge"
        return None
    return _Estimate(float(correlation), found)


def _similarity_aligned(
    pictures: tuple[Thumbnail, Thumbnail], grey: tuple[Picture, Picture], start: Picture
) -> Similarity:
    """Similarity with the second laid over the first, from a first estimate of the map."""
    estimate = _refine(*grey, start, _FULL_CRITERIA)
    if estimate is None or not _is_small(estimate.map, THUMBNAIL_SIDE):
        return UNLIKE
    return _similarity_under(*pictures, estimate.map)


def _similarity_under(template: Thumbnail, image: Thumbnail, by: Picture) -> Similarity:
    """Likeness under one affine map."""
    side = len(template)
    overlap = cv2.warpAffine(np.full((side, side), 255, np.uint8), by, (side, side), flags=_WARP) == 255
    overlap = cv2.erode(overlap.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    if overlap.mean() < _LEAST_OVERLAP:
        return UNLIKE
    aligned = cv2.warpAffine(image.astype(np.float32), by, (side, side), flags=_WARP, borderMode=cv2.BORDER_REPLICATE)
    a = cv2.GaussianBlur(template.astype(np.float32), (3, 3), 0)
    b = cv2.GaussianBlur(aligned, (3, 3), 0)
    everywhere = _correlation(a, b, overlap)
    if everywhere < _LEAST_BESIDES[0]:
        return Similarity(everywhere, everywhere)
    return Similarity(everywhere, _correlation(a, b, overlap & ~_worst_cells(a, b, overlap)))


def _is_small(found: NDArray[np.float32], side: int) -> bool:
    """Whether a map is one of those that a small crop, turn or shift needs."""
    left, stretch, right = np.linalg.svd(found[:, :2])
    turn = left @ right  # the nearest rotation
    small = (
        _STRETCH[0] <= stretch[1]
        and stretch[0] <= min(_STRETCH[1], _LARGEST_RATIO * stretch[1])
        and abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= _LARGEST_TURN
        and np.abs(found[:, 2]).max() <= _LARGEST_SHIFT * side
    )
    return bool(small)


def _worst_cells(a: Picture, b: Picture, overlap: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the two, brought to one contrast, differ most; bool, shape (S, S)."""
    ours, theirs = a - a[overlap].mean(0), b - b[overlap].mean(0)
    ours, theirs = (x / max(float(np.linalg.norm(x[overlap])), 1e-6) for x in (ours, theirs))
    cells = len(a) // _CELL
    differ = (((ours - theirs) ** 2).sum(2) * overlap).reshape(cells, _CELL, cells, _CELL).sum((1, 3))
    order = np.argsort(-differ.ravel(), kind="stable")[: round(_WORST * cells * cells)]
    flags = np.zeros(cells * cells, np.uint8)
    flags[order] = 1
    large: NDArray[np.uint8] = np.kron(flags.reshape(cells, cells), np.ones((_CELL, _CELL), np.uint8))
    worst: NDArray[np.bool_] = large == 1
    return worst


def _correlation(a: Picture, b: Picture, where: NDArray[np.bool_]) -> float:
    """Pearson correlation, means per channel; 0 where either is flat."""
    if np.count_nonzero(where) < len(a):
        return 0.0
    ours, theirs = a[where] - a[where].mean(0), b[where] - b[where].mean(0)
    flat = float(len(ours))  # a standard deviation of 0.6 grey levels
    if min((ours * ours).sum(), (theirs * theirs).sum()) < flat:
        return 0.0
    return float((ours * theirs).sum() / np.sqrt((ours * ours).sum() * (theirs * theirs).sum()))
