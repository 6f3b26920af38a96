"""The name space: which family builds what. A family is a module of this folder and an entry of `FAMILIES`."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from torch import nn

from podium.core.errors import ModelError
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
    """What a module of this folder offers for its architectures; `name` is the name within the family.

    Its networks have timm's `get_classifier()`, or `build.py` knows what of them belongs to the classes.
    """

    PREFIX: str
    """What its architectures' names start with; empty where nothing."""

    def names(self) -> Sequence[str]:
        """All its architectures."""

    def has(self, name: str) -> bool:
        """Whether there is such an architecture."""

    def whole(self, name: str, classes: int, dropout: float) -> nn.Module:
        """The network as its authors built it, with its own head."""

    def features(self, name: str) -> nn.Module:
        """The network up to its feature map: float32 (N, 3, H, W) to (N, C, h, w)."""

    def image_size(self, name: str) -> int:
        """Pixels a side that it is usually given."""

    def normalisation(self, name: str) -> tuple[Triple, Triple]:
        """Mean and standard deviation per channel, of values in [0, 1]."""


FAMILIES: tuple[Family, ...] = (cnn, torchvision_family, timm_family)
"""`cnn`, `torchvision/<name>`, and every other name is timm's."""


def family(architecture: str) -> tuple[Family, str]:
    """Who builds an architecture.

    Args:
        architecture: as under `models.<name>.architecture`.

    Returns:
        The family, and the name within it.

    Raises:
        ModelError: there is no such architecture; the nearest names are given.
    """
    for builder in FAMILIES:
        name = architecture.removeprefix(builder.PREFIX)
        if architecture.startswith(builder.PREFIX) and builder.has(name):
            return builder, name
    raise ModelError(
        f"architecture {architecture!r} is not known{_nearest(architecture)}: `podium models` lists the usual ones, "
        "`podium models 'resnet*'` those that match a pattern"
    )


def names() -> list[str]:
    """Every architecture, family by family, in each family's own order."""
    return [f"{builder.PREFIX}{name}" for builder in FAMILIES for name in builder.names()]


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
