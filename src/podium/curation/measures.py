"""What one image looks like, as numbers: light, colour, sharpness, texture and frequencies of its content.

Rule: a pure function of the pixels; every number is finite, for any content from 1 x 1 pixel up. Formulas are the
libraries' where they have one. Every process that decodes imports it, so it imports nothing heavier.
"""

from functools import lru_cache

import cv2
import numpy as np
import scipy.fft
import scipy.special
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from podium.data.manifest import MEASURES, SPECTRUM_BANDS

NAMES: tuple[str, ...] = tuple(MEASURES)
"""Names of the numbers that `measure` gives, in order; `MEASURES` says what each one is."""
CHEAP = NAMES[: NAMES.index("glcm_contrast")]
"""Those of light, colour and sharpness, which take a fifth of the time of all."""

_LEAST_SIDE = 8  # pixels; content with a shorter side is continued by its edge pixels
_GREY_LEVELS = 32  # of the co-occurrence matrix; 256 levels take 40 times as long
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_CANNY = (100, 200)  # thresholds on the gradient of 8-bit grey, as in OpenCV's tutorial
_LOW_BANDS = SPECTRUM_BANDS // 4  # below a quarter of the highest frequency
_LEAST_SHARE = 1e-6  # of the power, below which a share counts as this


def measure(pixels: NDArray[np.uint8], *, cheap: bool = False) -> NDArray[np.float32]:
    """Measures one image.

    Args:
        pixels: uint8, shape (h, w, 3), RGB: the content alone, without padding.
        cheap: leave out texture and frequencies.

    Returns:
        float32, shape (len(NAMES),), in the order of `NAMES`, all finite; of `CHEAP` where only these are asked for.
    """
    height, width = pixels.shape[:2]
    pixels = _at_least(np.ascontiguousarray(pixels), _LEAST_SIDE)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    out = [width / height, *_light(grey), *_colour(pixels), *_detail(grey)]
    out += [] if cheap else [*_texture(grey), *_frequencies(grey)]
    return np.array(out, dtype=np.float32)


def _at_least(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Content continued to the right and downwards, so that neighbourhoods and frequencies exist."""
    height, width = pixels.shape[:2]
    below, beside = max(0, side - height), max(0, side - width)
    if not below and not beside:
        return pixels
    continued: NDArray[np.uint8] = cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    return continued


def _light(grey: NDArray[np.uint8]) -> list[float]:
    """Mean of the luma (ITU-R BT.601) and its standard deviation, the RMS contrast of Peli (1990), both in [0, 1]."""
    mean, std = cv2.meanStdDev(grey)
    return [float(mean[0, 0]) / 255, float(std[0, 0]) / 255]


def _colour(pixels: NDArray[np.uint8]) -> list[float]:
    """Means and deviations of the channels, saturation, hue and colourfulness.

    Hue spread is the circular variance 1 - |mean of s exp(ih)| with the saturation s as weight (Mardia & Jupp,
    Directional Statistics, 2000): 0 for one hue or none, 1 for hues in balance. Colourfulness is that of Hasler &
    Süsstrunk, Measuring colourfulness in natural images (2003): with rg = R - G and yb = (R + G) / 2 - B it is
    sqrt(std(rg)^2 + std(yb)^2) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2), on 0..255.
    """
    means, stds = cv2.meanStdDev(pixels)
    hue, saturation, _ = cv2.split(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV))
    total = float(saturation.sum(dtype=np.float64))
    radians = np.deg2rad(hue)
    along = float((saturation * np.cos(radians)).sum(dtype=np.float64))
    across = float((saturation * np.sin(radians)).sum(dtype=np.float64))
    spread = 1 - float(np.hypot(along, across)) / total if total > 0 else 0.0
    red, green, blue = (channel.astype(np.float32) for channel in cv2.split(pixels))
    opponents = cv2.merge([red - green, (red + green) / 2 - blue])
    mean, std = cv2.meanStdDev(opponents)
    colourfulness = float(np.linalg.norm(std) + 0.3 * np.linalg.norm(mean))
    channels = [*(means.ravel() / 255), *(stds.ravel() / 255)]
    return [*map(float, channels), total / saturation.size, max(0.0, spread), colourfulness]


def _detail(grey: NDArray[np.uint8]) -> list[float]:
    """Sharpness, entropy and edge density.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy,
    2000). Entropy is Shannon's, of the 256 grey levels, in bits. Edge density is the share of pixels on an edge of
    Canny (1986).
    """
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    shares = np.bincount(grey.ravel(), minlength=256) / grey.size
    entropy = float(scipy.special.entr(shares).sum() / np.log(2))
    return [sharpness, entropy, float(np.count_nonzero(cv2.Canny(grey, *_CANNY))) / grey.size]


def _texture(grey: NDArray[np.uint8]) -> list[float]:
    """Co-occurrence of grey levels at distance 1, and local binary patterns.

    Contrast, homogeneity and energy are those of Haralick et al., Textural features for image classification (1973),
    of the symmetric matrix of 32 grey levels, meaned over four directions. The patterns are the rotation-invariant
    uniform ones (P = 8, R = 1) of Ojala et al. (2002): shares of pixels, ten bins.
    """
    matrix = graycomatrix(grey >> 3, [1], _ANGLES, levels=_GREY_LEVELS, symmetric=True, normed=True)
    meaned = matrix.mean(axis=3, keepdims=True)
    texture = [float(graycoprops(meaned, name)[0, 0]) for name in ("contrast", "homogeneity", "energy")]
    patterns = local_binary_pattern(grey, 8, 1, "uniform").astype(np.int64)
    shares = np.bincount(patterns.ravel(), minlength=10) / grey.size
    return [*texture, *map(float, shares)]


def _frequencies(grey: NDArray[np.uint8]) -> list[float]:
    """How the power of the picture is spread over spatial frequencies.

    The power spectrum |F|^2 of the grey values less their mean, under a Hann window, is summed over rings of equal
    width from 0 to 0.5 cycles a pixel (corners beyond belong to the last ring). Given are log10 of power below over
    power above an eighth of a cycle a pixel, and log10 of each ring's share of all power.
    """
    ring, twice, window = _rings(*grey.shape)
    spectrum = scipy.fft.rfft2((grey - grey.mean(dtype=np.float64)) * window)
    power = np.bincount(ring, (np.square(np.abs(spectrum)) * twice).ravel(), minlength=SPECTRUM_BANDS)
    total = float(power.sum())
    # a flat picture has no power; of what rounding leaves of it nothing is told
    shares = power / total if total > 1e-9 * grey.size else np.full(SPECTRUM_BANDS, 1 / SPECTRUM_BANDS)
    low, high = float(shares[:_LOW_BANDS].sum()), float(shares[_LOW_BANDS:].sum())
    ratio = np.log10(max(low, _LEAST_SHARE) / max(high, _LEAST_SHARE))
    return [float(ratio), *map(float, np.log10(np.maximum(shares, _LEAST_SHARE)))]


@lru_cache(maxsize=64)
def _rings(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Of a size: the ring of each coefficient (flat), how often it counts, and the window.

    A real picture's spectrum is symmetric, and `rfft2` gives one half: all columns but the first, and the last of an
    even width, count twice.
    """
    radius = np.hypot(scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)[None, :])
    ring = np.minimum(SPECTRUM_BANDS - 1, (radius * 2 * SPECTRUM_BANDS).astype(np.int64))
    twice = np.full(radius.shape[1], 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    return ring.ravel(), np.broadcast_to(twice, radius.shape), window
