"""Building a network. Initial weights are a function of the seed, never of global state."""

import torch
from torch import nn

from podium.config.contender import Head, Network
from podium.core.errors import ModelError
from podium.data.randomness import number
from podium.models.zoo.composed import compose
from podium.models.zoo.families import Family, family


def create(network: Network, classes: int, seed: int) -> nn.Module:
    """Builds a network with fresh weights.

    With no attention and the architecture's own pooling it is the architecture as its authors built it, with
    `head.dropout` in its own head. Otherwise it is a `Composed`, where `own` pooling is the average.

    Args:
        network: architecture, attention, head.
        classes: outputs of the head.
        seed: of the experiment; decides the weights.

    Returns:
        A float32 module on the default device (the CPU), in training mode. Images float32 (N, 3, H, W) give logits
        (N, C); GoogLeNet's own form gives a tuple with its auxiliary logits while it trains.

    Raises:
        ModelError: there is no such architecture (the nearest names are given), or it has no feature map to put
            attention or another head on.
    """
    builder, name = family(network.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(seed, "weights", 0))
        if network.attention == "none" and network.head == Head(dropout=network.head.dropout):
            return builder.whole(name, classes, network.head.dropout)
        channels = _channels(builder, network.architecture, name)
        with torch.device("meta"):
            complete = builder.whole(name, 1, 0.0).state_dict().keys()
        backbone = builder.features(name)
        return compose(backbone, channels, network, classes, frozenset(complete - backbone.state_dict().keys()))


def _channels(builder: Family, architecture: str, name: str) -> int:
    """Channels of the feature map, found on the meta device, where shapes are computed and no numbers.

    A square image has a square map, so a map whose last two sides differ has its channels elsewhere.
    """
    side = builder.image_size(name)
    with torch.device("meta"), torch.no_grad():
        shape = tuple(builder.features(name).eval()(torch.empty(1, 3, side, side)).shape)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ModelError(
            f"the features of {architecture} have the shape {shape} and are no map (N, C, H, W) to put attention or "
            "another head on: leave attention, head.pooling and head.hidden out, or choose a convolutional architecture"
        )
    return int(shape[1])
