"""From the bytes of an image file to upright 8-bit RGB pixels, and from their colour profile to sRGB.

Rule: what cannot be read faithfully is refused with a reason, and what had to be done to read it is said in `note`.
sRGB is what screens and pretrained weights expect: phones write Display P3, whose values read as sRGB are up to 74 of
255 levels off.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from podium.core.errors import DataError, one_line

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

PROFILE_CONVERTED = "colour profile to sRGB"
PROFILE_IGNORED = "colour profile ignored"
_AS_SRGB = 3  # levels of 255 within which a profile counts as sRGB itself; there are many writings of it
_CUBE_SIDE = 9  # of the cube of colours a profile is tried on
# Formats with a signature at the start and a decoder inside Pillow: no plug-in that runs another program (EPS) or
# that takes nearly any bytes for an image (TGA).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_NO_FIXED_RANGE = ("I", "F")
_RGB = ("RGB", "RGBA", "RGBX", "P", "PA")  # modes whose colours a profile of RGB values describes
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = 1
_ON_ITS_SIDE = 5  # this orientation and those above swap width and height
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


def decode(data: bytes, max_pixels: int, least: int | None = None) -> DecodedImage:
    """Decodes an image file to upright 8-bit RGB.

    Animated and multi-page files give their first frame, transparency is laid on white, 16-bit values keep their
    upper 8 bits, EXIF orientation is applied. A colour profile is handed on: `resize` applies it to fewer pixels.

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
            _require_at_most(max_pixels, width, height)
            frames = int(getattr(opened, "n_frames", 1))
            if opened.format == "JPEG" and least is not None:
                _reduce(opened, least)
            opened.load()
            orientation = _orientation(opened)
            upright = ImageOps.exif_transpose(opened) if orientation != _UPRIGHT else opened
            image, notes = _to_rgb(upright, "adobe" in opened.info or opened.format != "JPEG")
            profile = (opened.info.get("icc_profile") or b"") if opened.mode in _RGB else b""
            said = profile_note(profile)
            notes += [said] if said else []
    except UnidentifiedImageError as error:
        raise DataError(f"unreadable: not an image of a known format ({', '.join(_FORMATS)})") from error
    except _DECODER_ERRORS as error:
        raise DataError(f"unreadable: {one_line(error)}") from error
    if frames > 1:
        notes.insert(0, f"first of {frames} frames")
    if orientation != _UPRIGHT:
        notes.append(f"EXIF orientation {orientation}")
        if orientation >= _ON_ITS_SIDE:
            width, height = height, width
    return DecodedImage(image, width, height, ", ".join(notes), profile if said == PROFILE_CONVERTED else b"")


def pixels_sha256(image: Image.Image | NDArray[np.uint8], profile: bytes = b"") -> str:
    """sha256 of an RGB image's size, pixels and the ICC profile they need, if any: 64 hex digits.

    Other metadata and the encoding do not matter.
    """
    pixels = np.ascontiguousarray(image)
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\0".encode())
    digest.update(pixels.data)
    digest.update(profile)
    return digest.hexdigest()


def _require_at_most(max_pixels: int, width: int, height: int) -> None:
    """Refuses an image before its pixels are decoded."""
    if width * height > max_pixels:
        raise DataError(
            f"unreadable: {width} x {height} pixels are more than max_pixels ({max_pixels}): "
            "shrink the image or raise preprocess.max_pixels"
        )


def _orientation(opened: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; a value that means nothing counts as upright."""
    found = opened.getexif().get(_ORIENTATION, _UPRIGHT)
    return found if isinstance(found, int) and 2 <= found <= 8 else _UPRIGHT


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


def profile_note(profile: bytes) -> str:
    """What there is to say of an ICC profile of RGB values; empty where it is sRGB, or there is none (no bytes).

    `PROFILE_CONVERTED` where `to_srgb` applies it, `PROFILE_IGNORED` where it is damaged or is not one of RGB values.
    """
    if not profile:
        return ""
    known = _build_transform(profile)
    if known is None:
        return PROFILE_IGNORED
    return "" if known.is_srgb else PROFILE_CONVERTED


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Applies a profile for which `profile_note` says `PROFILE_CONVERTED`; others leave the image as it is.

    Args:
        image: RGB.
        profile: the bytes of an ICC profile.

    Returns:
        The image in sRGB.
    """
    known = _build_transform(profile)
    return image if known is None or known.is_srgb else known.transform.apply(image)


@dataclass(frozen=True)
class _Profile:
    """A transform, and whether it changes next to nothing."""

    transform: "ImageCmsTransform"
    is_srgb: bool


@lru_cache(maxsize=32)  # building one takes milliseconds, and photographs of one camera share theirs
def _build_transform(profile: bytes) -> _Profile | None:
    """How a profile is applied; None where it is damaged or is not one of RGB values."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        if opened.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        levels = np.linspace(0, 255, _CUBE_SIDE).astype(np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_CUBE_SIDE, -1, 3)
        tried = np.asarray(transform.apply(Image.fromarray(cube)))
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):  # what Pillow raises for what is no profile
        return None
    largest = np.abs(tried.astype(np.int16) - cube.astype(np.int16)).max()
    return _Profile(transform, bool(largest <= _AS_SRGB))
