"""Colours of a photograph with an ICC profile, brought to sRGB, which is what screens and pretrained weights expect.

Phones write Display P3: read as sRGB, its values are up to 74 of 255 levels off. Depends on Pillow's ImageCms (Little
CMS), imported on use.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

CONVERTED = "colour profile to sRGB"
IGNORED = "colour profile ignored"
_AS_SRGB = 3  # levels of 255 within which a profile counts as sRGB itself; there are many writings of it
_STEPS = 9  # a side of the cube of colours a profile is tried on


def note(profile: bytes) -> str:
    """What there is to say of an ICC profile of RGB values; empty where it is sRGB, or there is none (no bytes).

    `CONVERTED` where `to_srgb` applies it, `IGNORED` where it is damaged or is not one of RGB values.
    """
    if not profile:
        return ""
    known = _transform(profile)
    if known is None:
        return IGNORED
    return "" if known.is_srgb else CONVERTED


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Applies a profile for which `note` says `CONVERTED`; others leave the image as it is.

    Args:
        image: RGB.
        profile: the bytes of an ICC profile.

    Returns:
        The image in sRGB.
    """
    known = _transform(profile)
    return image if known is None or known.is_srgb else known.transform.apply(image)


@dataclass(frozen=True)
class _Known:
    """A transform, and whether it changes next to nothing."""

    transform: "ImageCmsTransform"
    is_srgb: bool


@lru_cache(maxsize=32)  # building one takes milliseconds, and photographs of one camera share theirs
def _transform(profile: bytes) -> _Known | None:
    """How a profile is applied; None where it is damaged or is not one of RGB values."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        if opened.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
        levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_STEPS, -1, 3)
        tried = np.asarray(transform.apply(Image.fromarray(cube)))
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):  # what Pillow raises for what is no profile
        return None
    largest = np.abs(tried.astype(np.int16) - cube.astype(np.int16)).max()
    return _Known(transform, bool(largest <= _AS_SRGB))
