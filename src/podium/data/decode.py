"""From the bytes of an image file to upright 8-bit RGB pixels.

Rule: what cannot be read faithfully is refused with a reason, and what had to be done to read it is said in `note`.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from podium.core.errors import DataError, one_line
from podium.data.colour import (
    PROFILE_CONVERTED,
    gamma_to_srgb,
    grey_to_srgb,
    ink_to_srgb,
    profile_note,
    profile_of_primaries,
)
from podium.data.file_kinds import HEIF_EXTRA, is_heif, recognise, register_heif
from podium.data.jpeg import find_damage

# Formats with a signature at the start and a decoder inside Pillow: no plug-in that runs another program (EPS) or
# that takes nearly any bytes for an image (TGA).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_WORD = 16  # bits
_DEPTHS = (8, 10, 12, 14, _WORD)  # bits that cameras and scanners store in 16
_IN_UPPER_BYTE = 64  # a value of 15 or 16 bits reaches it
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH = 24  # place of the bits a sample
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281  # TIFF tags
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

    Animated and multi-page files give their first frame, transparency is laid on white, EXIF orientation is applied.
    A colour profile of RGB values is handed on: `resize` applies it to fewer pixels; one of ink or grey, and the gamma
    of a PNG without other primaries, are applied here. 16-bit values keep their upper 8 bits, counted from the bits
    that are in use: the fewest of 8, 10, 12, 14 and 16 that hold the largest value, but not fewer than the file
    declares (sBIT of a PNG, MaxSampleValue or 12 BitsPerSample of a TIFF).

    Args:
        data: the bytes of an image file.
        max_pixels: larger images are refused before their pixels are decoded.
        least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size if its longer side keeps this many pixels.

    Returns:
        The image, the size of the original, a note, and the profile to apply.

    Raises:
        DataError: empty, truncated, damaged, too large, of an unknown format, or without a fixed range of values.
    """
    if not data:
        raise DataError("unreadable: the file is empty")
    Image.init()  # without it, `formats` finds only the five plug-ins Pillow loads first
    try:
        with _open(data) as opened:
            width, height = opened.size
            _require_at_most(max_pixels, width, height)
            frames = int(getattr(opened, "n_frames", 1))
            if opened.format == "JPEG" and least is not None:
                _reduce(opened, least)
            opened.load()
            if opened.format in ("JPEG", "MPO"):
                _require_whole(data, opened, least)
            orientation = _orientation(opened)
            picture, notes = _with_all_bits(opened, data)
            upright = _turned(picture, orientation) if orientation != _UPRIGHT else picture
            image, done, profile = _to_rgb(upright, opened)
            notes += done
    except UnidentifiedImageError as error:
        raise DataError(f"unreadable: {_not_an_image(data)}") from error
    except _DECODER_ERRORS as error:
        raise DataError(f"unreadable: {one_line(error)}") from error
    if frames > 1:
        notes.insert(0, f"first of {frames} frames")
    if orientation != _UPRIGHT:
        notes.append(f"EXIF orientation {orientation}")
        if orientation >= _ON_ITS_SIDE:
            width, height = height, width
    return DecodedImage(image, width, height, ", ".join(notes), profile)


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


def _open(data: bytes) -> Image.Image:
    """The file, opened; HEIC by the extra `heif`.

    Raises:
        UnidentifiedImageError: it is of no format that is read.
        DataError: it is HEIC, and the extra is missing.
    """
    try:
        return Image.open(BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        if not is_heif(data):
            raise
    if not register_heif():
        raise DataError(f"unreadable: {HEIF_EXTRA}")
    return Image.open(BytesIO(data), formats=("HEIF",))


def _not_an_image(data: bytes) -> str:
    """What a file is that no decoder takes."""
    kind = recognise(data)
    return str(kind) if kind else f"not an image of a known format ({', '.join(_FORMATS)})"


def _require_whole(data: bytes, opened: Image.Image, least: int | None) -> None:
    """Refuses a JPEG of which a part is missing that the decoder filled in."""
    lacks = find_damage(data, opened, partial(_pixels, opened.format or "", least))
    if lacks:
        raise DataError(f"unreadable: {lacks}")


def _pixels(form: str, least: int | None, data: bytes) -> bytes:
    """The pixels of a JPEG as its decoder gives them."""
    with Image.open(BytesIO(data), formats=("JPEG", "MPO")) as again:
        if form == "JPEG" and least is not None:
            _reduce(again, least)
        return again.tobytes()


def _with_all_bits(opened: Image.Image, data: bytes) -> tuple[Image.Image, list[str]]:
    """The loaded image with 8 bits a channel, and what was done; what has 8 already stays as it is.

    Pillow keeps the upper bytes of 16-bit colours, which leaves next to nothing of 12 bits. OpenCV reads them whole.
    """
    if opened.mode in _SIXTEEN_BIT:
        values = np.asarray(opened).astype(np.uint16)
        bits = _bits_in_use(values, opened, data)
        eight = (values >> (bits - 8)).astype(np.uint8)  # convert("L") would clip at 255
        return Image.fromarray(eight), [f"{_WORD} bits to 8" if bits == _WORD else f"{bits} of {_WORD} bits to 8"]
    if opened.mode == "I" and opened.format == "PPM":  # Pillow stretches a PGM of any depth to 16 bits
        return Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8)), [f"{_WORD} bits to 8"]
    if opened.mode not in ("RGB", "RGBA", "LA") or not _is_deep(opened, data):
        return opened, []
    if np.asarray(opened.convert("RGB")).max() >= _IN_UPPER_BYTE:
        return opened, []
    import cv2

    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.shape[:2] != (opened.height, opened.width) or read.ndim != 3:
        raise DataError(f"unreadable: {_WORD}-bit colours in a form that is not read: save it with 8 bits")
    whole: NDArray[np.uint16] = read.astype(np.uint16)
    bits = _bits_in_use(whole[..., :3], opened, data)
    if bits == _WORD:
        return opened, []
    colour = (whole[..., 2::-1] >> (bits - 8)).astype(np.uint8)  # OpenCV's order is blue, green, red
    eight = np.dstack([colour, (whole[..., 3] >> 8).astype(np.uint8)]) if whole.shape[2] == 4 else colour
    return Image.fromarray(np.ascontiguousarray(eight)), [f"{bits} of {_WORD} bits to 8"]


