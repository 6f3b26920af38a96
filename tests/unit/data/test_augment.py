"""What users of the package rely on: drawing and applying as a whole. Each change has its oracle in the other files."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from podium.config.train import Augment
from podium.core.errors import PodiumError
from podium.data.augment.batch import apply, normalise
from podium.data.augment.parameters import Augmentation, draw, unchanged
from tests.unit.data import augmented

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFF = Augment(flip=False, shift=0, brightness=0, contrast=0)
FAST = Augment(flip=True, shift=0.25, brightness=0.5, contrast=0.3)
SINGLE = {
    "vertical_flip": True,
    "crop_area": 0.3,
    "rotation": 40.0,
    "zoom": 0.4,
    "perspective": 0.2,
    "elastic": 0.1,
    "brightness": 0.5,
    "contrast": 0.3,
    "saturation": 0.6,
    "hue": 0.2,
    "noise": 0.1,
    "blur": 2.0,
    "erasing": 0.5,
    "randaugment": {"operations": 3, "magnitude": 7.0},
}
ALL = Augment.model_validate({"flip": True, "shift": 0.1, **SINGLE})


def images(count: int = 6, side: int = 13) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def drawn(augment: Augment, seed: int = 0, count: int = 6, side: int = 13) -> Augmentation:
    return draw(augment, np.random.default_rng(seed), count, side)


def same(a: Augmentation, b: Augmentation) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Augmentation))


def only(name: str) -> Augment:
    return Augment.model_validate({**OFF.model_dump(), name: SINGLE[name]})


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=25)
def test_a_draw_is_a_pure_function_of_the_generator(seed):
    mixing = ALL.model_copy(update={"mixup": 0.4, "cutmix": 1.0})
    assert same(drawn(mixing, seed), drawn(mixing, seed))
    assert not same(drawn(mixing, seed), drawn(mixing, seed + 1))


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.sampled_from([16, 33, 224]))
@settings(max_examples=50)
def test_what_is_drawn_keeps_its_bounds(seed, count, side):
    change = drawn(ALL.model_copy(update={"randaugment": None}), seed, count, side)
    assert np.abs(change.shift).max() <= round(0.1 * side)
    assert np.abs(change.brightness - 1).max() <= 0.5
    assert np.abs(change.contrast - 1).max() <= 0.3
    assert np.abs(change.saturation - 1).max() <= 0.6
    assert np.abs(change.hue).max() <= 0.2
    assert np.abs(change.rotation).max() <= 40
    assert np.abs(change.zoom - 1).max() <= 0.4
    assert np.abs(change.perspective).max() <= 0.2
    for name in ("elastic", "noise", "blur"):
        values = getattr(change, name)
        assert 0 <= values.min() <= values.max() <= SINGLE[name]
    top, left, height, width = change.crop.T
    assert (height * width).min() >= 0.3 - 1e-9
    assert ((width / height) >= 3 / 4 - 1e-9).all()
    assert ((width / height) <= 4 / 3 + 1e-9).all()
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-9
    top, left, height, width = change.erased.T
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= side
    assert (height * width).max() <= side**2 / 2  # a third, before rounding to whole pixels


def test_flips_shifts_and_erasing_happen_as_often_as_they_should():
    change = drawn(Augment(flip=True, shift=0.1, brightness=0, contrast=0, erasing=0.3), count=4000, side=20)
    assert 0.47 < change.flip.mean() < 0.53
    assert set(change.shift.ravel()) == {-2, -1, 0, 1, 2}
    assert set(change.brightness) == {1.0}
    assert 0.27 < (change.erased[:, 2] > 0).mean() < 0.33


def test_without_changes_pixels_are_only_normalised():
    pixels = images()
    expected = tv.normalize(pixels.permute(0, 3, 1, 2) / 255, list(MEAN), list(STD))
    plain = normalise(pixels, MEAN, STD)
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)
    assert torch.equal(normalise(pixels.numpy(), MEAN, STD), plain)
    for change in (None, unchanged(6), drawn(OFF)):
        assert torch.equal(apply(pixels, change, MEAN, STD), plain)


NOTHING = {
    "crop": (0.0, 0.0, 1.0, 1.0),
    "zoom": 1.0,
    "shear": (0.0, 0.0),
    "rotation": 0.0,
    "perspective": np.zeros((4, 4, 2)),
    "elastic": 0.0,
    "blur": 0.0,
    "saturation": 1.0,
    "hue": 0.0,
    "noise": 0.0,
    "posterize": 8,
    "solarize": 256,
    "autocontrast": False,
    "equalize": False,
    "erased": (5, 5, 0, 0),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_change_by_nothing_changes_nothing(name):
    plain = normalise(augmented.images(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    torch.testing.assert_close(augmented.changed(augmented.images(), **{name: NOTHING[name]}), plain, atol=1e-5, rtol=0)


def test_moved_images_are_the_same_with_any_number_of_threads():
    pixels, change = images(16, 96), drawn(FAST, count=16, side=96)
    one, threads = apply(pixels, change, MEAN, STD), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert torch.equal(apply(pixels, change, MEAN, STD), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["flip_shift_brightness_contrast", "all", *SINGLE])
def test_an_image_does_not_depend_on_its_batch(name):
    augment = {"flip_shift_brightness_contrast": FAST, "all": ALL}.get(name) or only(name)
    pixels, change = images(), drawn(augment)
    before = pixels.clone()
    whole = apply(pixels, change, MEAN, STD)
    for rows in (np.array([2]), np.array([5, 0, 3])):
        assert torch.equal(apply(pixels[torch.from_numpy(rows)], change.take(rows), MEAN, STD), whole[rows])
    assert torch.equal(pixels, before)
    assert torch.equal(apply(pixels, change, MEAN, STD), whole)
    assert whole.shape == (6, 3, 13, 13)
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)


@given(st.integers(0, 2**31 - 1), st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=25)
def test_taking_rows_first_or_last_is_the_same(seed, places, count):
    rows, pixels, change = np.array(places[:count]), images(), drawn(ALL, seed)
    taken = change.take(rows)
    assert len(taken) == count
    assert torch.equal(
        apply(pixels[torch.from_numpy(rows)], taken, MEAN, STD),
        apply(pixels, change, MEAN, STD)[torch.from_numpy(rows)],
    )


def test_autocast_around_it_makes_no_difference():
    plain = apply(images(), drawn(ALL), MEAN, STD)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply(images(), drawn(ALL), MEAN, STD), plain)


@pytest.mark.parametrize("name", ["crop_area", "elastic", "noise", "all"])
def test_equal_images_become_different_ones(name):
    pixels = images(1).expand(4, -1, -1, -1)
    changed = apply(pixels, drawn(ALL if name == "all" else only(name), count=4), MEAN, STD)
    assert len({one.numpy().tobytes() for one in changed}) == 4


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_all_is_computed_where_the_images_lie(mixing):
    # the device `meta` computes nothing, but refuses tensors that lie elsewhere, as a GPU does
    change = drawn(ALL.model_copy(update={mixing: 1.0}))
    result = apply(images().to("meta"), change, MEAN, STD)
    assert (result.device.type, result.shape) == ("meta", (6, 3, 13, 13))


def test_changes_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="6 images and changes of 5"):
        apply(images(), unchanged(5), MEAN, STD)


def test_rows_of_mixed_images_are_refused():
    with pytest.raises(PodiumError, match="mixed images need their whole batch"):
        drawn(Augment(mixup=0.4)).take(np.array([0]))
