"""From the colours an image file means to sRGB: ICC profiles of RGB, ink and grey, and the gamma of a PNG.

sRGB is what screens and pretrained weights expect: phones write Display P3, whose values read as sRGB are up to 74 of
255 levels off. A profile of RGB values is applied after resizing, to fewer pixels; ink, grey and gamma at once.
"""

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
