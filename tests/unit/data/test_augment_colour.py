"""Colour, tones, blur, noise and erasing against torchvision and the standard library."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torchvision.transforms.v2 import functional as tv

from podium.data.augment.batch import apply, normalise
from podium.data.augment.parameters import unchanged
from podium.data.randomness import counter_normal, counter_uniform
from tests.unit.data.augmented import changed, images, planes, smooth

LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
CPU = torch.device("cpu")


# darker, flatter and paler only: torchvision cuts at 0 and 1, one matrix cannot
@pytest.mark.parametrize(
    ("brightness", "contrast", "saturation"), [(0.7, 1.0, 1.0), (1.0, 0.6, 1.0), (0.8, 0.7, 1.0), (0.9, 0.8, 0.4)]
)
@pytest.mark.parametrize("warped", [False, True])
def test_brightness_contrast_and_saturation_are_torchvision_s(brightness, contrast, saturation, warped):
    pixels = images()
    expected = tv.adjust_contrast(tv.adjust_brightness(planes(pixels), brightness), contrast)
    values = {"brightness": brightness, "contrast": contrast}
    if saturation != 1:
        expected, values = tv.adjust_saturation(expected, saturation), {**values, "saturation": saturation}
    if warped:
        values["zoom"] = 1.0  # nothing, by way of the interpolation
    torch.testing.assert_close(changed(pixels, **values), expected, atol=2e-3, rtol=0)


def test_contrast_is_about_the_whole_image_s_grey_whatever_the_geometry():
    pixels = smooth()
    grey = (planes(pixels) * LUMA).sum(1).mean((1, 2))[:, None, None, None]
    geometry = {"rotation": 40.0, "crop": (0.0, 0.0, 0.5, 0.5)}
    expected = 0.5 * changed(pixels, **geometry) + 0.5 * grey
    torch.testing.assert_close(changed(pixels, contrast=0.5, **geometry), expected, atol=1e-5, rtol=0)


def turned(rgb, turns):
    """The standard library's YIQ, with the plane of I and Q turned: hue grows from I to -Q."""
    y, i, q = colorsys.rgb_to_yiq(*rgb)
    point = complex(i, -q) * np.exp(2j * np.pi * turns)
    i, q = point.real, -point.imag
    red, blue = y + 0.9469 * i + 0.6236 * q, y - 1.1086 * i + 1.7090 * q
    return red, (y - 0.30 * red - 0.11 * blue) / 0.59, blue


@given(st.floats(-0.5, 0.5))
@settings(max_examples=25)
def test_hue_turns_the_colour_plane_of_video(turns):
    pixels = images(1, 6, 6)
    ours = changed(pixels, hue=turns)[0].flatten(1).T
    expected = np.array([turned(rgb, turns) for rgb in planes(pixels)[0].flatten(1).T.tolist()])
    np.testing.assert_allclose(ours, expected, atol=0.02)  # its constants are rounded to two digits


@given(st.floats(-0.5, 0.5), st.floats(0, 2))
@settings(max_examples=25)
def test_hue_and_saturation_keep_luma_and_grey(hue, saturation):
    pixels = images(2, 6, 6)
    ours, plain = changed(pixels, hue=hue, saturation=saturation), planes(pixels)
    torch.testing.assert_close((ours * LUMA).sum(1), (plain * LUMA).sum(1), atol=1e-5, rtol=0)
    greys = pixels[..., :1].expand(-1, -1, -1, 3).contiguous()
    torch.testing.assert_close(changed(greys, hue=hue, saturation=saturation), planes(greys), atol=1e-5, rtol=0)


@pytest.mark.parametrize("turns", [1 / 3, -1 / 3, 0.5])
def test_hue_turns_the_way_torchvision_s_does(turns):
    for colour in np.eye(3):
        pixels = torch.from_numpy((255 * colour).astype(np.uint8)).expand(1, 4, 4, 3).contiguous()
        ours, theirs = changed(pixels, hue=turns)[0, :, 0, 0], tv.adjust_hue(planes(pixels), turns)[0, :, 0, 0]
        # the same channels grow and shrink about their mean
        assert torch.equal((ours - ours.mean()).sign(), (theirs - theirs.mean()).sign())


def test_colour_is_normalised_after_it_was_changed():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    plain = apply(images(), unchanged(4), mean, std)
    torch.testing.assert_close(plain, tv.normalize(planes(images()), list(mean), list(std)), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain, normalise(images(), mean, std), atol=0, rtol=0)


TONES = {
    "posterize": (3, lambda x: tv.posterize(x, 3), 0),
    "solarize": (100, lambda x: tv.solarize(x, 100), 0),
    "equalize": (True, tv.equalize, 0),
    "autocontrast": (True, tv.autocontrast, 1),  # torchvision rounds a float, we an exact fraction
}


