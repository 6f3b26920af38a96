"""From the pixels of a decoded image to the square a model sees: cropping steps, resizing, other steps, padding.

Rule: the stage `preprocess` and the served model both resize here and nowhere else. `decode` may have a large JPEG
halved by its decoder before, for both alike. Steps are optional, the same for training, evaluation and serving, and
stored with the weights: crops are made on the upright image before it is resized; every other step works on the resized
image, before padding, so that its cost does not depend on the original and the padding keeps its colour. Nothing is
random. OpenCV is imported only where a step needs it: serving a model without steps does not.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from podium.config.preprocess import (
    BoxCrop,
    CentreCrop,
    Clahe,
    Denoise,
    Equalise,
    Grey,
    Hsv,
    Preprocessing,
    Sharpen,
    Step,
)
from podium.data.colour import to_srgb
from podium.data.decode import decode, pixels_sha256

Pixels = NDArray[np.uint8]
Region = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of an image's width and height; 0 <= left < right <= 1 and so on."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
_MEDIAN_SIDE = 3
_SNAP = 1e-6  # a box drawn on pixel borders keeps them although its fractions were rounded
_LEAST_REDUCED = 512  # pixels of the longer side that finding near duplicates wants to see


def region_of(row: Mapping[Hashable, Any]) -> Region:
    """The region of a manifest's row, from its columns `box_left box_top box_right box_bottom`."""
    return float(row["box_left"]), float(row["box_top"]), float(row["box_right"]), float(row["box_bottom"])


def has_crops(steps: Sequence[Step]) -> bool:
    """Whether a step needs the image before it is resized."""
    return any(isinstance(step, CentreCrop | BoxCrop) for step in steps)


def needs_opencv(steps: Sequence[Step]) -> bool:
    """Whether a step is made by OpenCV."""
    return any(not isinstance(step, CentreCrop | BoxCrop) for step in steps)


def crop(pixels: Pixels, region: Region) -> Pixels:
    """The part of an image in a region, at least one pixel a side; borders that cut a pixel take it in.

    Args:
        pixels: uint8, shape (H, W, 3).
        region: what to keep.

    Returns:
        A view, shape (h, w, 3).
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = region
    columns, rows = _span(left, right, width), _span(top, bottom, height)
    return pixels[rows, columns]


def apply_crops(pixels: Pixels, steps: Sequence[Step]) -> Pixels:
    """Makes the crops among the steps on the upright image at its full size: a view of uint8, shape (H, W, 3)."""
    for step in steps:
        match step:
            case CentreCrop():
                margin = (1 - step.share) / 2
                pixels = crop(pixels, (margin, margin, 1 - margin, 1 - margin))
            case BoxCrop():
                pixels = crop(pixels, (step.left, step.top, step.right, step.bottom))
            case _:
                pass
    return pixels


def apply_steps(pixels: Pixels, steps: Sequence[Step]) -> Pixels:
    """Makes the other steps on the resized content without padding.

    Pixels are uint8, shape (h, w, 3), RGB, and come back so; the given ones themselves where there is nothing to do.
    """
    if not needs_opencv(steps):
        return pixels
    import cv2

    cv2.setNumThreads(1)  # images are spread over processes; and one thread adds in one order
    for step in steps:
        pixels = _apply(pixels, step)
    return np.ascontiguousarray(pixels)


def _apply(pixels: Pixels, step: Step) -> Pixels:
    """One step on the resized content; crops, made before, leave it as it is."""
    import cv2

    match step:
        case Equalise():
            return _change_lightness(pixels, cv2.equalizeHist)
        case Clahe():
            return _change_lightness(pixels, cv2.createCLAHE(step.clip_limit, (step.tiles, step.tiles)).apply)
        case Denoise(method="median"):
            return np.asarray(cv2.medianBlur(pixels, _MEDIAN_SIDE), np.uint8)
        case Denoise():
            blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # the order in which it finds brightness and colour
            quiet = cv2.fastNlMeansDenoisingColored(blue_first, None, step.strength, step.strength)
            return np.asarray(cv2.cvtColor(quiet, cv2.COLOR_BGR2RGB), np.uint8)
        case Grey():
            return np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
        case Hsv():
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL), np.uint8)
        case Sharpen():
            blurred = cv2.GaussianBlur(pixels, (0, 0), step.sigma)
            return np.asarray(cv2.addWeighted(pixels, 1 + step.amount, blurred, -step.amount, 0), np.uint8)
        case _:  # a crop, made before
            return pixels


def _change_lightness(pixels: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """Changes the lightness of CIE Lab and leaves the colour alone."""
    import cv2

    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = change(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _span(start: float, end: float, length: int) -> slice:
    """Whole pixels of an axis from a fraction to another, at least one."""
    first = min(int(start * length + _SNAP), length - 1)
    last = -int(-(end * length - _SNAP) // 1)
    return slice(first, min(max(last, first + 1), length))


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
