import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from podium.core.errors import DataError
from podium.core.records.preprocess import Preprocessing
from podium.data.images import decode, fit, read_image
from tests.data.hard_images import (
    HEIGHT,
    READABLE,
    UNREADABLE,
    WIDTH,
    Readable,
    Unreadable,
    encoded,
    jpeg,
    oriented,
    scene,
)

SMALL = Preprocessing(image_size=12, pad_value=114, max_pixels=1_000_000)
FILES = [case.make() for case in READABLE]


@pytest.mark.parametrize("case", READABLE, ids=lambda case: case.name)
def test_hard_files_show_the_right_picture_and_say_what_was_done(case: Readable) -> None:
    decoded = decode(case.make(), 10_000)

    pixels = np.asarray(decoded.image).astype(int)
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
    pixels = fit(Image.new("RGB", size, (10, 20, 30)), SMALL)

    left, top, right, bottom = box
    expected = np.full((12, 12, 3), 114, dtype=np.uint8)
    expected[top:bottom, left:right] = (10, 20, 30)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)

    np.testing.assert_array_equal(fit(Image.fromarray(pixels), SMALL), pixels)


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


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(DataError, match="^unreadable: "):
        read_image(data, SMALL)


@settings(max_examples=250, deadline=None)
@given(
    file=st.sampled_from(FILES),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8),
    kept=st.floats(0.2, 1),
)
@pytest.mark.filterwarnings("ignore")  # damaged metadata makes Pillow warn
def test_damaged_files_are_read_or_refused_and_never_crash(
    file: bytes, changes: list[tuple[int, int]], kept: float
) -> None:
    damaged = bytearray(file)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        pixels = read_image(bytes(damaged[: int(len(damaged) * kept)]), SMALL).pixels
    except DataError as error:
        assert str(error).startswith("unreadable: ")
    else:
        assert pixels.shape == (12, 12, 3)


def test_the_same_file_gives_the_same_pixels_each_time() -> None:
    rng = np.random.default_rng(1)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (67, 91, 3), dtype=np.uint8)).save(out, "JPEG")

    first, second = read_image(out.getvalue(), SMALL), read_image(out.getvalue(), SMALL)

    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.sha256 == second.sha256
