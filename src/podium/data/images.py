"""From the bytes of an image file to the pixels a model sees; training and serving both come through here.

Rule: what cannot be read faithfully is refused with a reason, and what had to be done to read it is said in `note`.
Depends on Pillow, NumPy and `podium.core`, because the served model carries this module along, and on torch for
resizing, imported on use: it is several times as fast as Pillow, and whoever serves a model has it anyway.
"""

import hashlib
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from podium.core.errors import DataError, one_line
from podium.core.records.preprocess import Preprocessing
from podium.data import colour
from podium.data.steps import WHOLE, Region, after_resizing, before_resizing, cropped, crops

# Formats with a signature at the start and a decoder inside Pillow: no plug-in that runs another program (EPS) or
# that takes nearly any bytes for an image (TGA).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_NO_FIXED_RANGE = ("I", "F")
_RGB = ("RGB", "RGBA", "RGBX", "P", "PA")  # modes whose colours a profile of RGB values describes
_ORIENTATION = 0x0112  # EXIF tag
_ON_ITS_SIDE = 5  # this orientation and those above swap width and height
_LEAST_REDUCED = 512  # pixels of the longer side that finding near duplicates wants to see
# What Pillow's decoders were seen to raise on damaged files; OSError includes UnidentifiedImageError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class DecodedImage:
    """An original, decoded: an upright 8-bit sRGB image, and what was done to read it (empty for a plain file).

    `width` and `height` are those of the original after EXIF orientation; `image` is smaller where it was decoded at a
    reduced size.
    """

    image: Image.Image
    width: int
    height: int
    note: str


@dataclass(frozen=True)
class Content:
    """An image resized to fit the square, before padding.

    Attributes:
        pixels: uint8, shape (h, w, 3), RGB, contiguous; h and w are at most the square's side.
        fill: uint8, shape (3,): the colour around it.
    """

    pixels: NDArray[np.uint8]
    fill: NDArray[np.uint8]


