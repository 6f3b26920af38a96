"""How alike two thumbnails are once a small crop, turn or shift is undone: for pictures that have few corners.

Two different lemons on white have much in common; a copy of one of them has, laid over its original, nearly the same
pixels. So the affine map between two thumbnails is estimated (Evangelidis and Psarakis, "Parametric image alignment
using enhanced correlation coefficient maximization", IEEE PAMI 2008), and the correlation of what lies on each other is
the measure. Depends on OpenCV and NumPy.
"""

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_SIDE = 32

# Measured on 1,798 drawn pictures of 96 px, copies of 100 of them under eleven changes: all copies reach 0.981, or,
# without the worst cells, 0.99; of 8,000 pairs of different pictures the best has 0.969, and 0.986.
_LEAST = 0.98
_LEAST_BESIDES = (0.92, 0.99)  # of everything, and without the worst cells: a watermark, a turned picture's corners
_WORST = 0.12  # share of cells left out
_CELL = 4  # pixels of a cell's side
_WORTH_ALIGNING = 0.8  # correlation of blurred thumbnails, as they are or with the middle of one
# Grey correlation after a few steps. Of 180 pictures under seven changes 99 % of the copies reach it.
_WORTH_MORE_STEPS = 0.88
_WORTH_TURNING = 0.95  # correlation one way round, for a look at the other
_LEAST_OVERLAP = 0.6  # share of the thumbnail
_LARGEST_SHIFT = 0.3  # of a side
# What a copy needs; without these limits two ellipses, as different fruits are, could be pulled over each other.
_STRETCH = (0.82, 1.22)  # singular values of the map
_LARGEST_RATIO = 1.13  # of one to the other
_LARGEST_TURN = 9.0  # degrees
_QUICK = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 6, 1e-4)
_ENOUGH = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)
_FILTER = 5  # pixels of a side of the blur while aligning
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

Thumbnail = NDArray[np.uint8]
Picture = NDArray[np.float32]
_AS_THEY_ARE = np.eye(2, 3, dtype=np.float32)
_KEPT = 0.9  # of a side, when 5 % are cropped off every side
_MIDDLE = (THUMBNAIL_SIDE - 1) / 2
_CROPPED = np.array([[_KEPT, 0, (1 - _KEPT) * _MIDDLE], [0, _KEPT, (1 - _KEPT) * _MIDDLE]], np.float32)


def _midst(side: int) -> NDArray[np.float32]:
    """The same crop by linear interpolation, as a matrix, shape (side out, side in)."""
    at = (np.arange(side) - (side - 1) / 2) * _KEPT + (side - 1) / 2
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)
    return weights


