"""How alike two pictures are once a small crop and a change of brightness are undone.

Two different lemons on white have close perceptual hashes; a cropped copy of one of them has, laid over its original,
nearly the same pixels. So the crop is estimated (Gauss-Newton on the intensity, the method of Lucas and Kanade, "An
iterative image registration technique", IJCAI 1981) and the correlation of the aligned pictures is the measure.
Depends on NumPy and SciPy.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

SIDE = 24  # pixels of a thumbnail
_STEPS = 4
_WORTH_ALIGNING = 0.75  # of 1,000 photographs cropped by up to 5 % a side, 1 % correlated below 0.87 before aligning
_LARGEST_CROP = 0.12  # share of a side, both ends together
_AT = ((np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)).astype(np.float32)  # pixel centres, -1..1

Pictures = NDArray[np.float32]


def similarity(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Correlation of pairs of thumbnails after the best small crop of either.

    A common factor on the brightness and a constant added to a channel change nothing. Pictures of one flat colour
    correlate with nothing (0).

    Args:
        first: uint8, shape (P, 24, 24, 3).
        second: likewise; pair p is `first[p]` and `second[p]`.

    Returns:
        float32, shape (P,), in [-1, 1].
    """
    a, b = _smoothed(first), _smoothed(second)
    found = _correlation(a, b)
    worth = np.nonzero(found >= _WORTH_ALIGNING)[0]
    if not len(worth):
        return found
    a, b = a[worth], b[worth]
    aligned = np.maximum(_correlation(_cropped_onto(a, b), b), _correlation(_cropped_onto(b, a), a))
    found[worth] = np.maximum(found[worth], aligned)
    return found


def _smoothed(thumbnails: NDArray[np.uint8]) -> Pictures:
    """A 3 x 3 binomial blur: the estimate of a shift needs slopes, not pixel noise."""
    rows = correlate1d(thumbnails.astype(np.float32), (0.25, 0.5, 0.25), axis=1, mode="nearest")
    smooth: Pictures = correlate1d(rows, (0.25, 0.5, 0.25), axis=2, mode="nearest")
    return smooth


def _correlation(a: Pictures, b: Pictures) -> Pictures:
    a = (a - a.mean((1, 2), keepdims=True)).reshape(len(a), -1)
    b = (b - b.mean((1, 2), keepdims=True)).reshape(len(b), -1)
    norm = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.where(norm > 1e-3, (a * b).sum(1) / np.maximum(norm, 1e-3), 0).astype(np.float32)


def _cropped_onto(a: Pictures, b: Pictures) -> Pictures:
    """Each `a`, cropped and scaled back so that its intensity fits `b` best in the least-squares sense.

    A crop of an axis is the window x -> (1 + scale) x + shift of [-1, 1] with scale <= 0 and |shift| <= -scale, so
    that it stays inside the picture. Per step, b ~ a(window) + slope terms of (scale, shift) of both axes + gain.
    """
    pairs = len(a)
    scale = np.zeros((pairs, 2), dtype=np.float32)  # of x, y
    shift = np.zeros((pairs, 2), dtype=np.float32)
    grey = a.mean(3)
    goal = b.mean(3)
    goal = (goal - goal.mean((1, 2), keepdims=True)).reshape(pairs, -1, 1)
    for _ in range(_STEPS):
        window = _sampling(scale[:, 1], shift[:, 1]) @ grey @ _sampling(scale[:, 0], shift[:, 0]).transpose(0, 2, 1)
        by_y, by_x = np.gradient(window, 2 / SIDE, axis=(1, 2))
        terms = np.stack([by_x * _AT, by_x, by_y * _AT[:, None], by_y, window], axis=-1)
        terms = (terms - terms.mean((1, 2), keepdims=True)).reshape(pairs, -1, 5)
        normal = terms.transpose(0, 2, 1) @ terms
        damping = 2e-4 * np.trace(normal, axis1=1, axis2=2) + 1e-3  # keeps flat pictures solvable
        normal += np.eye(5, dtype=np.float32) * damping[:, None, None]
        change = np.linalg.solve(normal, terms.transpose(0, 2, 1) @ (goal - terms[:, :, 4:]))[:, :, 0]
        step = change[:, :4] / np.clip(1 + change[:, 4:], 0.5, 2)
        scale = np.clip(scale + step[:, [0, 2]], -_LARGEST_CROP, 0).astype(np.float32)
        shift = np.clip(shift + step[:, [1, 3]], scale, -scale).astype(np.float32)
    down, across = _sampling(scale[:, 1], shift[:, 1]), _sampling(scale[:, 0], shift[:, 0]).transpose(0, 2, 1)
    return np.stack([down @ a[..., channel] @ across for channel in range(3)], axis=-1)


def _sampling(scale: Pictures, shift: Pictures) -> Pictures:
    """Linear interpolation as a matrix per pair, shape (P, SIDE out, SIDE in)."""
    at = ((1 + scale)[:, None] * _AT + shift[:, None]) * (SIDE / 2) + (SIDE - 1) / 2
    at = np.clip(at, 0, SIDE - 1)
    weights: Pictures = np.maximum(0, 1 - np.abs(at[:, :, None] - np.arange(SIDE, dtype=np.float32)))
    return weights