@dataclass(frozen=True)
class ReadImage:
    """One image file as a model sees it.

    Attributes:
        pixels: uint8, shape (S, S, 3), RGB.
        width: pixels of the decoded original, after EXIF orientation.
        height: likewise.
        sha256: of the decoded image's size and RGB pixels, 64 hex digits.
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
        pixels=centred(content(pixels, preprocessing), preprocessing.image_size),
        width=decoded.width,
        height=decoded.height,
        sha256=pixels_sha256(pixels),
        note=decoded.note,
    )


def least_side(preprocessing: Preprocessing) -> int | None:
    """Pixels of the longer side that a whole photograph must keep when it is decoded at a reduced size.

    At least twice the side of the square, so that most of the reduction is left to the resizing filter; None (full
    size) where a step crops.
    """
    return None if crops(preprocessing.steps) else max(2 * preprocessing.image_size, _LEAST_REDUCED)


def decode(data: bytes, max_pixels: int, least: int | None = None) -> DecodedImage:
    """Decodes an image file to upright 8-bit sRGB.

    Animated and multi-page files give their first frame, transparency is laid on white, 16-bit values keep their
    upper 8 bits, EXIF orientation and the colour profile are applied.

    Args:
        data: the bytes of an image file.
        max_pixels: larger images are refused before their pixels are decoded.
        least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size if its longer side keeps this many pixels; None
            decodes at full size.

    Returns:
        The image, the size of the original, and a note.

    Raises:
        DataError: empty, truncated, damaged, too large, of an unknown format, or of a kind without a fixed range
            of values; the message starts with `unreadable: `.
    """
    if not data:
        raise DataError("unreadable: the file is empty")
    Image.init()  # without it, `formats` finds only the five plug-ins Pillow loads first
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                raise DataError(
                    f"unreadable: {width} x {height} pixels are more than max_pixels ({max_pixels}): "
                    "shrink the image or raise preprocess.max_pixels"
                )
            frames = int(getattr(opened, "n_frames", 1))
            if opened.format == "JPEG" and least is not None:
                _reduce(opened, least)
            opened.load()
            orientation = opened.getexif().get(_ORIENTATION, 1)
            turned = isinstance(orientation, int) and 2 <= orientation <= 8
            upright = ImageOps.exif_transpose(opened) if turned else opened
            image, notes = _to_rgb(upright, "adobe" in opened.info or opened.format != "JPEG")
            profile = opened.info.get("icc_profile")
            if profile and opened.mode in _RGB:
                image, said = colour.to_srgb(image, profile)
                notes += [said] if said else []
    except UnidentifiedImageError as error:
        raise DataError(f"unreadable: not an image of a known format ({', '.join(_FORMATS)})") from error
    except _DECODER_ERRORS as error:
        raise DataError(f"unreadable: {one_line(error)}") from error
    if frames > 1:
        notes.insert(0, f"first of {frames} frames")
    if turned:
        notes.append(f"EXIF orientation {orientation}")
        if orientation >= _ON_ITS_SIDE:
            width, height = height, width
    return DecodedImage(image, width, height, ", ".join(notes))


def content(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Content:
    """Resizes an image to fit the square, keeping its aspect, and makes the steps.

    The filter is bicubic with antialiasing (torch, integer arithmetic).

    Args:
        pixels: uint8, shape (H, W, 3), RGB.
        preprocessing: side of the square, colour around the image, steps.

    Returns:
        What is to be padded.
    """
    kept = before_resizing(pixels, preprocessing.steps)
    height, width = kept.shape[:2]
    longer = max(height, width)
    side = preprocessing.image_size
    size = (max(1, round(height * side / longer)), max(1, round(width * side / longer)))
    made = after_resizing(_resized(kept, size), preprocessing.steps)
    if preprocessing.fill == "corners":
        corners = made[[0, 0, -1, -1], [0, -1, 0, -1]]
        fill = np.median(corners, axis=0).round().astype(np.uint8)
    else:
        fill = np.full(3, preprocessing.pad_value, np.uint8)
    return Content(made, fill)


def place(content: Content, square: NDArray[np.uint8], left: int, top: int) -> None:
    """Fills a square, uint8, shape (S, S, 3), with the content at a place and its colour around it."""
    height, width = content.pixels.shape[:2]
    if (height, width) != square.shape[:2]:
        square[:] = content.fill
    square[top : top + height, left : left + width] = content.pixels


def centred(content: Content, side: int) -> NDArray[np.uint8]:
    """A square with the content in its middle; of an odd rest, one pixel more is to the right and below."""
    height, width = content.pixels.shape[:2]
    square = np.empty((side, side, 3), dtype=np.uint8)
    place(content, square, (side - width) // 2, (side - height) // 2)
    return square


def fit(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """An RGB image as a model sees it: uint8, shape (S, S, 3)."""
    return centred(content(np.asarray(image), preprocessing), preprocessing.image_size)


def cropped_file(data: bytes, region: Region, max_pixels: int) -> bytes:
    """A region of a photograph as an image file of its own, for whoever takes files: serving reads the same pixels.

    Args:
        data: the bytes of the photograph's file.
        region: fractions of its upright width and height.
        max_pixels: as for `decode`.

    Returns:
        `data` itself for the whole photograph, a PNG of the upright part otherwise.

    Raises:
        DataError: the photograph cannot be read.
    """
    if region == WHOLE:
        return data
    part = cropped(np.asarray(decode(data, max_pixels).image), region)
    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(part)).save(out, "PNG")
    return out.getvalue()


def pixels_sha256(image: Image.Image | NDArray[np.uint8]) -> str:
    """sha256 of an RGB image's size and pixels, 64 hex digits; metadata and encoding do not matter."""
    pixels = np.ascontiguousarray(image)
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\0".encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def _reduce(opened: Image.Image, least: int) -> None:
    """Has libjpeg decode 1/2, 1/4 or 1/8 of the pixels a side, the smallest that leaves `least` on the longer side."""
    longer = max(opened.size)
    for scale in (8, 4, 2):
        if longer >= least * scale:
            opened.draft(None, (max(1, opened.width // scale), max(1, opened.height // scale)))
            return


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels at another height and width: contiguous, writable."""
    import torch

    if pixels.shape[:2] == size:
        return np.array(pixels)
    # a batch of one in channels_last memory; strides of anything else cost a transposed copy on the way out
    batch = torch.from_numpy(np.array(pixels))[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(batch, size, mode="bicubic", antialias=True)
    out: NDArray[np.uint8] = np.ascontiguousarray(small.permute(0, 2, 3, 1)[0].numpy())
    return out


def _to_rgb(image: Image.Image, adobe: bool) -> tuple[Image.Image, list[str]]:
    """8-bit RGB and what had to be done. `adobe` is false for a JPEG without Adobe's marker."""
    if image.mode in _NO_FIXED_RANGE:
        raise DataError(f"unreadable: pixel values of mode {image.mode} have no fixed range: convert to 8 or 16 bits")
    if image.mode in _SIXTEEN_BIT:
        eight = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)  # convert("L") would clip at 255
        return Image.fromarray(eight).convert("RGB"), ["16 bits to 8"]
    if image.mode == "CMYK" and not adobe:
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without the marker the values are plain ink.
        return ImageChops.invert(image).convert("RGB"), ["CMYK without Adobe marker"]
    if image.mode == "CMYK":
        return image.convert("RGB"), ["CMYK"]
    if not image.has_transparency_data:
        return image if image.mode == "RGB" and image.format == "JPEG" else image.convert("RGB"), []
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered.convert("RGB"), []
    white = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(white, layered).convert("RGB"), ["alpha on white"]
