"""What near-duplicate search keeps of a picture, and whether two pictures of which it is kept show the same.

It is a record of fixed size, so that a file of them can be mapped, made of a copy of at most 256 pixels: a vector that
finds pairs which resemble each other (`candidates`), and keypoints and a thumbnail that verify them. Keypoints that lie
alike (`keypoints`) show one scene where the thumbnails agree too, laid over each other by the map of the keypoints: the
same caption or watermark on two scenes brings keypoints, but not the rest. For pictures with few keypoints
a small crop, turn or shift is undone: two different lemons on white have much in common, but a copy of one of them has,
laid over its original, nearly the same pixels. So the affine map between two thumbnails is estimated (Evangelidis and
Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", IEEE PAMI 2008), and the
correlation of what lies on each other is the measure.
"""

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from podium.curation.near_duplicates import keypoints

THUMBNAIL_SIDE = 32
_SIDE = 256  # pixels of the longer side of the copy of which all is made
_GRID = 16  # pixels of a side of what the vector is made of
_MARGIN = 0.05  # of a side: the vector is the mean of the whole picture's and that of its centre
_BLUR = 0.5  # pixels of the grid
_LENGTH = 2048  # of a vector; products of two fit in 24 bits, so sums of float32 are exact in any order
_LEAST_CONTRAST = 1.0  # CIE L*a*b* units; below, a picture is flat and resembles nothing

_WINDOW = 5  # pixels of a side of where structures are compared
_LEAST_DEVIATION = 2.0  # grey levels; below, there is no structure
_ALIKE = 0.5  # correlation within a window
_LEAST_COMPARED = 100  # pixels
_GREY = 2.0  # levels between the channels, on average, below which a thumbnail has no colour

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
_FEW_STEPS, _MANY_STEPS = 6, 25
_FILTER = 5  # pixels of a side of the blur while aligning
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

Thumbnail = NDArray[np.uint8]
Picture = NDArray[np.float32]

_down, _across = np.mgrid[0:_GRID, 0:_GRID]
_LIGHT = (_down + _across > 0) & (_down + _across < 8)  # frequencies kept of L*
_COLOUR = (_down + _across > 0) & (_down + _across < 5)  # of a* and b*
_DAMPING = np.exp(-0.5 * (_BLUR * np.pi / _GRID) ** 2 * (_down**2 + _across**2))[..., None]

SYMMETRIES = range(8)
"""The ways in which a square lies on itself: 4 exchanges x and y, then 2 flips up and down, 1 left and right."""


