import hashlib
import io
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.data.colour import PROFILE_CONVERTED, PROFILE_IGNORED, to_srgb
from podium.data.decode import DecodedImage, decode
from podium.data.preprocess import Region, crop, crop_file, pad, read_image, resize
from tests.damage import damaged, no_longer_than
from tests.data.hard_images import READABLE, SIZED, UNREADABLE, Readable, Sized, Unreadable
from tests.data.image_files import HEIGHT, WIDTH, closed, encoded, jpeg, multi_picture, oriented, scene, textured

SMALL = Preprocessing(image_size=12, pad_value=114, max_pixels=1_000_000)


def shown(decoded: DecodedImage) -> Image.Image:
    """The image with its profile applied."""
    return to_srgb(decoded.image, decoded.profile) if decoded.profile else decoded.image


def square(pixels: NDArray[np.uint8], how: Preprocessing = SMALL) -> NDArray[np.uint8]:
    """The pixels as a model sees them."""
    return pad(resize(pixels, how), how.image_size)


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case.name)
def test_hard_files_show_the_right_picture_and_say_what_was_done(case: Readable) -> None:
    decoded = decode(case.make(), 10_000)

    pixels = np.asarray(shown(decoded)).astype(int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels[HEIGHT // 2, WIDTH // 4] - case.left).max() <= case.tolerance
    assert np.abs(pixels[HEIGHT // 2, 3 * WIDTH // 4] - case.right).max() <= case.tolerance
    assert decoded.note == case.note


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: case.name)
def test_files_that_cannot_be_read_faithfully_are_refused_with_a_reason(case: Unreadable) -> None:
    with pytest.raises(DataError, match=r"^unreadable: ") as raised:
        read_image(case.make(), SMALL)

    assert case.reason in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("case", SIZED, ids=lambda case: case.name)
def test_odd_sizes_are_read_and_keep_a_row_and_a_column(case: Sized) -> None:
    read = read_image(encoded(Image.new("RGB", case.size, (10, 20, 30)), "PNG"), SMALL)

    assert (read.width, read.height) == case.size
    rows, columns = np.nonzero((read.pixels == (10, 20, 30)).all(axis=2))
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == case.content


WHOLE_JPEGS = {
    "a photograph": textured(),
    "progressive": textured(progressive=True),
    "ends in the grey decoders fill in": textured(bottom=128),
    "the same, progressive": textured(bottom=128, progressive=True),
    "all of it that grey": jpeg(Image.new("RGB", (64, 64), (128, 128, 128))),
    "a flat end that is coded as zeros": textured(bottom=255, optimize=True),
    "a large flat end that is coded as zeros": encoded(Image.new("L", (1500, 1500), 255), "JPEG", optimize=True),
    "zeros between its data and its end marker": textured()[:-2] + bytes(200) + textured()[-2:],
    "bytes behind its end marker": textured() + b"more" * 99,
    "a preview and a second picture": multi_picture(),
}


@pytest.mark.parametrize("data", WHOLE_JPEGS.values(), ids=WHOLE_JPEGS)
@pytest.mark.parametrize("least", [None, 32])
def test_a_whole_jpeg_is_never_taken_for_a_cut_one(data: bytes, least: int | None) -> None:
    expected = Image.open(io.BytesIO(data)).convert("RGB")

    assert decode(data, 10**7, least).image.size[0] > 0
    np.testing.assert_array_equal(np.asarray(decode(data, 10**7).image), np.asarray(expected))


@pytest.mark.parametrize("least", [32, 64])
def test_a_cut_jpeg_is_found_at_a_reduced_size_too(least: int) -> None:
    with pytest.raises(DataError, match="the end of its pixels is missing"):
        decode(closed(textured(), 0.7), 10**7, least)


def heic() -> bytes:
    """The scene as a phone stores it."""
    from pillow_heif import from_pillow

    out = io.BytesIO()
    large = scene().resize((WIDTH * 4, HEIGHT * 4), Image.Resampling.NEAREST)
    from_pillow(large).save(out, quality=95)
    return out.getvalue()


def test_heic_is_read_with_its_extra() -> None:
    decoded = decode(heic(), 10**6)

    pixels = np.asarray(shown(decoded)).astype(int)
    assert pixels.shape == (HEIGHT * 4, WIDTH * 4, 3)
    assert np.abs(pixels[32, 24] - (220, 30, 30)).max() <= 12 and np.abs(pixels[32, 72] - (30, 30, 220)).max() <= 12


def test_heic_without_the_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    with pytest.raises(DataError, match=r"^unreadable: HEIC, which needs the extra `heif`: pip install .*\[heif\]"):
        decode(data, 10**6)


def test_an_image_with_too_many_pixels_is_refused_before_they_are_decoded() -> None:
    with pytest.raises(DataError, match=r"24 x 16 pixels are more than max_pixels \(383\)"):
        decode(jpeg(), WIDTH * HEIGHT - 1)
    assert decode(jpeg(), WIDTH * HEIGHT).image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((24, 16), (0, 2, 12, 10)),  # wide: bars above and below
        ((16, 24), (2, 0, 10, 12)),  # tall: bars at the sides
        ((6, 6), (0, 0, 12, 12)),  # smaller than the square: made larger
        ((1, 1), (0, 0, 12, 12)),  # a single pixel
        ((1, 500), (5, 0, 6, 12)),  # so thin that its width would round to nothing
        ((500, 1), (0, 5, 12, 6)),
        ((24, 13), (0, 3, 12, 9)),  # an odd rest: one row more below than above
    ],
)
def test_fit_keeps_the_aspect_and_pads_evenly(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    pixels = square(np.asarray(Image.new("RGB", size, (10, 20, 30))))

    left, top, right, bottom = box
    expected = np.full((12, 12, 3), 114, dtype=np.uint8)
    expected[top:bottom, left:right] = (10, 20, 30)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)

    np.testing.assert_array_equal(square(pixels), pixels)


def test_width_and_height_are_those_after_turning() -> None:
    read = read_image(oriented(6), SMALL)

    assert (read.width, read.height) == (WIDTH, HEIGHT)
    assert read.pixels.shape == (12, 12, 3)


def test_the_digest_is_of_the_decoded_pixels_not_of_the_file() -> None:
    png, bmp = encoded(scene(), "PNG"), encoded(scene(), "BMP")

    assert read_image(png, SMALL).sha256 == read_image(bmp, SMALL).sha256
    assert read_image(png, SMALL).sha256 == hashlib.sha256(b"24x16\0" + scene().tobytes()).hexdigest()


def test_the_digest_tells_shapes_apart() -> None:
    wide, tall = (encoded(Image.new("RGB", size, "red"), "PNG") for size in ((8, 2), (2, 8)))

    assert read_image(wide, SMALL).sha256 != read_image(tall, SMALL).sha256


def test_the_same_file_gives_the_same_pixels_each_time() -> None:
    rng = np.random.default_rng(1)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (67, 91, 3), dtype=np.uint8)).save(out, "JPEG")

    first, second = read_image(out.getvalue(), SMALL), read_image(out.getvalue(), SMALL)

    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.sha256 == second.sha256


