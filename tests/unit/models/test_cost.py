"""What models cost to run: measured in turns, memory as torch counts it."""

import numpy as np
import torch
from torch import nn

from podium.config.runtime import Runtime
from podium.models.compute import Compute
from podium.models.cost import measure_costs
from podium.models.inference import Classifier
from tests.cards import a_card


class Recording(nn.Module):
    """A linear layer on the mean colour, that notes who was asked for how many images."""

    def __init__(self, name, calls, classes):
        super().__init__()
        self.layer, self.name, self.calls = nn.Linear(3, classes), name, calls

    def forward(self, x):
        self.calls.append((self.name, len(x)))
        return self.layer(x.mean((2, 3)))


def test_models_are_measured_in_turns_on_the_same_images():
    card, calls = a_card(), []
    compute = Compute.of(Runtime(threads=1))
    models = [Classifier(card, Recording(name, calls, len(card.classes)), compute) for name in "ab"]
    side = card.preprocessing.image_size
    images = np.zeros((3, side, side, 3), np.uint8)
    costs = measure_costs(models, images, 8)
    singles = [name for name, count in calls if count == 1][6:]
    assert singles[:6] == ["a", "b", "a", "b", "a", "b"]
    assert singles.count("a") == singles.count("b") >= 1
    assert [name for name, count in calls if count == 8][:4] == ["a", "b", "a", "b"]
    weights = sum(p.numel() * 4 for p in models[0].module.parameters())
    for cost in costs:
        assert 0 < cost.latency_p50_seconds <= cost.latency_p95_seconds < 5
        assert cost.images_per_second > 0
        assert cost.peak_bytes >= weights + 8 * 3 * side * side * 4  # weights and the batch as float32
    assert costs[0].measured.keys() == costs[1].measured.keys()
    assert torch.is_grad_enabled()
