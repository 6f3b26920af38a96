import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from podium.data import colour
from podium.data.canvas import centred, content
from podium.data.images import cropped_file, decode, read_image
from podium.data.steps import Region, cropped
from podium.records.preprocess import Preprocessing


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

    pixel = np.asarray(decoded.srgb)[0, 0].astype(int)
    assert np.abs(pixel - (100, 200, 50)).max() <= 3
    assert decoded.note == colour.CONVERTED


def test_srgb_itself_changes_no_pixel() -> None:
    decoded = decode(png(PATCH, SRGB), 1000)

    assert np.asarray(decoded.srgb)[0, 0].tolist() == [200, 100, 50]
    assert decoded.note == ""


@pytest.mark.parametrize("profile", [b"garbage", SRGB[:200], LAB], ids=["garbage", "cut off", "of other values"])
def test_a_profile_that_does_not_fit_is_ignored_with_a_note(profile: bytes) -> None:
    decoded = decode(png(PATCH, profile), 1000)

    assert np.asarray(decoded.srgb)[0, 0].tolist() == [200, 100, 50]
    assert decoded.note == colour.IGNORED


def test_a_crop_handed_on_as_a_file_is_read_with_the_photographs_colours() -> None:
    photograph = png(PATCH, swapped_primaries())
    how = Preprocessing(image_size=4, pad_value=0, max_pixels=1000)
    left: Region = (0.0, 0.0, 0.5, 1.0)

    read = read_image(cropped_file(photograph, left, how.max_pixels), how)

    decoded = decode(photograph, how.max_pixels)
    made = content(cropped(np.asarray(decoded.image), left), how, decoded.profile)
    np.testing.assert_array_equal(read.pixels, centred(made, how.image_size))
    assert np.abs(read.pixels[0, 1].astype(int) - (100, 200, 50)).max() <= 3


def test_the_same_values_under_another_profile_are_another_image() -> None:
    how = Preprocessing(image_size=4, pad_value=0, max_pixels=1000)

    def sha256(profile: bytes) -> str:
        return read_image(png(PATCH, profile), how).sha256

    assert sha256(SRGB) == sha256(b"") == sha256(b"garbage")
    assert sha256(swapped_primaries()) != sha256(SRGB)