def photograph(width: int, height: int, format_: str = "JPEG") -> bytes:
    small = np.random.default_rng(2).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(out, format_, quality=95)
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1023, 600, (1023, 600)),  # 1/2 would leave less than 512
        (1024, 600, (512, 300)),
        (2050, 1000, (513, 250)),
        (600, 5000, (75, 625)),
        (8000, 2, (4000, 1)),  # a side of less than a pixel does not exist
    ],
)
def test_a_large_jpeg_is_decoded_at_a_reduced_size_and_keeps_its_width_and_height(
    width: int, height: int, size: tuple[int, int]
) -> None:
    decoded = decode(photograph(width, height), 10**8, 512)

    assert decoded.image.size == size
    assert (decoded.width, decoded.height) == (width, height)
    assert decode(photograph(width, height), 10**8).image.size == (width, height)


def test_a_reduced_decode_shows_the_same_picture() -> None:
    how = Preprocessing(image_size=64, pad_value=114, max_pixels=10**8)
    reduced, full = read_image(photograph(2400, 1800), how), read_image(photograph(2400, 1800, "PNG"), how)

    assert np.abs(reduced.pixels.astype(int) - full.pixels.astype(int)).max() <= 12
    assert (reduced.width, reduced.height) == (2400, 1800)


def test_corners_fill_the_rest_with_the_median_of_the_four_corner_colours() -> None:
    pixels = np.full((6, 12, 3), 50, np.uint8)
    pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1] = (10, 0, 0), (20, 0, 0), (30, 0, 90), (200, 0, 90)

    cornered = square(pixels, SMALL.model_copy(update={"fill": "corners"}))

    assert cornered[0, 0].tolist() == [25, 0, 45]
    np.testing.assert_array_equal(cornered[3:9], pixels)


