"""From the colours an image file means to sRGB: ICC profiles of RGB, ink and grey, gamma and primaries of a PNG.

sRGB is what screens and pretrained weights expect: phones write Display P3, whose values read as sRGB are up to 74 of
255 levels off. A profile of RGB values is applied after resizing, to fewer pixels; ink, grey and gamma at once.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

PROFILE_CONVERTED = "colour profile to sRGB"
PROFILE_IGNORED = "colour profile ignored"
_AS_SRGB: Final = 3  # levels of 255 within which a profile counts as sRGB itself; there are many writings of it
_CUBE_SIDES: Final = {"RGB": 9, "CMYK": 5, "L": 256}  # of the cube of colours a profile is tried on, by mode
_SPACES: Final = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}  # Pillow's mode for a profile's colour space
_DISPLAY_GAMMA: Final = 2.2
_INSIGNIFICANT: Final = 0.05  # libpng's PNG_GAMMA_THRESHOLD: a smaller difference is not corrected
_SRGB: Final = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # x and y of white and the primaries (IEC 61966-2-1)
_SAME_PRIMARIES: Final = 0.01
_LEAST_GAMMA: Final = 1 / 255  # that an ICC curve can hold
_D50: Final = np.array([0.9642, 1.0, 0.8249])
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_note(profile: bytes) -> str:
    """What there is to say of an ICC profile of RGB values; empty where it is sRGB, or there is none (no bytes).

    `PROFILE_CONVERTED` where `to_srgb` applies it, `PROFILE_IGNORED` where it is damaged or is not one of RGB values.
    """
    if not profile:
        return ""
    known = _build_transform(profile)
    if known is None or known.mode != "RGB":
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
    return image if known is None or known.mode != "RGB" or known.is_srgb else known.transform.apply(image)


def ink_to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """Ink as RGB: through its profile, or by the plain formula where there is none that fits.

    Args:
        image: CMYK, 255 is full ink.
        profile: the bytes of an ICC profile; empty for none.

    Returns:
        The image, and what there is to say of the profile.
    """
    known = _build_transform(profile) if profile else None
    if known is not None and known.mode == "CMYK":
        return known.transform.apply(image), PROFILE_CONVERTED
    return image.convert("RGB"), PROFILE_IGNORED if profile else ""


def grey_to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """Grey as RGB: through its profile where that is one of grey values and not sRGB's curve.

    Args:
        image: 8-bit grey (mode L).
        profile: the bytes of an ICC profile; empty for none. One of RGB values tells nothing of grey.

    Returns:
        The image, and what there is to say of the profile.
    """
    known = _build_transform(profile) if profile else None
    if known is not None and known.mode == "L" and not known.is_srgb:
        return known.transform.apply(image), PROFILE_CONVERTED
    return image.convert("RGB"), ""


def gamma_to_srgb(image: Image.Image, gamma: object) -> tuple[Image.Image, str]:
    """Applies the gamma that a PNG states (chunk gAMA), as PNG (third edition), section 13.13, asks of a decoder.

    The value shown is sample ** (1 / (gamma * 2.2)). A gamma of 1 / 2.2 is what sRGB writes; one within 5 % of it is
    not corrected, as in libpng.

    Args:
        image: RGB.
        gamma: of the file, a number above 0; anything else counts as none.

    Returns:
        The image, and what there is to say; empty where nothing was done.
    """
    if not isinstance(gamma, float | int) or not 0 < gamma < 100 or abs(gamma * _DISPLAY_GAMMA - 1) <= _INSIGNIFICANT:
        return image, ""
    shown = np.linspace(0, 1, 256) ** (1 / (gamma * _DISPLAY_GAMMA))
    return image.point((255 * shown).round().astype(int).tolist() * 3), f"gamma {gamma:g} to sRGB"


def profile_of_primaries(primaries: object, gamma: object) -> bytes:
    """The ICC profile of the primaries and the gamma that a PNG states (chunks cHRM and gAMA).

    Adapted to D50 by the matrix of Bradford, as ICC.1:2022, annex E, asks. As in browsers, primaries count beside a
    gamma only.

    Args:
        primaries: x and y of white, red, green and blue; anything else counts as none.
        gamma: of the file, a number above 0.

    Returns:
        The profile; no bytes where the primaries are those of sRGB, or none.
    """
    if not isinstance(primaries, tuple) or not isinstance(gamma, float | int) or not _LEAST_GAMMA <= gamma <= 100:
        return b""
    x, y = np.reshape(primaries, (4, 2)).T
    if y.min() <= 0 or np.abs(np.subtract(primaries, _SRGB)).max() <= _SAME_PRIMARIES:
        return b""
    white, *columns = np.stack([x / y, np.ones(4), (1 - x - y) / y], axis=1)
    matrix = np.transpose(columns)
    if abs(np.linalg.det(matrix)) < _SAME_PRIMARIES:
        return b""
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD @ matrix
    xyz = [
        b"XYZ " + bytes(4) + struct.pack(">3i", *np.rint(c * 65536).astype(int))
        for c in [_D50, *(adapted * np.linalg.solve(matrix, white)).T]
    ]
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(256 / gamma))
    tags = dict(zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), xyz, strict=True)) | dict.fromkeys(
        (b"rTRC", b"gTRC", b"bTRC"), curve
    )
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    header = struct.pack(">I4xI12s12x4s28x", at + len(body), 0x02400000, b"mntrRGB XYZ ", b"acsp") + xyz[0][8:]
    return header.ljust(128, b"\0") + table + body


@dataclass(frozen=True)
class _Profile:
    """A transform to sRGB, the mode of what it takes, and whether it changes next to nothing."""

    transform: "ImageCmsTransform"
    mode: str
    is_srgb: bool


@lru_cache(maxsize=32)  # building one takes milliseconds, and photographs of one camera share theirs
def _build_transform(profile: bytes) -> _Profile | None:
    """How a profile is applied; None where it is damaged, or of values that Pillow has no mode for."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = _SPACES.get(opened.profile.xcolor_space.strip(), "")
        if not mode:
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
        cube = _cube(mode)
        tried = np.asarray(transform.apply(cube))
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):  # what Pillow raises for what is no profile
        return None
    largest = np.abs(tried.astype(np.int16) - np.asarray(cube.convert("RGB")).astype(np.int16)).max()
    return _Profile(transform, mode, bool(largest <= _AS_SRGB))


def _cube(mode: str) -> Image.Image:
    """Colours from all over the range of a mode, as one picture."""
    levels = np.linspace(0, 255, _CUBE_SIDES[mode]).astype(np.uint8)
    bands = np.meshgrid(*[levels] * Image.getmodebands(mode))
    values = np.stack(bands, axis=-1).reshape(len(levels), -1, len(bands))
    return Image.fromarray(values[..., 0] if mode == "L" else np.ascontiguousarray(values), mode)
