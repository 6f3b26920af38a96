"""Measures of images: known values, what changes them and what does not."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import shannon_entropy

from podium.curation.measures import NAMES, measure
from podium.data.manifest import SPECTRUM_BANDS

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8)


def measured(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, map(float, measure(pixels)), strict=True))


def plain(red: int, green: int, blue: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), (red, green, blue), dtype=np.uint8)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
        lambda size: arrays(np.uint8, (*size, 3), elements=st.integers(0, 255), fill=st.just(7))
    )
)
def test_every_number_is_finite_for_any_content(pixels: np.ndarray) -> None:
    numbers = measure(pixels)

    assert numbers.shape == (len(NAMES),) and numbers.dtype == np.float32
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (2, 7)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_content_of_any_size_has_no_contrast_and_no_texture(size: tuple[int, int], value: int) -> None:
    found = measured(plain(value, value, value, *size))

    assert found["brightness"] == pytest.approx(value / 255)
    assert found["aspect"] == pytest.approx(size[1] / size[0])
    for name in ("contrast", "sharpness", "entropy", "edge_density", "saturation", "hue_spread", "colourfulness"):
        assert found[name] == 0, name
    assert (found["glcm_contrast"], found["glcm_homogeneity"], found["glcm_energy"]) == (0, 1, 1)


def test_light_and_colour_have_the_values_of_their_definitions() -> None:
    halves = np.concatenate([plain(255, 0, 0), plain(0, 255, 255)])  # red and its opposite
    found = measured(halves)

    assert found["hue_spread"] == pytest.approx(1, abs=1e-6)
    assert found["saturation"] == pytest.approx(1)
    assert (found["red_mean"], found["red_std"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert measured(plain(255, 0, 0))["hue_spread"] == pytest.approx(0, abs=1e-6)
    # Hasler & Süsstrunk: rg = 255 throughout, yb = 127.5, no deviation
    assert measured(plain(255, 0, 0))["colourfulness"] == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-5)


def test_entropy_is_that_of_the_grey_values() -> None:
    grey = cv2.cvtColor(NOISE, cv2.COLOR_RGB2GRAY)

    assert measured(NOISE)["entropy"] == pytest.approx(shannon_entropy(grey), rel=1e-5)
    every = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert measured(every)["entropy"] == pytest.approx(8)


def test_blurring_lowers_sharpness_and_edges_and_moves_power_to_low_frequencies() -> None:
    blurred = cv2.GaussianBlur(NOISE, (0, 0), 2)
    sharp, soft = measured(NOISE), measured(blurred)

    assert soft["sharpness"] < sharp["sharpness"] / 100
    assert soft["edge_density"] < sharp["edge_density"]
    assert soft["spectrum_ratio"] > sharp["spectrum_ratio"] + 1
    assert soft["glcm_homogeneity"] > sharp["glcm_homogeneity"]


@pytest.mark.parametrize("band", range(1, SPECTRUM_BANDS))
@pytest.mark.parametrize("upright", [False, True])
def test_a_wave_has_its_power_in_the_band_of_its_frequency(band: int, upright: bool) -> None:
    frequency = (band + 0.5) / (2 * SPECTRUM_BANDS)
    wave = np.round(127 + 100 * np.sin(2 * np.pi * frequency * np.arange(96)))
    grid = np.broadcast_to(wave[:, None] if upright else wave, (96, 96))
    found = measured(np.repeat(grid[:, :, None], 3, axis=2).astype(np.uint8))

    shares = {number: 10 ** found[f"spectrum_{number}"] for number in range(SPECTRUM_BANDS)}
    assert max(shares, key=shares.__getitem__) == band
    assert shares[band] > 0.8
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


def test_white_noise_has_more_power_in_wider_rings() -> None:
    grey = np.repeat(RANDOM.integers(0, 256, (128, 128, 1), dtype=np.uint8), 3, axis=2)
    shares = [10 ** measured(grey)[f"spectrum_{number}"] for number in range(SPECTRUM_BANDS)]

    edges = np.pi * (np.arange(SPECTRUM_BANDS + 1) / (2 * SPECTRUM_BANDS)) ** 2  # area of a disc; all of it is 1
    areas = np.diff(edges)
    areas[-1] += 1 - edges[-1]
    assert shares == pytest.approx(list(areas), abs=0.02)


def test_histograms_of_patterns_and_of_frequencies_are_shares() -> None:
    found = measured(NOISE)

    assert sum(found[f"lbp_{number}"] for number in range(10)) == pytest.approx(1, abs=1e-5)


def test_mirroring_changes_only_what_depends_on_direction() -> None:
    found, mirrored = measured(NOISE), measured(np.ascontiguousarray(NOISE[:, ::-1]))

    for name in NAMES:
        assert mirrored[name] == pytest.approx(found[name], rel=1e-3, abs=0.02), name


def test_views_and_read_only_arrays_are_measured_like_copies() -> None:
    view = NOISE[::2, ::-1]
    view.flags.writeable = False

    assert measure(view).tolist() == measure(view.copy()).tolist()
