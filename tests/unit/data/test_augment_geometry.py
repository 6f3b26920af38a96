"""Geometry against torchvision and scipy, which have neither mirrored edges nor one pass for all of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from podium.config.train import Augment
from podium.data.augment.batch import homographies
from podium.data.augment.parameters import draw, unchanged
from podium.data.randomness import counter_uniform
from tests.unit.data.augmented import changed, images, planes, smooth

SIDE = 24
BILINEAR = InterpolationMode.BILINEAR


def mirrored(pixels: torch.Tensor) -> torch.Tensor:
    """The images with mirrored ones all around, shape (N, 3, 3 H, 3 W): torchvision knows no mirrored edges."""
    _, height, width, _ = pixels.shape
    around = np.pad(pixels.numpy(), ((0, 0), (height, height), (width, width), (0, 0)), mode="symmetric")
    return planes(torch.from_numpy(around))


def middle(planes: torch.Tensor) -> torch.Tensor:
    height, width = planes.shape[-2] // 3, planes.shape[-1] // 3
    return planes[..., height : 2 * height, width : 2 * width]


@given(st.booleans(), st.booleans(), st.integers(-60, 60), st.integers(-60, 60))
@settings(max_examples=40)
def test_flips_and_shift_are_exact_and_mirror_at_the_edge(flip, upside_down, down, right):
    pixels = images(2, 8, 11)
    source = pixels.numpy()[:, :, ::-1] if flip else pixels.numpy()
    source = source[:, ::-1] if upside_down else source
    around = np.pad(source, ((0, 0), (60, 60), (60, 60), (0, 0)), mode="symmetric")
    expected = planes(torch.from_numpy(around[:, 60 - down : 68 - down, 60 - right : 71 - right].copy()))
    torch.testing.assert_close(
        changed(pixels, flip=flip, vertical_flip=upside_down, shift=(down, right)), expected, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "oracle"),
    [
        ({"rotation": 25.0}, lambda x: tv.rotate(x, 25.0, BILINEAR)),
        ({"rotation": -140.0}, lambda x: tv.rotate(x, -140.0, BILINEAR)),
        ({"zoom": 1.3}, lambda x: tv.affine(x, 0, [0, 0], 1.3, [0, 0], BILINEAR)),
        ({"zoom": 0.7}, lambda x: tv.affine(x, 0, [0, 0], 0.7, [0, 0], BILINEAR)),
        ({"shear": (0.0, 0.2)}, lambda x: tv.affine(x, 0, [0, 0], 1, [-np.rad2deg(np.arctan(0.2)), 0], BILINEAR)),
        ({"shear": (0.2, 0.0)}, lambda x: tv.affine(x, 0, [0, 0], 1, [0, -np.rad2deg(np.arctan(0.2))], BILINEAR)),
        ({"zoom": 0.9, "shift": (3, -5)}, lambda x: tv.affine(x, 0, [-5, 3], 0.9, [0, 0], BILINEAR)),
        ({"rotation": 30.0, "flip": True}, lambda x: tv.horizontal_flip(tv.rotate(x, 30.0, BILINEAR))),
        ({"rotation": 30.0, "vertical_flip": True}, lambda x: tv.vertical_flip(tv.rotate(x, 30.0, BILINEAR))),
        (
            {"zoom": 0.9, "flip": True, "vertical_flip": True, "shift": (3, -5)},
            lambda x: tv.affine(tv.rotate(x, 180.0), 0, [-5, 3], 0.9, [0, 0], BILINEAR),
        ),
        (
            {"rotation": 30.0, "shear": (0.0, 0.2), "zoom": 1.2},
            lambda x: tv.affine(x, -30.0, [0, 0], 1.2, [-np.rad2deg(np.arctan(0.2)), 0], BILINEAR),
        ),
    ],
)
def test_affine_changes_are_torchvision_s(changes, oracle):
    pixels = smooth()
    torch.testing.assert_close(changed(pixels, **changes), middle(oracle(mirrored(pixels))), atol=2e-4, rtol=0)


def test_shear_moves_points_as_documented():
    # one bright pixel right of the centre moves down, one below the centre moves right
    pixels = torch.zeros(1, 21, 21, 3, dtype=torch.uint8)
    pixels[0, 10, 20] = 255
    assert changed(pixels, shear=(0.3, 0.0))[0, 0].argmax() == 13 * 21 + 20
    assert changed(pixels.transpose(1, 2).contiguous(), shear=(0.0, 0.3))[0, 0].argmax() == 20 * 21 + 13


def test_a_crop_is_the_box_stretched_to_the_whole():
    pixels = smooth()
    ours = changed(pixels, crop=(6 / SIDE, 3 / SIDE, 12 / SIDE, 16 / SIDE))
    expected = tv.resized_crop(planes(pixels), 6, 3, 12, 16, [SIDE, SIDE], BILINEAR, antialias=False)
    # torchvision repeats the crop's edge, we know what lies beyond it
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=2e-4, rtol=0)


def test_perspective_is_torchvision_s():
    pixels, inwards = smooth(), np.array([[0.1, 0.2], [0.0, 0.15], [0.2, -0.1], [-0.15, 0.0]])
    start = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], float) + SIDE  # (x, y), the padding in front
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    end = start + signs * inwards[:, ::-1] * SIDE
    oracle = tv.perspective(mirrored(pixels), start.tolist(), end.tolist(), BILINEAR)
    torch.testing.assert_close(
        changed(pixels, perspective=np.tile(inwards, (4, 1, 1))), middle(oracle), atol=5e-4, rtol=0
    )


def test_elastic_bends_along_cubic_splines():
    pixels, amplitude = smooth(1), 0.08
    lattice = (
        counter_uniform(np.array([5]), "elastic", 98, torch.device("cpu")).reshape(2, 7, 7).double().numpy() * amplitude
    )
    places = (np.arange(SIDE) + 0.5) / SIDE * 4
    down_and_right = BSpline(np.arange(-3.0, 8.0), np.moveaxis(lattice, 1, 0), 3)(places)  # (rows, 2, 7)
    right, down = np.moveaxis(
        BSpline(np.arange(-3.0, 8.0), np.moveaxis(down_and_right, 2, 0), 3)(places), 0, 2
    ).transpose(1, 0, 2)
    y, x = np.mgrid[:SIDE, :SIDE]
    at = [y + SIDE * down, x + SIDE * right]
    expected = np.stack([map_coordinates(one, at, order=1, mode="reflect") for one in planes(pixels)[0].numpy()])
    ours = changed(pixels, elastic=amplitude, seed=np.array([5]))[0]
    np.testing.assert_allclose(ours, expected, atol=2e-4)
    assert (ours - planes(pixels)[0]).abs().max() > 0.05


@given(st.integers(0, 2**31 - 1), st.sampled_from([(24, 24), (30, 20)]))
@settings(max_examples=30)
def test_the_changes_follow_one_another_in_the_documented_order(seed, shape):
    augment = Augment(crop_area=0.3, zoom=0.3, rotation=180, perspective=0.2, shift=0.4)
    change = draw(augment, np.random.default_rng(seed), 3, 24)
    change = replace(change, shear=np.random.default_rng(seed).uniform(-0.3, 0.3, (3, 2)))
    height, width = shape
    back = homographies(change, height, width)
    corners = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)  # (y, x), shares of the side
    inwards = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    for n in range(3):
        for corner, sign, by in zip(corners, inwards, change.perspective[n], strict=True):
            # the last steps forwards: perspective, flip, shift
            y, x = corner + sign * by
            x = 1 - x if change.flip[n] else x
            y, x = y + change.shift[n, 0] / height, x + change.shift[n, 1] / width
            found = back[n] @ (2 * x - 1, 2 * y - 1, 1)
            y, x = (found[1] / found[2] + 1) / 2, (found[0] / found[2] + 1) / 2
            # the first steps forwards: crop, zoom, shear, rotation must lead to the corner
            top, left, high, wide = change.crop[n]
            y, x = (
                ((y - top) / high - 0.5) * height * change.zoom[n],
                ((x - left) / wide - 0.5) * width * change.zoom[n],
            )
            down, right = change.shear[n]
            x = x + right * y
            y = y + down * x
            angle = np.deg2rad(change.rotation[n])
            y, x = -np.sin(angle) * x + np.cos(angle) * y, np.cos(angle) * x + np.sin(angle) * y
            np.testing.assert_allclose((y / height + 0.5, x / width + 0.5), corner, atol=1e-9)


def test_homographies_of_nothing_are_the_identity():
    assert np.array_equal(homographies(unchanged(2), 8, 9), np.tile(np.eye(3), (2, 1, 1)))
