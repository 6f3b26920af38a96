"""What happens to photographs: the form stays, severities grow, and the same seed gives the same bytes."""

import numpy as np
import pytest

from podium.data.perturbations import PERTURBATIONS, SEVERITIES


def photographs(count: int = 6, side: int = 48) -> np.ndarray:
    """Smooth pictures with an edge, all different."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(random.uniform(2, 9) * x + random.uniform(2, 9) * y + phase) for phase in range(3 * count)]
    pixels = 128 + 90 * np.stack(waves).reshape(count, 3, side, side).transpose(0, 2, 3, 1)
    pixels[:, : side // 3, : side // 2] *= 0.5
    return pixels.astype(np.uint8)


def run(name: str, severity: int, images: np.ndarray, seed: int = 1) -> np.ndarray:
    return PERTURBATIONS[name].apply(images, severity, np.random.default_rng(seed))


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_form_and_input_stay_and_the_seed_decides(name):
    images = photographs()
    before = images.copy()
    for severity in SEVERITIES:
        out = run(name, severity, images)
        assert (out.dtype, out.shape) == (np.uint8, images.shape)
        assert (out == run(name, severity, images)).all()
    assert (images == before).all()


@pytest.mark.parametrize("name", [name for name, one in PERTURBATIONS.items() if name != "mirrored"])
def test_each_severity_changes_more_than_the_one_before(name):
    images = photographs()
    changes = [np.abs(run(name, severity, images).astype(int) - images).mean() for severity in SEVERITIES]
    assert changes[0] > 0
    assert changes[-1] > changes[0]
    if name != "pixelate":  # tiles that fit the side change less than those that do not
        assert changes == sorted(changes)


def test_coverings_hide_the_stated_share_and_no_more():
    images = photographs(side=100)
    for severity, share in zip(SEVERITIES, (0.1, 0.2, 0.3, 0.45, 0.6), strict=True):
        grey = run("grey_patch", severity, images)
        changed = (grey != images).any(axis=-1)
        assert changed.mean(axis=(1, 2)) == pytest.approx(share, abs=0.02)
        foreign = (run("foreign_patch", severity, images) != images).any(axis=-1).mean()
        assert foreign == pytest.approx(share, abs=0.05)


def test_a_mirror_twice_is_the_photograph():
    images = photographs()
    assert (run("mirrored", 1, run("mirrored", 1, images)) == images).all()


def test_what_is_said_names_the_amount_of_the_severity_and_no_other():
    said = {name: [one.sentence(severity) for severity in SEVERITIES] for name, one in PERTURBATIONS.items()}
    assert all(len(set(each)) == len(SEVERITIES) for name, each in said.items() if name != "mirrored"), said
    assert said["grey_patch"][2] == "a grey square hides 30% of the image"
    assert said["foreign_patch"][4] == "a square of another image hides 60% of the image"
    assert said["turned"][0] == "turned by 2 degrees; the edge is repeated"
