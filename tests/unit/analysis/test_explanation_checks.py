"""Whether maps are any good: planted squares, a network that is known, and random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from podium.analysis.explanation_checks import (
    Checked,
    ask,
    boxes_in_square,
    check_method,
    describe_checks,
    energy_inside,
    pictures_in_square,
    pointing_hits,
    points_better,
    rank_correlation,
)
from podium.config.judging import ExplainChecks
from podium.config.models import Network
from podium.config.preprocess import BoxCrop, CentreCrop, Preprocessing
from podium.config.runtime import Runtime
from podium.core.executor import open_executor
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.explanations import METHODS
from podium.models.inference import AskedModel, Classifier
from tests.cards import a_card

SIDE, SQUARE = 32, 12
COUNTS = ExplainChecks(images=24, deletion=24, randomised=3)


def a_classifier(module):
    card = a_card(
        architecture="cnn", preprocessing=Preprocessing(image_size=SIDE, pad_value=114, max_pixels=10**6)
    ).model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)})
    return Classifier(card, module.eval(), Compute.of(Runtime(threads=1)))


def planted(count=24, seed=0):
    """Grey noise with a coloured square somewhere: red is class 0, green 1, blue 2."""
    rng = np.random.default_rng(seed)
    images = rng.integers(100, 156, (count, SIDE, SIDE, 3), dtype=np.uint8)
    boxes = np.empty((count, 4))
    for i in range(count):
        x, y = rng.integers(0, SIDE - SQUARE, 2)
        images[i, y : y + SQUARE, x : x + SQUARE] = 100
        images[i, y : y + SQUARE, x : x + SQUARE, i % 3] = 255
        boxes[i] = (x, y, x + SQUARE, y + SQUARE)
    return Checked(images, np.arange(count) % 3, boxes)


def check(classifier, checked, name, **changes):
    with open_executor(lambda job: job[1](classifier), 1, lower="nothing") as executor:
        model = AskedModel(Path(), classifier.card, executor)
        asked = ask(model, checked.images, name, seed=0, batch_size=32)
        return check_method(model, asked, checked, name, COUNTS.model_copy(update=changes))


class Reddest(nn.Module):
    """A class for each colour: how much of it there is in the image, at 16 x 16 places."""

    def __init__(self, sees=True):
        super().__init__()
        self.features = nn.Conv2d(3, 3, 2, stride=2, bias=False)
        self.act, self.pool, self.flat, self.fc = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)
        with torch.no_grad():
            self.features.weight.zero_()
            for colour in range(3):
                self.features.weight[colour, colour] = 1.0
            self.fc.weight.copy_(8 * torch.eye(3) if sees else torch.zeros(3, 3))
            self.fc.bias.zero_()

    def forward(self, x):
        return self.fc(self.flat(self.pool(self.act(self.features(x)))))


@pytest.fixture(scope="module")
def sees():
    return a_classifier(Reddest())


@pytest.mark.parametrize("name", ["cam", "gradcam", "integrated_gradients", "occlusion", "kernel_shap"])
def test_a_network_that_sees_the_square_passes_every_check(sees, name):
    found = check(sees, planted(), name, randomised=0)
    assert found.boxes.pointing.value == 1 and points_better(found.boxes)
    assert found.boxes.chance == pytest.approx(SQUARE**2 / SIDE**2)
    assert found.boxes.energy > 2 * found.boxes.chance
    assert found.deletion.gain.low > 0 and found.insertion.gain.low > 0
    assert found.boxes.outside == {} and found.randomised == []
    said = describe_checks(name, found)
    assert said[0].startswith(f"{name} points at the object in 100.0% [86.2–100.0] of 24 images, more than the 14.1%")
    assert said[1].startswith(
        "hiding first what it calls important lowers the probability faster than hiding parts at random"
    )


def test_what_points_anywhere_but_at_the_object_is_a_warning_by_class(sees):
    """A network of which class 0 is told by what is not red in the rest of the image."""
    wrong = planted(60)
    away = np.where(wrong.boxes[:, :1] > 10, 0, SIDE - 4) + np.array([0, 0, 4, 4])
    moved = replace(wrong, boxes=np.where((wrong.labels == 0)[:, None], away, wrong.boxes).astype(float))
    found = check(sees, moved, "gradcam", deletion=0, randomised=0)
    assert list(found.boxes.outside) == ["apple"]
    assert found.deletion is None and found.insertion is None


def test_the_highest_point_and_the_energy_on_planted_squares():
    checked = planted(5)
    maps = np.full((5, SIDE, SIDE), -1.0, np.float32)
    for i, (left, top, _, _) in enumerate(checked.boxes.astype(int)):
        maps[i, top, left] = 3.0
        maps[i, (top + 20) % SIDE, (left + 20) % SIDE] = 1.0
    maps[4] *= -1
    assert pointing_hits(maps, checked.boxes).tolist()[:4] == [True] * 4
    np.testing.assert_allclose(energy_inside(maps, checked.boxes)[:4], 0.75)
    assert energy_inside(-np.ones((1, SIDE, SIDE), np.float32), checked.boxes[:1]) == [0.0]


def test_rank_correlation_is_spearman_s_and_nothing_for_flat_maps():
    from scipy.stats import spearmanr

    one, other = np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype(np.float32)
    expected = np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)])
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(one, np.exp(3 * one)) == pytest.approx(1)
    assert rank_correlation(one, np.ones_like(one)) == 0


@pytest.mark.parametrize("name", METHODS)
def test_random_weights_change_every_method_s_maps(name):
    """A network that was taught the planted squares in a moment, so that there is something to lose."""
    module = zoo.create(Network(architecture="test_resnet"), 3, 0, SIDE)
    taught = planted(96, seed=1)
    x = torch.from_numpy(taught.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    optimiser = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(15):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(x), torch.from_numpy(taught.labels)).backward()
        optimiser.step()
    card = a_card(
        architecture="test_resnet", preprocessing=Preprocessing(image_size=SIDE, pad_value=114, max_pixels=10**6)
    ).model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    classifier = Classifier(card, module.eval(), Compute.of(Runtime(threads=1)))
    found = check(classifier, planted(3), name, deletion=0)
    assert len(found.randomised) > 3
    assert max(map(abs, found.randomised)) < 0.9
    assert abs(found.randomised[-1]) < 0.5
    assert describe_checks(name, found)[-1].startswith("its maps change with random weights")
    alike = describe_checks(name, found.model_copy(update={"randomised": [0.9]}))[-1]
    assert (
        alike
        == "its maps hardly change with random weights (rank correlation 0.90), so they hardly show what was learned"
    )


def test_a_box_goes_into_the_square_as_its_image_does():
    known = pd.DataFrame(
        {
            "x0": [20.0, None, 20.0, 20.0],
            "y0": [10.0, None, 10.0, 10.0],
            "x1": [60.0, None, 60.0, 60.0],
            "y1": [30.0, None, 30.0, 30.0],
            "width": [100, 100, 50, 100],
            "height": [50, 50, 100, 50],
            "box_left": [0.0, 0.0, 0.0, 0.2],
            "box_top": 0.0,
            "box_right": 1.0,
            "box_bottom": 1.0,
        }
    )
    plain = Preprocessing(image_size=200, pad_value=114, max_pixels=10**6)
    found = boxes_in_square(known, plain)
    assert found[0].tolist() == [40, 70, 120, 110]  # twice as large, 50 pixels of padding above
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [90, 20, 150, 60]  # cut off at the image's edge
    assert np.isnan(found[3]).all(), "a crop is its box"
    half = plain.model_copy(update={"steps": (CentreCrop(step="centre_crop", share=0.5),)})
    assert boxes_in_square(known, half)[0].tolist() == [0, 50, 140, 120]
    left = BoxCrop(step="box_crop", left=0.0, top=0.0, right=0.5, bottom=1.0)
    assert boxes_in_square(known, plain.model_copy(update={"steps": (left,)}))[0].tolist() == [80, 40, 200, 120]
    assert np.isnan(boxes_in_square(known[["x0", "width"]], plain)).all()
    assert pictures_in_square(known, half)[[0, 2]].tolist() == [[0, 50, 200, 150], [50, 0, 150, 200]]
    assert pictures_in_square(known[["x0"]], plain).tolist() == [[0, 0, 200, 200]] * 4
    line = pd.DataFrame({"width": [1000], "height": [1]})
    assert pictures_in_square(line, plain).tolist() == [[0, 99, 200, 101]], "there is always something of a picture"
