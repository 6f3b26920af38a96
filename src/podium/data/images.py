"""From the bytes of an image file to the pixels a model sees; training and serving both come through here.

Rule: what cannot be read faithfully is refused with a reason, and what had to be done to read it is said in `note`.
Depends on Pillow, NumPy and `podium.core` only, because the served model carries this module along; `canvas` makes the
square.
"""

import hashlib
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from podium.core.errors import DataError, one_line
from podium.data import colour
from podium.data.canvas import centred, content
from podium.data.steps import WHOLE, Region, cropped, crops
from podium.records.preprocess import Preprocessing

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
    """An original, decoded: an upright 8-bit RGB image, and what was done to read it (empty for a plain file).

    `width` and `height` are those of the original after EXIF orientation; `image` is smaller where it was decoded at a
    reduced size. Its colours are sRGB once `profile` is applied, an ICC profile; it is empty where they are already.
    """

    image: Image.Image
    width: int
    height: int
    note: str
    profile: bytes

    @property
    def srgb(self) -> Image.Image:
        """The image with its profile applied."""
        return colour.to_srgb(self.image, self.profile) if self.profile else self.image


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
        pixels=centred(content(pixels, preprocessing, decoded.profile), preprocessing.image_size),
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
    return None if crops(preprocessing.steps) else max(2 * preprocessing.image_size, _LEAST_REDUCED)


def decode(data: bytes, max_pixels: int, least: int | None = None) -> DecodedImage:
    """Decodes an image file to upright 8-bit RGB.

    Animated and multi-page files give their first frame, transparency is laid on white, 16-bit values keep their
    upper 8 bits, EXIF orientation is applied. A colour profile is handed on: `content` applies it to fewer pixels.

    Args:
        data: the bytes of an image file.
        max_pixels: larger images are refused before their pixels are decoded.
        least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size if its longer side keeps this many pixels; None
            decodes at full size.

    Returns:
        The image, the size of the original, a note, and the profile to apply.

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
            profile = (opened.info.get("icc_profile") or b"") if opened.mode in _RGB else b""
            said = colour.note(profile)
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
    return DecodedImage(image, width, height, ", ".join(notes), profile if said == colour.CONVERTED else b"")


def cropped_file(data: bytes, region: Region, max_pixels: int) -> bytes:
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
    part = cropped(np.asarray(decoded.image), region)
    out = BytesIO()
    image = Image.fromarray(np.ascontiguousarray(part))
    if decoded.profile:  # Pillow reads no PNG with a profile of more than 1 MiB
        image.save(out, "TIFF", compression="tiff_deflate", icc_profile=decoded.profile)
    else:
        image.save(out, "PNG")
    return out.getvalue()


def pixels_sha256(image: Image.Image | NDArray[np.uint8], profile: bytes = b"") -> str:
    """sha256 of an RGB image's size, pixels and the ICC profile they need, if any: 64 hex digits.

    Other metadata and the encoding do not matter.
    """
    pixels = np.ascontiguousarray(image)
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\0".encode())
    digest.update(pixels.data)
    digest.update(profile)
    return digest.hexdigest()


def _reduce(opened: Image.Image, least: int) -> None:
    """Has libjpeg decode 1/2, 1/4 or 1/8 of the pixels a side, the smallest that leaves `least` on the longer side."""
    longer = max(opened.size)
    for scale in (8, 4, 2):
        if longer >= least * scale:
            opened.draft(None, (max(1, opened.width // scale), max(1, opened.height // scale)))
            return


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