@pytest.mark.parametrize("name", TONES)
@pytest.mark.parametrize("kind", ["noise", "dark", "constant", "two_values"])
def test_tones_are_torchvision_s(name, kind):
    value, oracle, levels = TONES[name]
    pixels = {
        "noise": images(),
        "dark": images() // 5 + 20,
        "constant": torch.full((4, 24, 24, 3), 77, dtype=torch.uint8),
        "two_values": images() // 128 * 100 + 3,
    }[kind]
    expected = planes(oracle(pixels.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    torch.testing.assert_close(changed(pixels, **{name: value}), expected, atol=levels / 255 + 1e-6, rtol=0)


def test_tones_follow_one_another():
    pixels = images() // 3
    expected = tv.equalize(tv.autocontrast(pixels.permute(0, 3, 1, 2)))
    expected = tv.solarize(tv.posterize(expected, 4), 128).permute(0, 2, 3, 1)
    ours = changed(pixels, autocontrast=True, equalize=True, posterize=4, solarize=128)
    different = (ours - planes(expected)).abs() > 1e-6
    assert different.float().mean() < 0.02  # where autocontrast's rounding falls on the other side of a step


def test_tones_of_one_image_leave_the_others():
    pixels = images()
    ours = changed(pixels, equalize=np.array([False, True, False, False]))
    untouched = [0, 2, 3]
    assert torch.equal(ours[untouched], changed(pixels)[untouched])
    assert not torch.equal(ours[1], changed(pixels)[1])


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
def test_blur_is_torchvision_s(sigma):
    size = 2 * int(np.ceil(3 * sigma)) + 1
    expected = tv.gaussian_blur(planes(images()), [size, size], [sigma, sigma])
    torch.testing.assert_close(changed(images(), blur=sigma), expected, atol=1e-5, rtol=0)


def test_each_image_has_its_own_blur_however_wide_the_others():
    sigma = np.array([0.0, 0.5, 5.0, 60.0])  # the last one reaches further than the image is wide
    ours = changed(images(), blur=sigma)
    torch.testing.assert_close(ours[0], planes(images())[0], atol=1e-6, rtol=0)
    assert torch.equal(ours[1:2], changed(images()[1:2], blur=sigma[1:2]))
    variances = ours.var(dim=(1, 2, 3))
    assert (variances.diff() < 0).all()


def test_noise_has_its_deviation_and_is_independent():
    pixels = torch.full((3, 64, 64, 3), 128, dtype=torch.uint8)
    added = changed(pixels, noise=np.array([0.1, 0.02, 0.1]), seed=np.array([1, 2, 3])) - 128 / 255
    np.testing.assert_allclose(added.std(dim=(1, 2, 3)), [0.1, 0.02, 0.1], rtol=0.02)
    assert added.mean(dim=(1, 2, 3)).abs().max() < 0.003
    first, third = added[0].flatten(), added[2].flatten()
    for one, other in [
        (first, third),
        (first[1:], first[:-1]),
        (first[64:], first[:-64]),
        (first[:6144], first[6144:]),
    ]:
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.03  # three standard errors of 12288 pairs
    assert torch.equal(changed(pixels, noise=0.1, seed=3)[0], changed(pixels, noise=0.1, seed=np.array([7, 3, 1]))[1])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_hashed_numbers_are_normal_and_uniform(seed):
    seeds = np.array([seed, (seed + 1) % 2**32])
    for numbers, law in [
        (counter_normal(seeds, "noise", 4001, CPU), "norm"),
        (counter_uniform(seeds, "elastic", 4001, CPU) / 2 + 0.5, "uniform"),
    ]:
        assert numbers.shape == (2, 4001)
        for one in numbers.double().numpy():
            assert kstest(one, law).pvalue > 1e-6
        assert abs(np.corrcoef(*numbers)[0, 1]) < 0.1
    assert not torch.equal(counter_uniform(seeds, "noise", 50, CPU), counter_uniform(seeds, "elastic", 50, CPU))


def test_erased_boxes_become_the_mean_colour():
    mean = (0.485, 0.456, 0.406)
    change = unchanged(2)
    boxes = np.array([[3, 5, 10, 7], [0, 0, 0, 0]])
    ours = apply(images(2), replace(change, erased=boxes), mean, (0.2, 0.2, 0.2))
    plain = normalise(images(2), mean, (0.2, 0.2, 0.2))
    assert torch.equal(ours, torch.stack([tv.erase(plain[0], 3, 5, 10, 7, torch.zeros(1)), plain[1]]))
