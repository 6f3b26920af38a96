"""`cnn`: the plain convolutional baseline, blocks of convolution, batch norm, ReLU and pooling under a classifier."""

from collections import OrderedDict

from torch import nn

from podium.core.vision import timm
from podium.records.base import Triple

PREFIX = ""
_WIDTHS = (32, 64, 128, 256)
_SIDE = 64


class Cnn(nn.Sequential):
    """float32 (N, 3, H, W) to logits (N, C); H and W at least 16, as every block halves them."""

    def get_classifier(self) -> nn.Module:
        """The layer that belongs to the classes."""
        return self.get_submodule("fc")


def names() -> tuple[str, ...]:
    """The one architecture of this module."""
    return ("cnn",)


def has(name: str) -> bool:
    """Whether it is `cnn`."""
    return name in names()


def whole(name: str, classes: int, dropout: float) -> nn.Module:
    """The baseline, with dropout between the pooled features and the classifier."""
    parts = OrderedDict[str, nn.Module](features=_blocks())
    parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["drop"] = nn.Dropout(dropout)
    parts["fc"] = nn.Linear(_WIDTHS[-1], classes)
    return Cnn(parts)


def features(name: str) -> nn.Module:
    """The four blocks: (N, 3, H, W) to (N, 256, H / 16, W / 16)."""
    return nn.Sequential(OrderedDict(features=_blocks()))


def image_size(name: str) -> int:
    """Pixels a side it is listed with; nothing was ever trained with it."""
    return _SIDE


def normalisation(name: str) -> tuple[Triple, Triple]:
    """ImageNet's statistics, so that it sees what the others see."""
    return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD


def _blocks() -> nn.Sequential:
    blocks = OrderedDict[str, nn.Module]()
    for number, (given, made) in enumerate(zip((3, *_WIDTHS), _WIDTHS, strict=False), start=1):
        blocks[f"block{number}"] = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(given, made, 3, padding=1, bias=False),  # the norm has a bias of its own
                norm=nn.BatchNorm2d(made),
                act=nn.ReLU(inplace=True),
                pool=nn.MaxPool2d(2),
            )
        )
    return nn.Sequential(blocks)
