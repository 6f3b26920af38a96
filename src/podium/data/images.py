"""From the bytes of an image file to the pixels a model sees; training and serving both come through here.

Rule: what cannot be read faithfully is refused with a reason, and what had to be done to read it is said in `note`.
Depends on Pillow, NumPy and `podium.core` only, because the served model carries this module along. Colour profiles
(ICC) are not applied, neither here nor anywhere else.
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

# Formats with a signature at the start and a decoder inside Pillow: no plug-in that runs another program (EPS) or
# that takes nearly any bytes for an image (TGA).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_NO_FIXED_RANGE = ("I", "F")
_ORIENTATION = 0x0112  # EXIF tag
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
    """An original, decoded: an upright 8-bit RGB image, and what was done to read it (empty for a plain file)."""

    image: Image.Image
    note: str


@dataclass(frozen=True)
class ReadImage:
    """One image file as a model sees it.

    Attributes:
        pixels: uint8, shape (S, S, 3), RGB.
        width: pixels of the decoded original, after EXIF orientation.
        height: likewise.
        sha256: of the decoded original's size and RGB pixels, 64 hex digits.
        note: what was done to read it; empty for a plain image.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    sha256: str
    note: str


def read_image(data: bytes, preprocessing: Preprocessing) -> ReadImage:
    """Decodes an image file and brings it to the size the models take.

    Args:
        data: the bytes of a JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, JPEG 2000 or PPM file.
        preprocessing: size, padding, and the most pixels an original may have.

    Returns:
        Pixels, and what is known of the original.

    Raises:
        DataError: the file cannot be read; the message starts with `unreadable: `.
    """
    decoded = decode(data, preprocessing.max_pixels)
    return ReadImage(
        pixels=fit(decoded.image, preprocessing),
        width=decoded.image.width,
        height=decoded.image.height,
        sha256=pixels_sha256(decoded.image),
        note=decoded.note,
    )


def decode(data: bytes, max_pixels: int) -> DecodedImage:
    """Decodes an image file to upright 8-bit RGB at its full size.

    Animated and multi-page files give their first frame, transparency is laid on white, 16-bit values keep their
    upper 8 bits, EXIF orientation is applied.

    Args:
        data: the bytes of an image file.
        max_pixels: larger images are refused before their pixels are decoded.

    Returns:
        The image and a note.

    Raises:
        DataError: empty, truncated, damaged, too large, of an unknown format, or of a kind without a fixed range
            of values; the message starts with `unreadable: `.
    """
    if not data:
        raise DataError("unreadable: the file is empty")
    Image.init()  # without it, `formats` finds only the five plug-ins Pillow loads first
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as opened:
            if opened.width * opened.height > max_pixels:
                raise DataError(
                    f"unreadable: {opened.width} x {opened.height} pixels are more than max_pixels ({max_pixels}): "
                    "shrink the image or raise preprocess.max_pixels"
                )
            frames = int(getattr(opened, "n_frames", 1))
            opened.load()
            adobe = "adobe" in opened.info or opened.format != "JPEG"
            orientation = opened.getexif().get(_ORIENTATION, 1)
            upright = ImageOps.exif_transpose(opened)
            image, notes = _to_rgb(upright, adobe)
    except UnidentifiedImageError as error:
        raise DataError(f"unreadable: not an image of a known format ({', '.join(_FORMATS)})") from error
    except _DECODER_ERRORS as error:
        raise DataError(f"unreadable: {one_line(error)}") from error
    if frames > 1:
        notes.insert(0, f"first of {frames} frames")
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        notes.append(f"EXIF orientation {orientation}")
    return DecodedImage(image, ", ".join(notes))


def fit(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resizes an image to fit a square, keeping its aspect, and pads the rest evenly on both sides.

    The filter is Lanczos with antialiasing, in Pillow's integer arithmetic: the same bytes on every machine.

    Args:
        image: RGB.
        preprocessing: side of the square and grey level of the padding.

    Returns:
        uint8, shape (S, S, 3).
    """
    side = preprocessing.image_size
    longer = max(image.width, image.height)
    size = (max(1, round(image.width * side / longer)), max(1, round(image.height * side / longer)))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    square = np.full((side, side, 3), preprocessing.pad_value, dtype=np.uint8)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = np.asarray(image)
    return square


def pixels_sha256(image: Image.Image) -> str:
    """sha256 of an RGB image's size and pixels, 64 hex digits; metadata and encoding do not matter."""
    return hashlib.sha256(f"{image.width}x{image.height}\0".encode() + image.tobytes()).hexdigest()


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
        return image.convert("RGB"), []
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered.convert("RGB"), []
    white = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(white, layered).convert("RGB"), ["alpha on white"]
