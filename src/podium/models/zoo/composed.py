"""A network put together: a backbone up to its feature map, a block of attention, a head."""

from collections import OrderedDict

from torch import nn

from podium.config.contender import Head, Network
from podium.core.vision import timm
from podium.models.zoo.attention import block


class Composed(nn.Sequential):
    """Children `backbone`, `attention`, `head`, in the order they are computed; the backbone keeps its own names.

    `replaced` names the tensors of the whole architecture that the backbone does without.
    """

    def __init__(self, backbone: nn.Module, attention: nn.Module, head: nn.Module, replaced: frozenset[str]) -> None:
        super().__init__(OrderedDict(backbone=backbone, attention=attention, head=head))
        self.replaced = replaced


def compose(backbone: nn.Module, channels: int, network: Network, classes: int, replaced: frozenset[str]) -> Composed:
    """Puts fresh attention and a fresh head on a backbone.

    Args:
        backbone: (N, 3, H, W) to (N, `channels`, h, w).
        channels: of its feature map.
        network: which attention, which head.
        classes: outputs of the head.
        replaced: tensors of the whole architecture that the backbone lacks.
    """
    return Composed(backbone, block(network.attention, channels), _head(channels, network.head, classes), replaced)


def _head(channels: int, head: Head, classes: int) -> nn.Sequential:
    """Pooling (`own` = average), dropout, hidden layers with ReLU and dropout each, the classifier."""
    hidden = nn.Sequential()
    width = channels
    for size in head.hidden:
        hidden.extend((nn.Linear(width, size), nn.ReLU(inplace=True), nn.Dropout(head.dropout)))
        width = size
    pool = timm.layers.SelectAdaptivePool2d(pool_type="avg" if head.pooling == "own" else head.pooling, flatten=True)
    return nn.Sequential(
        OrderedDict(pool=pool, drop=nn.Dropout(head.dropout), hidden=hidden, fc=nn.Linear(width, classes))
    )
