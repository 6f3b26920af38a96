"""Accuracy on perturbed photographs."""

import numpy as np
import pytest

from podium.analysis.robustness import (
    choose_images,
    describe_robustness,
    measure_robustness,
    perturb_every_way,
    perturbed_at,
    worst_corruptions_first,
)
from podium.data.perturbations import PERTURBATIONS
from podium.records.robustness import Robustness


def by_brightness(images):
    """A model that looks at nothing but brightness."""
    return (images.mean(axis=(1, 2, 3)) > 100).astype(np.int64)


@pytest.fixture(scope="module")
def found():
    random = np.random.default_rng(0)
    images = random.integers(0, 40, (40, 16, 16, 3), dtype=np.uint8)
    images[20:] += 130
    labels = np.repeat([0, 1], 20)
    perturbed = [
        (one, np.concatenate([by_brightness(part) for part in one.parts(images)]))
        for one in perturb_every_way((1, 5), 0)
    ]
    return measure_robustness(by_brightness(images), perturbed, labels, model="m", fingerprint="f" * 64)


def test_a_model_of_brightness_minds_light_and_nothing_else(found):
    assert found.clean.value == 1
    assert {one.name for one in found.perturbations} == set(PERTURBATIONS)
    assert [at.accuracy.value for at in perturbed_like(found, "brighter")] == [1, 0.5]  # all look light
    assert [at.accuracy.value for at in perturbed_like(found, "darker")] == [1, 0.5]
    for name in ("mirrored", "shifted", "pale", "defocus_blur", "pixelate"):
        assert all(at.same == 1 for at in perturbed_like(found, name)), name
    corrupted = [at.accuracy.value for one in found.perturbations if one.kind == "corruption" for at in one.at]
    assert found.mean_corruption_accuracy == pytest.approx(np.mean(corrupted))


def perturbed_like(found, name):
    return [perturbed_at(found, name, severity) for severity in (1, 5)]


def test_the_worst_corruption_leads_and_is_told(found):
    first = worst_corruptions_first(found)[0]
    assert (first.kind, min(at.accuracy.value for at in first.at)) == ("corruption", 0.5)
    lowest = min(first.at, key=lambda at: at.accuracy.value)
    assert f"the worst is {first.name.replace('_', ' ')} ({lowest.sentence}) with 50.0%" in describe_robustness(found)
    assert worst_corruptions_first(None) == []
    assert perturbed_at(None, "fog", 3) is None
    assert perturbed_at(found, "fog", 3) is None


def test_every_model_meets_the_same_images(found, tmp_path):
    rows = choose_images(100, 30, 0)
    assert (rows == choose_images(100, 30, 0)).all()
    assert len(set(rows.tolist())) == 30
    assert (np.diff(rows) > 0).all()
    assert choose_images(5, 30, 0).tolist() == [0, 1, 2, 3, 4]
    found.write(tmp_path / "robustness.json")
    assert Robustness.read(tmp_path / "robustness.json") == found
