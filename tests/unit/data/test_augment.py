import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from podium.core.config.recipe import Augment
from podium.data.augment import Augmentation, draw, move, normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFF = Augment(flip=False, shift=0, brightness=0, contrast=0)


def images(count: int = 4, height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def same(a: Augmentation, b: Augmentation) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("flip", "shift", "brightness", "contrast"))


def slowly_moved(pixels: np.ndarray, change: Augmentation) -> np.ndarray:
    """Flip, then shift with the edge repeated, one pixel at a time."""
    out = np.empty_like(pixels)
    count, height, width, _ = pixels.shape
    for n in range(count):
        flipped = pixels[n, :, ::-1] if change.flip[n] else pixels[n]
        down, right = change.shift[n]
        for y in range(height):
            for x in range(width):
                out[n, y, x] = flipped[min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)]
    return out


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6))
@settings(max_examples=25)
def test_a_draw_is_a_pure_function_of_seed_and_step_within_its_bounds(seed, step):
    wide = Augment(flip=True, shift=0.25, brightness=0.5, contrast=0.3)
    change = draw(wide, seed, step, 16, 32)
    draw(wide, seed, step + 1, 16, 32)
    assert same(change, draw(wide, seed, step, 16, 32))
    assert not same(change, draw(wide, seed, step + 1, 16, 32))
    assert np.abs(change.shift).max() <= 8
    assert np.abs(change.brightness - 1).max() <= 0.5
    assert np.abs(change.contrast - 1).max() <= 0.3


def test_every_flip_and_shift_happens():
    change = draw(Augment(flip=True, shift=0.1, brightness=0, contrast=0), 0, 0, 2000, 20)
    assert 0.45 < change.flip.mean() < 0.55
    assert set(change.shift.ravel()) == {-2, -1, 0, 1, 2}
    assert set(change.brightness) == {1.0}


@given(st.integers(0, 1000), st.booleans(), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_flip_and_shift_equal_a_slow_reference(step, flip, shift):
    change = draw(Augment(flip=flip, shift=shift, brightness=0, contrast=0), 0, step, 4, 12)
    pixels = images()
    before = pixels.copy()
    assert np.array_equal(move(pixels, change), slowly_moved(pixels, change))
    assert np.array_equal(pixels, before)


def test_without_changes_pixels_are_only_normalised():
    pixels = images()
    change = draw(OFF, 0, 0, 4, 12)
    assert np.array_equal(move(pixels, change), pixels)
    expected = tv.normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, list(MEAN), list(STD))
    torch.testing.assert_close(normalise(pixels, MEAN, STD, change), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(normalise(pixels, MEAN, STD), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("brightness", "contrast"), [(0.7, 1.0), (1.0, 0.6), (0.8, 0.7)])
def test_brightness_and_contrast_are_torchvision_s(brightness, contrast):
    # darker and flatter only: torchvision cuts at 0 and 1, one multiply-add cannot
    pixels = images()
    ones = np.ones(4)
    change = Augmentation(ones > 2, np.zeros((4, 2), np.int64), ones * brightness, ones * contrast)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    x = tv.adjust_contrast(tv.adjust_brightness(x, brightness), contrast)
    expected = tv.normalize(x, list(MEAN), list(STD))
    torch.testing.assert_close(normalise(pixels, MEAN, STD, change), expected, atol=2e-3, rtol=0)


def test_an_image_does_not_depend_on_its_batch_and_lies_channels_last():
    pixels = images()
    change = draw(Augment(), 0, 0, 4, 12)
    whole = normalise(pixels, MEAN, STD, change)
    one = Augmentation(change.flip[2:3], change.shift[2:3], change.brightness[2:3], change.contrast[2:3])
    assert torch.equal(whole[2:3], normalise(pixels[2:3], MEAN, STD, one))
    assert whole.shape == (4, 3, 12, 12)
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
