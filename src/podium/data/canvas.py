"""From the pixels of a decoded image to the square a model sees: cropping steps, resizing, other steps, margins.

Depends on NumPy and `podium.core`, because the served model carries this module along, and on torch for resizing,
imported on use: it is several times as fast as Pillow, and whoever serves a model has it anyway.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from podium.data import colour
from podium.data.steps import after_resizing, before_resizing
from podium.records.preprocess import Preprocessing


@dataclass(frozen=True)
class Content:
    """An image resized to fit the square, before padding.

    Attributes:
        pixels: uint8, shape (h, w, 3), RGB, contiguous; h and w are at most the square's side.
        fill: uint8, shape (3,): the colour around it.
    """

    pixels: NDArray[np.uint8]
    fill: NDArray[np.uint8]


def content(pixels: NDArray[np.uint8], preprocessing: Preprocessing, profile: bytes = b"") -> Content:
    """Resizes an image to fit the square, keeping its aspect, brings its colours to sRGB, and makes the steps.

    The filter is bicubic with antialiasing (torch, integer arithmetic).

    Args:
        pixels: uint8, shape (H, W, 3), RGB.
        preprocessing: side of the square, colour around the image, steps.
        profile: the image's ICC profile (`DecodedImage.profile`); empty for sRGB.

    Returns:
        What is to be padded.
    """
    kept = before_resizing(pixels, preprocessing.steps)
    height, width = kept.shape[:2]
    longer = max(height, width)
    side = preprocessing.image_size
    size = (max(1, round(height * side / longer)), max(1, round(width * side / longer)))
    resized = _resized(kept, size)
    if profile:
        resized = np.array(colour.to_srgb(Image.fromarray(resized), profile))
    made = after_resizing(resized, preprocessing.steps)
    if preprocessing.fill == "corners":
        corners = made[[0, 0, -1, -1], [0, -1, 0, -1]]
        fill = np.median(corners, axis=0).round().astype(np.uint8)
    else:
        fill = np.full(3, preprocessing.pad_value, np.uint8)
    return Content(made, fill)


def place(content: Content, square: NDArray[np.uint8], left: int, top: int) -> None:
    """Fills a square, uint8, shape (S, S, 3), with the content at a place and its colour around it."""
    height, width = content.pixels.shape[:2]
    below, beside = top + height, left + width
    # only around the content; assigning a colour to (h, w, 3) goes pixel by pixel, and took longer than resizing
    for margin in (square[:top], square[below:], square[top:below, :left], square[top:below, beside:]):
        if margin.size:
            _paint(margin, content.fill)
    square[top:below, left:beside] = content.pixels


def centred(content: Content, side: int) -> NDArray[np.uint8]:
    """A square with the content in its middle; of an odd rest, one pixel more is to the right and below."""
    height, width = content.pixels.shape[:2]
    square = np.empty((side, side, 3), dtype=np.uint8)
    place(content, square, (side - width) // 2, (side - height) // 2)
    return square


def fit(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """An RGB image of sRGB colours as a model sees it: uint8, shape (S, S, 3)."""
    return centred(content(np.asarray(image), preprocessing), preprocessing.image_size)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels at another height and width: contiguous, writable."""
    import torch

    if pixels.shape[:2] == size:
        return np.array(pixels)
    # a batch of one in channels_last memory; strides of anything else cost a transposed copy on the way out
    # dlpack takes Pillow's pixels, which are read-only, without a copy
    batch = torch.utils.dlpack.from_dlpack(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(batch, size, mode="bicubic", antialias=True)
    out: NDArray[np.uint8] = np.ascontiguousarray(small.permute(0, 2, 3, 1)[0].numpy())
    return out


def _paint(margin: NDArray[np.uint8], fill: NDArray[np.uint8]) -> None:
    """Fills an area, uint8, shape (h, w, 3), with one colour."""
    if (fill == fill[0]).all():
        margin[:] = fill[0]
    else:
        margin[:] = np.tile(fill, (margin.shape[1], 1))  # row by row