def test_a_cropped_file_is_the_part_of_the_upright_photograph() -> None:
    file = crop_file(oriented(6), (0.5, 0.0, 1.0, 1.0), 10**6)

    upright = np.asarray(decode(oriented(6), 10**6).image)
    np.testing.assert_array_equal(np.asarray(decode(file, 10**6).image), upright[:, WIDTH // 2 :])
    assert crop_file(oriented(6), (0.0, 0.0, 1.0, 1.0), 10**6) == oriented(6)


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

    pixel = np.asarray(shown(decoded))[0, 0].astype(int)
    assert np.abs(pixel - (100, 200, 50)).max() <= 3
    assert decoded.note == PROFILE_CONVERTED


def test_srgb_itself_changes_no_pixel() -> None:
    decoded = decode(png(PATCH, SRGB), 1000)

    assert np.asarray(shown(decoded))[0, 0].tolist() == [200, 100, 50]
    assert decoded.note == ""


@pytest.mark.parametrize("profile", [b"garbage", SRGB[:200], LAB], ids=["garbage", "cut off", "of other values"])
def test_a_profile_that_does_not_fit_is_ignored_with_a_note(profile: bytes) -> None:
    decoded = decode(png(PATCH, profile), 1000)

    assert np.asarray(shown(decoded))[0, 0].tolist() == [200, 100, 50]
    assert decoded.note == PROFILE_IGNORED


def test_a_crop_handed_on_as_a_file_is_read_with_the_photographs_colours() -> None:
    photograph = png(PATCH, swapped_primaries())
    how = Preprocessing(image_size=8, pad_value=0, max_pixels=1000)
    left: Region = (0.0, 0.0, 0.5, 1.0)

    read = read_image(crop_file(photograph, left, how.max_pixels), how)

    decoded = decode(photograph, how.max_pixels)
    made = resize(crop(np.asarray(decoded.image), left), how, decoded.profile)
    np.testing.assert_array_equal(read.pixels, pad(made, how.image_size))
    assert np.abs(read.pixels[4, 4].astype(int) - (100, 200, 50)).max() <= 3


def test_the_same_values_under_another_profile_are_another_image() -> None:
    how = Preprocessing(image_size=8, pad_value=0, max_pixels=1000)

    def sha256(profile: bytes) -> str:
        return read_image(png(PATCH, profile), how).sha256

    assert sha256(SRGB) == sha256(b"") == sha256(b"garbage")
    assert sha256(swapped_primaries()) != sha256(SRGB)


HOW = Preprocessing(image_size=12, pad_value=114, max_pixels=1_000_000)
FILES = [case.make() for case in (*READABLE, *UNREADABLE) if case.name != "empty file"]
SIGNATURES = [b"", *{file[:24] for file in FILES}]


def read_or_refused(data: bytes) -> None:
    try:
        with no_longer_than(20), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata makes Pillow warn
            pixels = read_image(data, HOW).pixels
    except DataError as error:
        assert str(error).startswith("unreadable: ")
        assert "\n" not in str(error)
        assert str(error).encode()
    else:
        assert pixels.shape == (12, 12, 3) and pixels.dtype == np.uint8


@settings(max_examples=150)
@given(st.sampled_from(sorted(SIGNATURES)), st.binary(max_size=400))
def test_random_bytes_behind_any_signature_are_refused(signature: bytes, rest: bytes) -> None:
    read_or_refused(signature + rest)


@settings(max_examples=400)
@given(damaged(FILES))
def test_a_damaged_image_is_read_or_refused(data: bytes) -> None:
    read_or_refused(data)
