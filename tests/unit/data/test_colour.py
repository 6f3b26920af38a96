import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from podium.data import colour
from podium.data.images import decode


def png(image: Image.Image, profile: bytes) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", icc_profile=profile)
    return out.getvalue()


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
PATCH = Image.new("RGB", (4, 4), (200, 100, 50))


def swapped_primaries() -> bytes:
    """The sRGB profile with red and green primaries swapped: a wide gamut that is easy to tell."""
    swapped = SRGB.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")
    assert swapped != SRGB
    return swapped


def test_a_profile_is_applied_and_said() -> None:
    decoded = decode(png(PATCH, swapped_primaries()), 1000)

    pixel = np.asarray(decoded.image)[0, 0].astype(int)
    assert np.abs(pixel - (100, 200, 50)).max() <= 3
    assert decoded.note == colour.CONVERTED


def test_srgb_itself_changes_no_pixel() -> None:
    decoded = decode(png(PATCH, SRGB), 1000)

    assert np.asarray(decoded.image)[0, 0].tolist() == [200, 100, 50]
    assert decoded.note == ""


@pytest.mark.parametrize("profile", [b"garbage", SRGB[:200], LAB], ids=["garbage", "cut off", "of other values"])
def test_a_profile_that_does_not_fit_is_ignored_with_a_note(profile: bytes) -> None:
    decoded = decode(png(PATCH, profile), 1000)

    assert np.asarray(decoded.image)[0, 0].tolist() == [200, 100, 50]
    assert decoded.note == colour.IGNORED
