"""Changes of the values of single pixels while they are bytes: one table of 256 values an image and channel."""

import numpy as np
import torch
from numpy.typing import NDArray

from podium.data.augment.change import Augmentation


def toned(images: torch.Tensor, change: Augmentation) -> torch.Tensor:
    """Stretches, equalises, posterises and solarises.

    Args:
        images: uint8, shape (N, H, W, 3).
        change: drawn for N images.

    Returns:
        uint8, shape (N, H, W, 3); the given tensor where no image changes.
    """
    touched = _touched(change)
    if not touched.any():
        return images
    rows = torch.from_numpy(np.flatnonzero(touched)).to(images.device)
    pixels = images[rows]
    tables = _tables(pixels, change, touched)
    offsets = torch.arange(0, tables.numel(), 256, dtype=torch.int32, device=images.device)
    index = pixels.int() + offsets.view(len(pixels), 1, 1, -1)
    looked_up = tables.reshape(-1).index_select(0, index.view(-1)).view(pixels.shape)
    return images.index_copy(0, rows, looked_up)


def _touched(change: Augmentation) -> NDArray[np.bool_]:
    """Which images have a value to change, shape (N,)."""
    touched = np.zeros(len(change), np.bool_)
    for flags in (change.autocontrast, change.equalize):
        touched |= False if flags is None else flags
    for values, off in ((change.posterize, 8), (change.solarize, 256)):
        touched |= False if values is None else values < off
    return touched


def _tables(pixels: torch.Tensor, change: Augmentation, touched: NDArray[np.bool_]) -> torch.Tensor:
    """What becomes of each value: uint8, shape (M, 3, 256), the M touched images alone."""
    values = torch.arange(256, device=pixels.device).expand(len(pixels), 3, 256)

    def column(wanted: NDArray[np.generic]) -> torch.Tensor:
        """What was drawn for the touched images, on the device, shape (M, 1, 1)."""
        return torch.from_numpy(wanted[touched]).to(pixels.device)[:, None, None]

    tables = values
    if change.autocontrast is not None:
        tables = torch.where(column(change.autocontrast), _stretched(_histogram(pixels)), tables)
    if change.equalize is not None:
        counts = _histogram(pixels)
        counts = torch.zeros_like(counts).scatter_add(2, tables, counts)  # of the values after the stretching
        equalized = torch.where(column(change.equalize), _equalized(counts), values)
        tables = equalized.gather(2, tables)
    if change.posterize is not None:
        cut = 8 - column(change.posterize)
        tables = (tables >> cut) << cut
    if change.solarize is not None:
        tables = torch.where(tables >= column(change.solarize), 255 - tables, tables)
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


def _stretched(histogram: torch.Tensor) -> torch.Tensor:
    """The least value that occurs becomes 0 and the greatest 255, those between in proportion, rounded down."""
    values = torch.arange(256, device=histogram.device)
    occurs = histogram > 0
    least = torch.where(occurs, values, 255).amin(2, keepdim=True)
    greatest = torch.where(occurs, values, 0).amax(2, keepdim=True)
    spread = greatest - least
    stretched = ((values - least).clamp(min=0) * 255 // spread.clamp(min=1)).clamp(max=255)
    return torch.where(spread > 0, stretched, values)


def _equalized(histogram: torch.Tensor) -> torch.Tensor:
    """Ranks in place of values, as Pillow's `ImageOps.equalize` counts them: the greatest value becomes 255."""
    values = torch.arange(256, device=histogram.device)
    greatest = torch.where(histogram > 0, values, 0).amax(2, keepdim=True)
    step = (histogram.sum(2, keepdim=True) - histogram.gather(2, greatest)) // 255
    below = histogram.cumsum(2) - histogram
    ranked = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, ranked, values)