_MIDST = _midst(THUMBNAIL_SIDE // 2)


@dataclass(frozen=True)
class Likeness:
    """Correlation over the overlap, colours together, and the same without the cells that differ most; in [-1, 1]."""

    everywhere: float
    mostly: float

    @property
    def same_picture(self) -> bool:
        """Whether only a copy is this much alike."""
        everywhere, mostly = _LEAST_BESIDES
        return self.everywhere >= _LEAST or (self.everywhere >= everywhere and self.mostly >= mostly)


UNLIKE = Likeness(0.0, 0.0)


class Start(IntEnum):
    """From where the search for a map sets out; `NONE` when the pair is not worth one."""

    NONE = -1
    AS_THEY_ARE = 0
    SECOND_IS_LARGER = 1
    FIRST_IS_LARGER = 2


def starts(first: Thumbnail, second: Thumbnail) -> NDArray[np.int8]:
    """The most promising start for pairs, judged by what their blurred thumbnails have in common.

    Args:
        first: uint8, shape (P, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3).
        second: likewise.

    Returns:
        int8, shape (P,): a `Start` each.
    """
    a, b = _halved(first), _halved(second)
    midst_a, midst_b = ((_MIDST @ x @ _MIDST.T).astype(np.float32) for x in (a, b))
    plain_a, plain_b = _centred(a), _centred(b)
    alike = np.stack(
        [
            _products(plain_a, plain_b),
            _products(plain_a, _centred(midst_b)),
            _products(_centred(midst_a), plain_b),
        ]
    )
    best: NDArray[np.int8] = alike.argmax(axis=0).astype(np.int8)
    best[alike.max(axis=0) < _WORTH_ALIGNING] = Start.NONE
    return best


def likeness(first: Thumbnail, second: Thumbnail, start: int) -> Likeness:
    """How alike two thumbnails are after the best small affine map of either onto the other.

    A common factor on the brightness and a constant added to a channel change nothing. Pictures of one flat colour are
    like nothing.

    Args:
        first: uint8, shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3).
        second: likewise.
        start: what `starts` says of them, not `NONE`.

    Returns:
        The better of both directions; `UNLIKE` when no map is found.
    """
    pictures = (second, first) if start == Start.FIRST_IS_LARGER else (first, second)
    begin = _AS_THEY_ARE if start == Start.AS_THEY_ARE else _CROPPED
    found = _compared(*pictures, begin)  # the steps may lead away from a map that is good already
    if found.same_picture:
        return found
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in pictures]
    for goal, moved, by in ((0, 1, begin), (1, 0, _AS_THEY_ARE)):
        quick = _steps(grey[goal], grey[moved], by, _QUICK)
        if quick is None or quick.correlation < _WORTH_MORE_STEPS:
            continue
        laid = _laid_over(pictures[goal], pictures[moved], grey[goal], grey[moved], quick.map)
        found = max(found, laid, key=lambda one: (one.same_picture, one.everywhere))
        if found.same_picture or laid.everywhere < _WORTH_TURNING:
            break
    return found


def _halved(thumbnails: Thumbnail) -> Picture:
    """Sums of 2 x 2 pixels, channels first, shape (P, 3, n, n)."""
    side = THUMBNAIL_SIDE // 2
    sums: Picture = thumbnails.reshape(-1, side, 2, side, 2, 3).sum((2, 4), dtype=np.float32)
    return sums.transpose(0, 3, 1, 2)


def _centred(halves: Picture) -> Picture:
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


def _steps(goal: Picture, moved: Picture, start: Picture, until: tuple[int, int, float]) -> _Estimate | None:
    """Better maps, step by step; None when they lead away or there is nothing to hold on to."""
    try:
        correlation, found = cv2.findTransformECC(goal, moved, start.copy(), cv2.MOTION_AFFINE, until, None, _FILTER)
    except cv2.error:  # the library's way to say "does not converge"
        return None
    return _Estimate(float(correlation), found)


def _laid_over(goal: Thumbnail, moved: Thumbnail, goal_grey: Picture, moved_grey: Picture, start: Picture) -> Likeness:
    """Likeness with the second laid over the first, from a first estimate of the map."""
    estimate = _steps(goal_grey, moved_grey, start, _ENOUGH)
    if estimate is None or not _is_small(estimate.map, len(goal)):
        return UNLIKE
    return _compared(goal, moved, estimate.map)


def _compared(goal: Thumbnail, moved: Thumbnail, by: Picture) -> Likeness:
    """Likeness under one affine map."""
    side = len(goal)
    overlap = cv2.warpAffine(np.full((side, side), 255, np.uint8), by, (side, side), flags=_WARP) == 255
    overlap = cv2.erode(overlap.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    if overlap.mean() < _LEAST_OVERLAP:
        return UNLIKE
    laid = cv2.warpAffine(moved.astype(np.float32), by, (side, side), flags=_WARP, borderMode=cv2.BORDER_REPLICATE)
    a = cv2.GaussianBlur(goal.astype(np.float32), (3, 3), 0)
    b = cv2.GaussianBlur(laid, (3, 3), 0)
    everywhere = _correlation(a, b, overlap)
    if everywhere < _LEAST_BESIDES[0]:
        return Likeness(everywhere, everywhere)
    return Likeness(everywhere, _correlation(a, b, overlap & ~_worst_cells(a, b, overlap)))


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