def _bits_in_use(values: NDArray[np.uint16], opened: Image.Image, data: bytes) -> int:
    """The fewest bits of `_DEPTHS` that hold the largest value and are not fewer than the file declares."""
    declared, largest = _declared_bits(opened, data), int(values.max())
    return next(bits for bits in _DEPTHS if bits >= declared and largest < 1 << bits)


def _declared_bits(opened: Image.Image, data: bytes) -> int:
    """How many bits a file says its samples have; 0 where it says nothing, or no more than that they are 16."""
    if opened.format == "PNG" and (at := data.find(b"sBIT", 33, data.find(b"IDAT"))) > 0:
        (size,) = struct.unpack_from(">I", data, at - 4)
        return min(max(data[at + 4 : at + 4 + min(size, 3)], default=0), _WORD)
    if opened.format == "TIFF":
        tags = opened.getexif()
        bits, most = _first(tags.get(_BITS_PER_SAMPLE)), _first(tags.get(_MAX_SAMPLE_VALUE))
        if 0 < most < 1 << _WORD:
            return most.bit_length()
        return bits if bits < _WORD else 0
    return 0


def _first(tag: object) -> int:
    """A number of a TIFF, the first of several; 0 for anything else."""
    found = tag[0] if isinstance(tag, tuple) and tag else tag
    return found if isinstance(found, int) else 0


def _is_deep(opened: Image.Image, data: bytes) -> bool:
    """Whether a file holds 16 bits a channel, of which Pillow gives the upper 8."""
    if opened.format == "PNG":
        return data.startswith(_PNG) and data[_PNG_DEPTH] == _WORD
    return opened.format == "TIFF" and _first(opened.getexif().get(_BITS_PER_SAMPLE)) == _WORD


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned upright; one that was made anew has no EXIF of its own."""
    image.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, opened: Image.Image) -> tuple[Image.Image, list[str], bytes]:
    """8-bit RGB, what had to be done, and the profile still to be applied; `opened` is the file the image came from."""
    profile: bytes = opened.info.get("icc_profile") or b""
    if image.mode in _NO_FIXED_RANGE:
        raise DataError(f"unreadable: pixel values of mode {image.mode} have no fixed range: convert to 8 or 16 bits")
    if image.mode == "CMYK":
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without the marker the values are plain ink.
        plain = opened.format == "JPEG" and "adobe" not in opened.info
        ink, said = ink_to_srgb(ImageChops.invert(image) if plain else image, profile)
        return ink, [note for note in ("CMYK without Adobe marker" if plain else "CMYK", said) if note], b""
    if image.mode == "L" and profile:
        grey, said = grey_to_srgb(image, profile)
        return grey, [said] if said else [], b""
    made, notes = _on_white(image)
    if opened.mode not in _RGB:
        profile = b""
    elif not profile and "srgb" not in opened.info:
        profile = profile_of_primaries(opened.info.get("chromaticity"), opened.info.get("gamma"))
    said = profile_note(profile)
    if not profile and "srgb" not in opened.info:
        made, said = gamma_to_srgb(made, opened.info.get("gamma"))
    return made, [*notes, said] if said else notes, profile if said == PROFILE_CONVERTED else b""


def _on_white(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """RGB with transparency laid on white, and what was done."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" and image.format == "JPEG" else image.convert("RGB"), []
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered.convert("RGB"), []
    white = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(white, layered).convert("RGB"), ["alpha on white"]
