"""From the pixels of a decoded image to the square a model sees: cropping steps, resizing, other steps, padding.

Rule: the stage `preprocess` and the served model both resize here and nowhere else. `decode` may have a large JPEG
halved by its decoder before, for both alike.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from podium.config.preprocess import Preprocessing
from podium.data.colour import to_srgb
from podium.data.decode import decode, pixels_sha256
from podium.data.steps import WHOLE, Region, apply_crops, apply_steps, crop, has_crops

_LEAST_REDUCED = 512  # pixels of the longer side that finding near duplicates wants to see


@dataclass(frozen=True)
class ResizedImage:
    """An image resized to fit the square, before padding.

    Attributes:
        pixels: uint8, shape (h, w, 3), RGB, contiguous; h and w are at most the square's side.
        fill: uint8, shape (3,): the colour around it.
    """

    pixels: NDArray[np.uint8]
    fill: NDArray[np.uint8]


def resize(pixels: NDArray[np.uint8], preprocessing: Preprocessing, profile: bytes = b"") -> ResizedImage:
    """Resizes an image to fit the square, keeping its aspect, brings its colours to sRGB, and makes the steps.

    The filter is bicubic with antialiasing (torch, integer arithmetic: several times as fast as Pillow).

    Args:
        pixels: uint8, shape (H, W, 3), RGB.
        preprocessing: side of the square, colour around the image, steps.
        profile: the image's ICC profile (`DecodedImage.profile`); empty for sRGB.

    Returns:
        What is to be padded.
    """
    kept = apply_crops(pixels, preprocessing.steps)
    height, width = kept.shape[:2]
    longer = max(height, width)
    side = preprocessing.image_size
    size = (max(1, round(height * side / longer)), max(1, round(width * side / longer)))
    resized = _interpolate(kept, size)
    if profile:
        resized = np.array(to_srgb(Image.fromarray(resized), profile))
    made = apply_steps(resized, preprocessing.steps)
    if preprocessing.fill == "corners":
        corners = made[[0, 0, -1, -1], [0, -1, 0, -1]]
        fill = np.median(corners, axis=0).round().astype(np.uint8)
    else:
        fill = np.full(3, preprocessing.pad_value, np.uint8)
    return ResizedImage(made, fill)


def paste(image: ResizedImage, square: NDArray[np.uint8], left: int, top: int) -> None:
    """Fills a square, uint8, shape (S, S, 3), with an image at a place and its colour around it."""
    height, width = image.pixels.shape[:2]
    below, beside = top + height, left + width
    # only around the image; assigning a colour to (h, w, 3) goes pixel by pixel, and took longer than resizing
    for margin in (square[:top], square[below:], square[top:below, :left], square[top:below, beside:]):
        if margin.size:
            _fill(margin, image.fill)
    square[top:below, left:beside] = image.pixels


def pad(image: ResizedImage, side: int) -> NDArray[np.uint8]:
    """A square with an image in its middle; of an odd rest, one pixel more is to the right and below."""
    height, width = image.pixels.shape[:2]
    square = np.empty((side, side, 3), dtype=np.uint8)
    paste(image, square, (side - width) // 2, (side - height) // 2)
    return square


@dataclass(frozen=True)
class ReadImage:
    """One image file as a model sees it.

    Attributes:
        pixels: uint8, shape (S, S, 3), RGB.
        width: pixels of the decoded original, after EXIF orientation.
        height: likewise.
        sha256: of the decoded image's size, RGB pixels and colour profile (`pixels_sha256`), 64 hex digits.
        note: what was done to read it; empty for a plain image.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    sha256: str
    note: str


def read_image(data: bytes, preprocessing: Preprocessing) -> ReadImage:
    """Decodes an image file and brings it to the size the models take, in the middle of the square.

    Args:
        data: the bytes of a JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, JPEG 2000 or PPM file.
        preprocessing: size, padding, steps, and the most pixels an original may have.

    Returns:
        Pixels, and what is known of the original.

    Raises:
        DataError: the file cannot be read; the message starts with `unreadable: `.
    """
    decoded = decode(data, preprocessing.max_pixels, least_side(preprocessing))
    pixels = np.asarray(decoded.image)
    return ReadImage(
        pixels=pad(resize(pixels, preprocessing, decoded.profile), preprocessing.image_size),
        width=decoded.width,
        height=decoded.height,
        sha256=pixels_sha256(pixels, decoded.profile),
        note=decoded.note,
    )


def least_side(preprocessing: Preprocessing) -> int | None:
    """Pixels of the longer side that a whole photograph must keep when it is decoded at a reduced size.

    At least twice the side of the square, so that most of the reduction is left to the resizing filter; None (full
    size) where a step crops.
    """
    return None if has_crops(preprocessing.steps) else max(2 * preprocessing.image_size, _LEAST_REDUCED)


def crop_file(data: bytes, region: Region, max_pixels: int) -> bytes:
    """A region of a photograph as an image file of its own, for whoever takes files: serving reads the same pixels.

    Args:
        data: the bytes of the photograph's file.
        region: fractions of its upright width and height.
        max_pixels: as for `decode`.

    Returns:
        `data` itself for the whole photograph, otherwise a PNG of the upright part, or a TIFF where the photograph
        has a profile to apply: the part has it too.

    Raises:
        DataError: the photograph cannot be read.
    """
    if region == WHOLE:
        return data
    decoded = decode(data, max_pixels)
    part = crop(np.asarray(decoded.image), region)
    out = BytesIO()
    image = Image.fromarray(np.ascontiguousarray(part))
    if decoded.profile:  # Pillow reads no PNG with a profile of more than 1 MiB
        image.save(out, "TIFF", compression="tiff_deflate", icc_profile=decoded.profile)
    else:
        image.save(out, "PNG")
    return out.getvalue()


def _interpolate(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
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


def _fill(margin: NDArray[np.uint8], fill: NDArray[np.uint8]) -> None:
    """Fills an area, uint8, shape (h, w, 3), with one colour."""
    if (fill == fill[0]).all():
        margin[:] = fill[0]
    else:
        margin[:] = np.tile(fill, (margin.shape[1], 1))  # row by row
