"""Architectures in figures, computed on the meta device: shapes only, so that even the largest takes a moment."""

from dataclasses import dataclass

import torch
from torch import nn

from podium.config.contender import Network
from podium.models.zoo.building import create
from podium.models.zoo.cost import count_parameters, flops
from podium.models.zoo.families import image_size

CLASSES = 1000
"""ImageNet's, with which architectures are usually quoted."""


@dataclass(frozen=True)
class Figures:
    """What an architecture costs with its own head and 1000 classes.

    `parameters` includes auxiliary classifiers. `flops` are those of one image of `image_size` pixels a side, forward,
    2 per multiply-add.
    """

    architecture: str
    image_size: int
    parameters: int
    flops: int


def figures(architecture: str) -> Figures:
    """Builds an architecture without its weights' values and counts.

    Raises:
        ModelError: there is no such architecture.
    """
    side = image_size(architecture)
    module = without_values(architecture)
    return Figures(architecture, side, count_parameters(module), flops(module, side))


def without_values(architecture: str) -> nn.Module:
    """The network with its own head on the meta device, where tensors have shapes and no values.

    Raises:
        ModelError: there is no such architecture.
    """
    with torch.device("meta"):
        return create(Network(architecture=architecture), CLASSES, 0)
