import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from podium.config.preprocess import Preprocess, Preprocessing, Step
from podium.data.preprocess import apply_crops, apply_steps, crop, needs_opencv

RNG = np.random.default_rng(0)
DULL = (100 + RNG.integers(0, 40, (40, 60, 3)) + np.linspace(0, 20, 60).astype(int)[:, None]).astype(np.uint8)


def steps(*given: dict[str, object]) -> list[Step]:
    return Preprocess.model_validate({"image_size": 32, "steps": given}).steps


def brightness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return pixels @ np.array([0.299, 0.587, 0.114])


def test_equalising_spreads_the_brightness_over_the_whole_range() -> None:
    for step in ({"step": "equalise"}, {"step": "clahe", "clip_limit": 40.0, "tiles": 1}):
        made = apply_steps(DULL, steps(step))
        assert np.ptp(brightness(DULL)) < 80
        assert np.ptp(brightness(made)) > 180


def test_denoising_takes_noise_away_and_keeps_edges() -> None:
    flat = np.full((40, 40, 3), 60, np.uint8)
    flat[:, 20:] = 200
    noisy = np.clip(flat.astype(int) + RNG.normal(0, 8, flat.shape), 0, 255).astype(np.uint8)
    for step in ({"step": "denoise"}, {"step": "denoise", "method": "non_local_means", "strength": 10.0}):
        made = apply_steps(noisy, steps(step))
        assert made[:, :15].std() < 0.6 * noisy[:, :15].std()
        assert made[:, 25:].mean() - made[:, :15].mean() > 130


def test_sharpening_raises_local_contrast() -> None:
    soft = np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[None, :, None], 30, 0).repeat(3, 2)
    soft[:, 20:] = np.maximum(soft[:, 20:], 180)
    made = apply_steps(soft, steps({"step": "sharpen", "amount": 1.0}))
    assert np.abs(np.diff(made.astype(int), axis=1)).max() > np.abs(np.diff(soft.astype(int), axis=1)).max()


def test_grey_has_three_equal_channels_and_hsv_puts_hue_first() -> None:
    grey = apply_steps(DULL, steps({"step": "grey"}))
    assert (grey[..., 0] == grey[..., 1]).all()
    assert np.abs(grey[..., 0] - brightness(DULL)).max() <= 1
    red = np.full((4, 4, 3), (200, 0, 0), np.uint8)
    assert apply_steps(red, steps({"step": "hsv"}))[0, 0].tolist() == [0, 255, 200]


def test_steps_are_made_in_their_order() -> None:
    one = apply_steps(DULL, steps({"step": "grey"}, {"step": "hsv"}))
    other = apply_steps(DULL, steps({"step": "hsv"}, {"step": "grey"}))
    assert (one[..., 0] == 0).all()
    assert not np.array_equal(one, other)


def test_crops_keep_fractions_of_the_image() -> None:
    pixels = np.arange(100 * 80 * 3, dtype=np.int64).reshape(80, 100, 3).astype(np.uint8)
    np.testing.assert_array_equal(
        apply_crops(pixels, steps({"step": "centre_crop", "share": 0.5})), pixels[20:60, 25:75]
    )
    np.testing.assert_array_equal(
        apply_crops(pixels, steps({"step": "box_crop", "left": 0.1, "top": 0.5})), pixels[40:, 10:]
    )


@given(
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    edges=st.tuples(*[st.floats(0, 1)] * 4).filter(lambda e: e[0] < e[2] and e[1] < e[3]),
)
def test_a_region_is_never_empty_and_lies_inside(
    size: tuple[int, int], edges: tuple[float, float, float, float]
) -> None:
    part = crop(np.zeros((*size, 3), np.uint8), edges)
    assert 1 <= part.shape[0] <= size[0]
    assert 1 <= part.shape[1] <= size[1]


@given(width=st.integers(1, 5000), data=st.data())
def test_a_box_on_pixel_borders_keeps_them(width: int, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, width - 1))
    right = data.draw(st.integers(left + 1, width))
    part = crop(np.arange(width).astype(np.uint8)[None, :, None], (left / width, 0.0, right / width, 1.0))
    assert part.shape[1] == right - left


@pytest.mark.parametrize(
    ("given_steps", "message"),
    [
        ([{"step": "grey"}, {"step": "centre_crop", "share": 0.5}], "list centre_crop and box_crop first"),
        ([{"step": "box_crop", "left": 0.6, "right": 0.5}], "left must be below right"),
        ([{"step": "clahe", "clip_limit": 0}], "greater than 0"),
        ([{"step": "blur"}], "does not match any of the expected tags"),
        ([{"step": "grey", "amount": 1}], "Extra inputs are not permitted"),
    ],
)
def test_wrong_steps_are_refused(given_steps: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        steps(*given_steps)


def test_steps_are_stored_and_read_back() -> None:
    how = Preprocessing(
        image_size=8, pad_value=0, max_pixels=9, steps=steps({"step": "centre_crop", "share": 0.9}, {"step": "clahe"})
    )
    text = how.model_dump_json()  # in this order a part of the digest of each split
    assert text == (
        '{"image_size":8,"pad_value":0,"max_pixels":9,"fill":"grey","steps":[{"step":"centre_crop","share":0.9},'
        '{"step":"clahe","clip_limit":2.0,"tiles":8}]}'
    )
    assert Preprocessing.model_validate_json(text) == how
    assert needs_opencv(how.steps)
    assert not needs_opencv(how.steps[:1])


def test_reading_images_without_steps_imports_no_opencv() -> None:
    code = """
import sys, io
from PIL import Image
from podium.config.preprocess import Preprocessing
from podium.data.preprocess import read_image
out = io.BytesIO()
Image.new("RGB", (20, 10)).save(out, "PNG")
read_image(out.getvalue(), Preprocessing(image_size=8, pad_value=0, max_pixels=1000))
print("cv2" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
