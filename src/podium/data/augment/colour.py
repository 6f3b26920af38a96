"""Colour: lookup tables while pixels are bytes, then colour jitter and the normalisation as one multiply-add.

No value is cut at 0 or 1 on the way, as libraries that change one thing after the other do: a network's input has no
such bounds, and cutting cannot be part of a matrix.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from podium.data.augment.parameters import Augmentation, Flags, Floats
from podium.records.base import Triple

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision's rgb_to_grayscale
_CHROMA = np.array([LUMA, [-0.299, -0.587, 0.886], [0.701, -0.587, -0.114]])  # luma, blue - luma, red - luma
_SCALE = np.array([1.0, 0.492111, 0.877283])[:, None]  # of U and V: in their plane, hues are angles (BT.601)


def mean_grey(images: torch.Tensor) -> torch.Tensor:
    """Mean grey of each image.

    Sums of integers are exact: the same in any order of adding, so for any number of threads.

    Args:
        images: uint8, shape (N, H, W, 3).

    Returns:
        float64, shape (N,), of values in [0, 1].
    """
    count, height, width, channels = images.shape
    # down the columns first, 32 bits wide: ten times as fast as one sum over both, and 255 * H fits
    columns = images.reshape(count, height, width * channels).sum(1, dtype=torch.int32)
    sums = columns.view(count, width, channels).sum(1, dtype=torch.int64)
    return sums.double() @ torch.from_numpy(LUMA / (255 * height * width)).to(images.device)


def colour_matrices(params: Augmentation) -> Floats:
    """Brightness, contrast, saturation and hue without contrast's constant part, float64, shape (N, 3, 3).

    Brightness and contrast are factors of all values. Saturation s keeps the luma y of a pixel x: s*x + (1 - s)*y.
    Hue turns the colour in the plane of BT.601's U and V about its grey, which keeps the luma too; that is what
    "hue" means in video, and near to, but not the same as, a turn in HSV, which is not linear.
    """
    count = len(params)
    matrix = np.tile(np.eye(3), (count, 1, 1))
    if params.saturation is not None:
        s = params.saturation[:, None, None]
        matrix = s * matrix + (1 - s) * LUMA
    if params.hue is not None:
        angle = 2 * np.pi * params.hue
        turn = np.tile(np.eye(3), (count, 1, 1))
        turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
        turn[:, 1, 2], turn[:, 2, 1] = -np.sin(angle), np.sin(angle)
        into = _SCALE * _CHROMA
        matrix = np.linalg.inv(into) @ turn @ into @ matrix
    scaled: Floats = (params.brightness * params.contrast)[:, None, None] * matrix
    return scaled


def colour_offsets(params: Augmentation, greys: torch.Tensor, mean: Triple, std: Triple) -> torch.Tensor:
    """What is added to each channel, contrast's constant part and the mean, float32, shape (N, 3).

    With x the values and g their mean grey, brightness b and contrast c give c*b*x + (1 - c)*b*g (torchvision's
    `adjust_brightness`, then `adjust_contrast`); saturation and hue leave the grey second term as it is.
    """
    lift = torch.from_numpy((1 - params.contrast) * params.brightness).to(greys.device)
    mean_, std_ = torch.tensor([mean, std], dtype=torch.float64, device=greys.device)
    added: torch.Tensor = ((lift * greys)[:, None] - mean_) / std_
    return added.float()


def adjust_brightness_contrast(
    images: torch.Tensor, params: Augmentation, added: torch.Tensor, std: Triple
) -> torch.Tensor:
    """Brightness, contrast and normalisation: one multiply-add a value.

    Args:
        images: uint8, shape (N, H, W, 3).
        params: its brightness and contrast are used.
        added: from `colour_offsets`, shape (N, 3).
        std: per channel, of values in [0, 1].

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.
    """
    slope = (params.brightness * params.contrast)[:, None] / (255 * np.array(std))
    factor = torch.from_numpy(slope.astype(np.float32)).to(images.device)
    values = images.float()
    return torch.addcmul(added[:, None, None], values, factor[:, None, None], out=values).permute(0, 3, 1, 2)


def adjust_colour(pixels: torch.Tensor, params: Augmentation, added: torch.Tensor, std: Triple) -> torch.Tensor:
    """All changes of colour and normalisation: one matrix product.

    Args:
        pixels: float32, shape (N, 3, H, W), of values in [0, 255].
        params: drawn for N images.
        added: from `colour_offsets`, shape (N, 3).
        std: per channel, of values in [0, 1].

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.
    """
    scaled = (colour_matrices(params) / (255 * np.array(std)[:, None])).astype(np.float32)
    matrix = torch.from_numpy(scaled).to(pixels.device)
    product = torch.baddbmm(added[:, :, None], matrix, pixels.flatten(2))
    return product.view(pixels.shape).contiguous(memory_format=torch.channels_last)


def apply_lookup_tables(images: torch.Tensor, params: Augmentation) -> torch.Tensor:
    """Stretches, equalises, posterises and solarises.

    Args:
        images: uint8, shape (N, H, W, 3).
        params: drawn for N images.

    Returns:
        uint8, shape (N, H, W, 3); the given tensor where no image changes.
    """
    touched = _needs_table(params)
    if not touched.any():
        return images
    rows = torch.from_numpy(np.flatnonzero(touched)).to(images.device)
    pixels = images[rows]
    tables = _tables(pixels, params, touched)
    offsets = torch.arange(0, tables.numel(), 256, dtype=torch.int32, device=images.device)
    index = pixels.int() + offsets.view(len(pixels), 1, 1, -1)
    looked_up = tables.reshape(-1).index_select(0, index.view(-1)).view(pixels.shape)
    return images.index_copy(0, rows, looked_up)


def _needs_table(params: Augmentation) -> Flags:
    """Which images have a value to change, shape (N,)."""
    touched = np.zeros(len(params), np.bool_)
    for flags in (params.autocontrast, params.equalize):
        touched |= False if flags is None else flags
    for values, off in ((params.posterize, 8), (params.solarize, 256)):
        touched |= False if values is None else values < off
    return touched


def _tables(pixels: torch.Tensor, params: Augmentation, touched: Flags) -> torch.Tensor:
    """What becomes of each value: uint8, shape (M, 3, 256), the M touched images alone."""
    values = torch.arange(256, device=pixels.device).expand(len(pixels), 3, 256)

    def column(wanted: NDArray[np.generic]) -> torch.Tensor:
        """What was drawn for the touched images, on the device, shape (M, 1, 1)."""
        return torch.from_numpy(wanted[touched]).to(pixels.device)[:, None, None]

    tables = values
    if params.autocontrast is not None:
        tables = torch.where(column(params.autocontrast), _autocontrast(_histogram(pixels)), tables)
    if params.equalize is not None:
        counts = _histogram(pixels)
        counts = torch.zeros_like(counts).scatter_add(2, tables, counts)  # of the values after the stretching
        equalized = torch.where(column(params.equalize), _equalize(counts), values)
        tables = equalized.gather(2, tables)
    if params.posterize is not None:
        cut = 8 - column(params.posterize)
        tables = (tables >> cut) << cut
    if params.solarize is not None:
        tables = torch.where(tables >= column(params.solarize), 255 - tables, tables)
    return tables.to(torch.uint8)


def _histogram(pixels: torch.Tensor) -> torch.Tensor:
    """How often each value occurs, int64, shape (M, 3, 256)."""
    count, _, _, channels = pixels.shape
    bins = count * channels * 256
    offsets = torch.arange(0, bins, 256, device=pixels.device).view(count, 1, 1, channels)
    places = (pixels + offsets).view(-1)
    counts = torch.zeros(bins, dtype=torch.int64, device=pixels.device)
    # unlike `bincount`, it does not make a GPU wait for its greatest value
    return counts.scatter_add_(0, places, torch.ones_like(counts[:1]).expand_as(places)).view(count, channels, 256)


def _autocontrast(histogram: torch.Tensor) -> torch.Tensor:
    """The least value that occurs becomes 0 and the greatest 255, those between in proportion, rounded down."""
    values = torch.arange(256, device=histogram.device)
    occurs = histogram > 0
    least = torch.where(occurs, values, 255).amin(2, keepdim=True)
    greatest = torch.where(occurs, values, 0).amax(2, keepdim=True)
    spread = greatest - least
    stretched = ((values - least).clamp(min=0) * 255 // spread.clamp(min=1)).clamp(max=255)
    return torch.where(spread > 0, stretched, values)


def _equalize(histogram: torch.Tensor) -> torch.Tensor:
    """Ranks in place of values, as Pillow's `ImageOps.equalize` counts them: the greatest value becomes 255."""
    values = torch.arange(256, device=histogram.device)
    greatest = torch.where(histogram > 0, values, 0).amax(2, keepdim=True)
    step = (histogram.sum(2, keepdim=True) - histogram.gather(2, greatest)) // 255
    below = histogram.cumsum(2) - histogram
    ranked = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, ranked, values)