def _turned_vector(symmetry: int) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Which numbers of a vector, and with which sign, make the vector of the turned picture; shape (D,) each."""
    sign = np.where(symmetry & 1, 1 - 2 * (_across % 2), 1) * np.where(symmetry & 2, 1 - 2 * (_down % 2), 1)
    orders, signs, before = [], [], 0
    for kept in (_LIGHT, _COLOUR, _COLOUR):
        number = np.zeros(kept.shape, np.int64)
        number[kept] = before + np.arange(np.count_nonzero(kept))
        orders.append((number.T if symmetry & 4 else number)[kept])
        signs.append(sign[kept])
        before += len(orders[-1])
    return np.concatenate(orders), np.concatenate(signs).astype(np.int16)


VECTOR_TURNS = [_turned_vector(symmetry) for symmetry in SYMMETRIES]
"""By symmetry: the vector of the turned picture is `vector[order] * sign`."""

RECORD = np.dtype(
    [
        ("vector", "<i2", VECTOR_TURNS[0][0].shape),
        ("thumbnail", "u1", (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)),
        ("keypoints", keypoints.RECORD),
    ]
)
SIGNATURE_BYTES: int = RECORD.itemsize

_IDENTITY = np.eye(2, 3, dtype=np.float32)
_KEPT = 0.9  # of a side, when 5 % are cropped off every side
_CENTRE = (THUMBNAIL_SIDE - 1) / 2
_CROPPED = np.array([[_KEPT, 0, (1 - _KEPT) * _CENTRE], [0, _KEPT, (1 - _KEPT) * _CENTRE]], np.float32)
_HALF = np.arange(THUMBNAIL_SIDE // 2)
# the same crop of half a thumbnail by linear interpolation, as a matrix, shape (side out, side in)
_CENTRE_CROP = np.maximum(0, 1 - np.abs(((_HALF - _HALF.mean()) * _KEPT + _HALF.mean())[:, None] - _HALF)).astype(
    np.float32
)


def signature(image: Image.Image) -> NDArray[np.uint8]:
    """Everything near-duplicate search needs of one RGB picture of any size.

    Returns:
        uint8, shape (SIGNATURE_BYTES,): one `RECORD`, the same bytes on every run.
    """
    longest = max(image.size)
    scale = _SIDE / longest
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image if longest <= _SIDE else image.resize(size, Image.Resampling.BILINEAR)
    record = np.zeros((), RECORD)
    record["vector"] = _vector(small)
    record["thumbnail"] = np.asarray(small.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR))
    record["keypoints"] = keypoints.detect(small)
    return np.frombuffer(record.tobytes(), np.uint8)


def _vector(image: Image.Image) -> NDArray[np.int16]:
    """Low frequencies of the L*a*b* picture, of the whole plus of its centre, scaled to one length.

    Adding the centre makes the vectors of a picture and of its crop share a term: with it, the copies of 300
    photographs cropped by 5 % a side were among the 5 nearest of 49,500 pictures without exception (98.7 % without).
    """
    left, top = image.width * _MARGIN, image.height * _MARGIN
    parts = ((0.0, 0.0, image.width, image.height), (left, top, image.width - left, image.height - top))
    total = np.zeros(RECORD["vector"].shape)
    for box in parts:
        grid = image.resize((_GRID, _GRID), Image.Resampling.BOX, box=box)
        lab = cv2.cvtColor(np.asarray(grid, dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)
        waves = dctn(lab, axes=(0, 1), norm="ortho") * _DAMPING
        part = np.concatenate([waves[..., 0][_LIGHT], waves[..., 1][_COLOUR], waves[..., 2][_COLOUR]])
        length = float(np.linalg.norm(part))
        if length < _LEAST_CONTRAST * _GRID:
            return np.zeros(RECORD["vector"].shape, np.int16)
        total += part / length
    scale = (_LENGTH - 8) / max(float(np.linalg.norm(total)), 1e-6)
    return np.asarray(np.round(total * scale), np.int16)


def turned(thumbnails: Thumbnail, symmetry: int) -> Thumbnail:
    """One or many thumbnails, shape (..., S, S, 3), under one of the `SYMMETRIES`."""
    seen = np.swapaxes(thumbnails, -3, -2) if symmetry & 4 else thumbnails
    return seen[..., :: -1 if symmetry & 2 else 1, :: -1 if symmetry & 1 else 1, :]


def share_alike(first: Thumbnail, second: Thumbnail, by: Picture) -> float:
    """Share of the overlap in which two thumbnails have the same structure, under a map of their keypoints.

    Structure is the third factor of SSIM (Wang and others, "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 2004). Pixels around which both are flat do not count; 0 where hardly any do.

    Args:
        first: uint8, shape (S, S, 3).
        second: likewise, already mirrored where its keypoints were.
        by: float32, shape (2, 3), from the first to the second, in `keypoints.SCALE`.
    """
    side, scale = len(first), len(first) / keypoints.SCALE
    warp = by.astype(np.float64)
    warp[:, 2] = warp[:, 2] * scale + warp[:, :2].sum(1) / 2 - 0.5  # between centres of pixels
    one, other = _grey(np.ascontiguousarray(first)), _grey(np.ascontiguousarray(second))
    if abs(np.linalg.det(warp[:, :2])) > 1:  # the smaller part is enlarged, never the larger one thinned out
        one, other, warp = other, one, cv2.invertAffineTransform(warp)
    a, b = one, cv2.warpAffine(other, warp, (side, side), flags=_WARP, borderMode=cv2.BORDER_REPLICATE)
    overlap = cv2.warpAffine(np.full((side, side), 255, np.uint8), warp, (side, side), flags=_WARP) == 255
    overlap = cv2.erode(overlap.astype(np.uint8), np.ones((_WINDOW, _WINDOW), np.uint8), borderValue=0) > 0
    a, b = (cv2.GaussianBlur(x, (3, 3), 0) for x in (a, b))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (cv2.blur(x, (_WINDOW, _WINDOW)) for x in (a, b, a * a, b * b, a * b))
    variance_a, variance_b, covariance = mean_aa - mean_a**2, mean_bb - mean_b**2, mean_ab - mean_a * mean_b
    compared = overlap & (np.maximum(variance_a, variance_b) > _LEAST_DEVIATION**2)
    if np.count_nonzero(compared) < _LEAST_COMPARED:
        return 0.0
    structure = covariance / np.sqrt(np.maximum(variance_a, 1) * np.maximum(variance_b, 1))
    return float((structure[compared] > _ALIKE).mean())


def in_common_colours(first: Thumbnail, second: Thumbnail) -> tuple[Thumbnail, Thumbnail]:
    """Pairs of thumbnails, uint8, shape (P, S, S, 3), both without colour where one has none."""
    grey = np.minimum(*(_colourfulness(one) for one in (first, second))) < _GREY
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    first, second = first.copy(), second.copy()
    for one in (first, second):
        one[grey] = np.round(one[grey] @ weights).astype(np.uint8)[..., None]
    return first, second


def _colourfulness(thumbnails: Thumbnail) -> NDArray[np.float64]:
    """Levels between the channels of each, on average, shape (P,)."""
    red, green, blue = np.moveaxis(thumbnails, -1, 0)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.asarray(spread.mean((1, 2)))


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
    """The most promising start for each pair, judged by what their blurred thumbnails have in common.

    Takes uint8 of shape (P, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3) twice; gives an `InitialWarp` each, shape (P,).
    """
    halves = [_downsample(first), _downsample(second)]
    centres = [(_CENTRE_CROP @ half @ _CENTRE_CROP.T).astype(np.float32) for half in halves]
    (a, b), (centre_a, centre_b) = map(_normalise, halves), map(_normalise, centres)
    alike = np.stack([(x * y).sum(1) for x, y in ((a, b), (a, centre_b), (centre_a, b))])
    return np.where(alike.max(axis=0) < _WORTH_ALIGNING, InitialWarp.NONE, alike.argmax(axis=0)).astype(np.int8)


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
    return np.asarray(flat / np.maximum(np.sqrt((flat * flat).sum(1, keepdims=True)), 1.0))


def align(first: Thumbnail, second: Thumbnail, start: int) -> Similarity:
    """How alike two thumbnails are after the best small affine map of either onto the other.

    A common factor on the brightness and a constant added to a channel change nothing. Pictures of one flat colour are
    like nothing. Takes uint8 of shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3) twice and what `initial_warps` says of them,
    not `NONE`; gives the better of both directions, `UNLIKE` when no map is found.
    """
    one, other = (second, first) if start == InitialWarp.FIRST_IS_LARGER else (first, second)
    begin = _IDENTITY if start == InitialWarp.IDENTITY else _CROPPED
    found = _similarity_under(one, other, begin)  # the steps may lead away from a map that is good already
    for template, image, by in ((one, other, begin), (other, one, _IDENTITY)):
        if found.same_picture:
            break
        grey = _grey(template), _grey(image)
        quick = _refine(*grey, by, _FEW_STEPS, _WORTH_MORE_STEPS)
        if quick is None:
            continue
        full = _refine(*grey, quick, _MANY_STEPS)
        aligned = UNLIKE if full is None or not _is_small(full) else _similarity_under(template, image, full)
        found = max(found, aligned, key=lambda one: (one.same_picture, one.everywhere))
        if aligned.everywhere < _WORTH_THE_OTHER_WAY:
            break
    return found


def _grey(thumbnail: Thumbnail) -> Picture:
    """Its brightness, shape (S, S)."""
    return np.asarray(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY), np.float32)


def _refine(template: Picture, image: Picture, start: Picture, steps: int, least: float = -1.0) -> Picture | None:
    """A better map from the first picture to the second, float32, shape (2, 3).

    None when the steps lead away, to a correlation below `least`, or there is nothing to hold on to.
    """
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    try:
        correlation, found = cv2.findTransformECC(
            template, image, start.copy(), cv2.MOTION_AFFINE, until, None, _FILTER
        )
    except cv2.error:  # the library's way to say "does not converge"
        return None
    return None if correlation < least else np.asarray(found, np.float32)


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


def _is_small(found: Picture) -> bool:
    """Whether a map is one of those that a small crop, turn or shift needs."""
    left, stretch, right = np.linalg.svd(found[:, :2])
    turn = left @ right  # the nearest rotation
    return bool(
        _STRETCH[0] <= stretch[1]
        and stretch[0] <= min(_STRETCH[1], _LARGEST_RATIO * stretch[1])
        and abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= _LARGEST_TURN
        and np.abs(found[:, 2]).max() <= _LARGEST_SHIFT * THUMBNAIL_SIDE
    )


def _worst_cells(a: Picture, b: Picture, overlap: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the two, brought to one contrast, differ most; bool, shape (S, S)."""
    ours, theirs = a - a[overlap].mean(0), b - b[overlap].mean(0)
    ours, theirs = (x / max(float(np.linalg.norm(x[overlap])), 1e-6) for x in (ours, theirs))
    cells = len(a) // _CELL
    differ = (((ours - theirs) ** 2).sum(2) * overlap).reshape(cells, _CELL, cells, _CELL).sum((1, 3))
    worst = np.zeros(cells * cells, np.bool_)
    worst[np.argsort(-differ.ravel(), kind="stable")[: round(_WORST * cells * cells)]] = True
    return worst.reshape(cells, cells).repeat(_CELL, axis=0).repeat(_CELL, axis=1)


def _correlation(a: Picture, b: Picture, where: NDArray[np.bool_]) -> float:
    """Pearson correlation, means per channel; 0 where either is flat."""
    if np.count_nonzero(where) < len(a):
        return 0.0
    ours, theirs = a[where] - a[where].mean(0), b[where] - b[where].mean(0)
    flat = float(len(ours))  # a standard deviation of 0.6 grey levels
    if min((ours * ours).sum(), (theirs * theirs).sum()) < flat:
        return 0.0
    return float((ours * theirs).sum() / np.sqrt((ours * ours).sum() * (theirs * theirs).sum()))
