"""The name space: `cnn`, `torchvision/<name>`, and every other name is timm's. Which family builds what."""

import difflib
from fnmatch import fnmatchcase
from typing import Protocol

from torch import nn

from podium.core.errors import ModelError
from podium.core.vision import timm
from podium.models.zoo import cnn, timm_family, torchvision_family
from podium.records.base import Triple

STUDIES = (
    "cnn",
    "torchvision/alexnet",
    "torchvision/vgg16",
    "torchvision/vgg19",
    "torchvision/googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "convnext_atto",
    "convnext_tiny",
)
"""The architectures of the five studies."""


class Family(Protocol):
    """What a module of this folder offers for its architectures; `name` is the name within the family."""

    def whole(self, name: str, classes: int, dropout: float) -> nn.Module:
        """The network as its authors built it, with its own head."""

    def features(self, name: str) -> nn.Module:
        """The network up to its feature map: float32 (N, 3, H, W) to (N, C, h, w)."""

    def image_size(self, name: str) -> int:
        """Pixels a side that it is usually given."""

    def normalisation(self, name: str) -> tuple[Triple, Triple]:
        """Mean and standard deviation per channel, of values in [0, 1]."""


def family(architecture: str) -> tuple[Family, str]:
    """Who builds an architecture.

    Args:
        architecture: as under `models.<name>.architecture`.

    Returns:
        The family, and the name within it.

    Raises:
        ModelError: there is no such architecture; the nearest names are given.
    """
    prefix, _, rest = architecture.rpartition("/")
    if architecture == cnn.NAME:
        return cnn, architecture
    if prefix == torchvision_family.NAME and rest in torchvision_family.names():
        return torchvision_family, rest
    if not prefix and timm.is_model(architecture):
        bare = architecture.partition(".")[0]
        if bare == architecture:
            return timm_family, architecture
        raise ModelError(
            f"architecture {architecture!r} names weights too: write {bare!r} there, and the tag in full under "
            f"weights: {architecture}"
        )
    raise ModelError(
        f"architecture {architecture!r} is not known{_nearest(architecture)}: `podium models` lists the usual ones, "
        "`podium models 'resnet*'` those that match a pattern"
    )


def names() -> list[str]:
    """Every architecture: `cnn`, torchvision's, then timm's in timm's own order."""
    torchvisions = [f"{torchvision_family.NAME}/{name}" for name in torchvision_family.names()]
    return [cnn.NAME, *torchvisions, *timm.list_models()]


def matching(pattern: str) -> list[str]:
    """Architectures whose name matches: `resnet*`, `*next_tiny`; a word without `*`, `?` or `[` matches anywhere."""
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return [name for name in names() if fnmatchcase(name, wanted)]


def image_size(architecture: str) -> int:
    """Pixels a side of the images an architecture is usually given.

    Raises:
        ModelError: there is no such architecture.
    """
    builder, name = family(architecture)
    return builder.image_size(name)


def normalisation(architecture: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation per channel that an architecture's authors use, of values in [0, 1].

    Raises:
        ModelError: the architecture is unknown, or does not take three channels.
    """
    builder, name = family(architecture)
    return builder.normalisation(name)


def _nearest(architecture: str) -> str:
    """The same name in another family first, then similar ones."""
    known = names()
    bare = architecture.rpartition("/")[2].partition(".")[0]
    same = [name for name in known if name.rpartition("/")[2] == bare]
    near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.4)
    found = list(dict.fromkeys([*same, *near]))[:3]
    return f"; did you mean {', '.join(found)}?" if found else ""
