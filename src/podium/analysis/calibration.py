"""Does a confidence of 0.8 mean right in 80 of 100 cases? Needs numpy only.

Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy by confidence bin; bin m of M holds confidences in ((m-1)/M, m/M].

    Attributes:
        counts: images per bin, shape (M,), int64.
        confidence: mean confidence per bin, shape (M,); NaN where the bin is empty.
        accuracy: share of right answers per bin, shape (M,); NaN where the bin is empty.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def edges(self) -> NDArray[np.float64]:
        """The M + 1 bin edges, from 0 to 1."""
        return np.linspace(0.0, 1.0, len(self.counts) + 1)

    @property
    def expected_calibration_error(self) -> float:
        """ECE = sum over bins of (images in the bin / images) x |accuracy - confidence|, in [0, 1]."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.counts[filled] / self.counts.sum() * gaps).sum())


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int) -> Reliability:
    """Sorts predictions into bins of equal width by confidence.

    Args:
        confidence: probability of the predicted class, shape (N,), in [0, 1], N > 0.
        correct: whether the prediction was right, shape (N,).
        bins: how many bins of equal width, at least 1.

    Returns:
        Counts, mean confidence and accuracy per bin.
    """
    # A confidence of exactly 0 belongs to the first bin, though its lower edge is open.
    number = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # Sums over sorted values do not depend on the order of the images.
    order = np.lexsort((confidence, number))
    number, confidence, correct = number[order], confidence[order], correct[order]
    counts = np.bincount(number, minlength=bins).astype(np.int64)
    divisor = np.where(counts > 0, counts, np.nan)
    return Reliability(
        counts=counts,
        confidence=np.bincount(number, weights=confidence, minlength=bins) / divisor,
        accuracy=np.bincount(number, weights=correct.astype(np.float64), minlength=bins) / divisor,
    )
