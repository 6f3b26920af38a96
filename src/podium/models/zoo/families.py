"""The name space of architectures: which family builds what. A family is a class here and an entry of `FAMILIES`."""

import difflib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from torch import nn

from podium.core.errors import ModelError, one_line
from podium.core.vision import timm, torchvision
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

_IMAGENET: tuple[Triple, Triple] = (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
_HALF = (0.5, 0.5, 0.5)
_WIDTHS = (32, 64, 128, 256)  # of the four blocks of `cnn`


class Family(ABC):
    """Builds some architectures; `name` is the name within the family.

    Attributes:
        prefix: what its architectures' names start with; empty where nothing.
    """

    prefix = ""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """All its architectures."""

    @abstractmethod
    def whole(self, name: str, classes: int, dropout: float, side: int) -> nn.Module:
        """The network as its authors built it, with its own head; `classifiers` knows what of it is the classes'.

        `side`, in pixels, is that of the images, for networks built for one size.
        """

    @abstractmethod
    def features(self, name: str, side: int) -> nn.Module:
        """The network up to its feature map: float32 (N, 3, H, W) to (N, C, h, w)."""

    def blocks_with(self, name: str, attention: Callable[[int], nn.Module]) -> nn.Module:
        """`features` with attention, made for a number of channels, at the end of each block.

        Raises:
            ModelError: this architecture has no place for it.
        """
        raise ModelError(f"{self.prefix}{name} takes attention on its features only: set attention_at to features")

    def has(self, name: str) -> bool:
        """Whether there is such an architecture."""
        return name in self.names()

    def image_size(self, name: str) -> int:
        """Pixels a side that it is usually given."""
        return 224

    def takes_one_size(self, name: str) -> bool:
        """Whether it is built for images of one size, as networks with a place for each patch or window are."""
        return False

    def normalisation(self, name: str) -> tuple[Triple, Triple]:
        """Mean and standard deviation per channel, of values in [0, 1]; ImageNet's unless the family says otherwise."""
        return _IMAGENET


class _Baseline(Family):
    """`cnn`, the plain baseline: blocks of convolution, batch norm, ReLU and pooling under a classifier.

    H and W are at least 16, as every block halves them. Nothing was ever trained with its size of 64.
    """

    def names(self) -> Sequence[str]:
        return ("cnn",)

    def whole(self, name: str, classes: int, dropout: float, side: int) -> nn.Module:
        parts = OrderedDict[str, nn.Module](self.features(name, side).named_children())
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        parts["flatten"] = nn.Flatten()
        parts["drop"] = nn.Dropout(dropout)
        parts["fc"] = nn.Linear(_WIDTHS[-1], classes)
        return nn.Sequential(parts)

    def features(self, name: str, side: int) -> nn.Module:
        return self._features(None)

    def blocks_with(self, name: str, attention: Callable[[int], nn.Module]) -> nn.Module:
        return self._features(attention)

    def _features(self, attention: Callable[[int], nn.Module] | None) -> nn.Module:
        blocks = OrderedDict[str, nn.Module]()
        for number, (given, made) in enumerate(zip((3, *_WIDTHS), _WIDTHS, strict=False), start=1):
            layers = OrderedDict[str, nn.Module](
                conv=nn.Conv2d(given, made, 3, padding=1, bias=False),  # the norm has a bias of its own
                norm=nn.BatchNorm2d(made),
                act=nn.ReLU(inplace=True),
                pool=nn.MaxPool2d(2),
            )
            if attention is not None:
                layers["attention"] = attention(made)
            blocks[f"block{number}"] = nn.Sequential(layers)
        return nn.Sequential(OrderedDict(features=nn.Sequential(blocks)))

    def image_size(self, name: str) -> int:
        return 64


class _Torchvision(Family):
    """torchvision's AlexNet, VGG, GoogLeNet and ResNet families, with `dropout` in their heads instead of its own.

    GoogLeNet returns, while it trains, a tuple (logits, logits of its second and of its first auxiliary classifier),
    as in Szegedy et al. 2015; these keep the paper's dropout of 0.7.
    """

    prefix = "torchvision/"

    @cache  # noqa: B019  # there is one object
    def names(self) -> Sequence[str]:
        models, kept = torchvision.models, ("alexnet", "vgg", "googlenet", "resnet")
        listed = models.list_models(models)
        return tuple(name for name in listed if models.get_model_builder(name).__module__.endswith(kept))

    def whole(self, name: str, classes: int, dropout: float, side: int) -> nn.Module:
        own = {"init_weights": True, "aux_logits": True, "transform_input": False} if name == "googlenet" else {}
        module: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **own)
        if not isinstance(module, torchvision.models.ResNet):
            for child in module.get_submodule("dropout" if name == "googlenet" else "classifier").modules():
                if isinstance(child, nn.Dropout):
                    child.p = dropout
        elif dropout:  # it has none of its own: behind the pooling, where no tensor gets another name
            module.avgpool = nn.Sequential(module.avgpool, nn.Dropout(dropout))
        return module

    def features(self, name: str, side: int) -> nn.Module:
        """Layers in a chain that keeps torchvision's names, without auxiliary classifiers."""
        kept = OrderedDict(self.whole(name, 1, 0.0, side).named_children())
        for left_out in ("avgpool", "dropout", "fc", "classifier", "aux1", "aux2"):
            kept.pop(left_out, None)
        return nn.Sequential(kept)

    def normalisation(self, name: str) -> tuple[Triple, Triple]:
        """GoogLeNet's weights come from a network of values in [-1, 1], to which torchvision rescales within it."""
        return (_HALF, _HALF) if name == "googlenet" else _IMAGENET


class _Timm(Family):
    """timm's architectures, by timm's bare names."""

    def names(self) -> Sequence[str]:
        listed: list[str] = timm.list_models()
        return listed

    def has(self, name: str) -> bool:
        """Whether timm knows it.

        Raises:
            ModelError: the name has a tag of weights, which belongs elsewhere.
        """
        bare = name.partition(".")[0]
        if timm.is_model(name) and bare != name:
            raise ModelError(
                f"architecture {name!r} names weights too: write {bare!r} there, and the tag in full under weights: "
                f"{name}"
            )
        return bool(timm.is_model(name))

    def whole(self, name: str, classes: int, dropout: float, side: int) -> nn.Module:
        module: nn.Module = self._built(name, side, num_classes=classes, drop_rate=dropout)
        return module

    def features(self, name: str, side: int) -> nn.Module:
        """By timm's own `reset_classifier`; of VGG the two large layers behind the feature map go as well."""
        module = self._built(name, side)
        if isinstance(module, timm.models.vgg.VGG):
            module.pre_logits = nn.Identity()
        try:
            module.reset_classifier(0, "")
        except (AssertionError, TypeError, ValueError) as error:
            raise ModelError(
                f"timm cannot leave out the pooling of {name} ({one_line(error)}), so nothing can be put on its "
                "features: leave attention, head.pooling and head.hidden out, or choose another architecture"
            ) from error
        features: nn.Module = module
        return features

    def takes_one_size(self, name: str) -> bool:
        """As timm lists: ViT, Swin and the like, which it builds for any size."""
        known = timm.get_pretrained_cfg(name)
        return known is not None and bool(known.fixed_input_size)

    def _built(self, name: str, side: int, **settings: float) -> Any:
        """As timm builds it; those that take one size are told which, where it is not the usual one.

        Raises:
            ModelError: timm has no such network for that size.
        """
        other = self.takes_one_size(name) and side != self.image_size(name)
        try:
            return timm.create_model(name, pretrained=False, **({"img_size": side} if other else {}), **settings)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if not other:
                raise
            raise ModelError(
                f"timm cannot build {name} for images of {side} px ({one_line(error)}): change preprocess.image_size "
                "or the architecture"
            ) from error

    def image_size(self, name: str) -> int:
        """Of timm's default weights, where it lists any."""
        known = timm.get_pretrained_cfg(name)
        return super().image_size(name) if known is None else int(known.input_size[1])

    def normalisation(self, name: str) -> tuple[Triple, Triple]:
        known = timm.get_pretrained_cfg(name)
        if known is None:
            return _IMAGENET  # what timm itself falls back on
        if len(known.mean) != 3 or len(known.std) != 3:
            raise ModelError(f"{name} takes {len(known.mean)} channels, images have 3: choose another architecture")
        return tuple(known.mean), tuple(known.std)


FAMILIES: tuple[Family, ...] = (_Baseline(), _Torchvision(), _Timm())
"""`cnn`, `torchvision/<name>`, and every other name is timm's."""


def family(architecture: str) -> tuple[Family, str]:
    """Who builds an architecture, and its name within the family.

    Args:
        architecture: as under `models.<name>.architecture`.

    Raises:
        ModelError: there is no such architecture; the nearest names are given.
    """
    for builder in FAMILIES:
        name = architecture.removeprefix(builder.prefix)
        if architecture.startswith(builder.prefix) and builder.has(name):
            return builder, name
    raise ModelError(
        f"architecture {architecture!r} is not known{_nearest(architecture)}: `podium models` lists the usual ones, "
        "`podium models 'resnet*'` those that match a pattern"
    )


def names() -> list[str]:
    """Every architecture, family by family, in each family's own order."""
    return [f"{builder.prefix}{name}" for builder in FAMILIES for name in builder.names()]


def matching(pattern: str) -> list[str]:
    """Architectures whose name matches: `resnet*`, `*next_tiny`; a word without `*`, `?` or `[` matches anywhere."""
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return [name for name in names() if fnmatchcase(name, wanted)]


def image_size(architecture: str, built_for: int | None = None) -> int:
    """Pixels a side of the images an architecture is usually given; `family` says which error there may be.

    Args:
        architecture: as in `family`.
        built_for: pixels; what a network that takes one size only was built for, if not for the usual one.
    """
    builder, name = family(architecture)
    return built_for if built_for is not None and builder.takes_one_size(name) else builder.image_size(name)


def normalisation(architecture: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation per channel that an architecture's authors use, of values in [0, 1].

    Raises a `ModelError` for an unknown architecture and for one that does not take three channels.
    """
    builder, name = family(architecture)
    return builder.normalisation(name)


def classifiers(module: nn.Module) -> tuple[nn.Module, ...]:
    """The parts of a whole network that belong to the classes; distilled transformers have two.

    GoogLeNet's auxiliary ones count in full: torchvision's file holds no trained weights for them.
    """
    match module:
        case torchvision.models.AlexNet() | torchvision.models.VGG():
            return (module.classifier[-1],)
        case torchvision.models.GoogLeNet():
            return module.fc, module.aux1, module.aux2
        case torchvision.models.ResNet():
            return (module.fc,)
        case nn.Sequential():
            return (module[-1],)
    found = module.get_classifier()  # type: ignore[operator]  # timm's networks have it, nn.Module does not say
    return found if isinstance(found, tuple) else (found,)


def _nearest(architecture: str) -> str:
    """The same name in another family first, then similar ones."""
    known = names()
    bare = architecture.rpartition("/")[2].partition(".")[0]
    same = [name for name in known if name.rpartition("/")[2] == bare]
    near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.4)
    found = list(dict.fromkeys([*same, *near]))[:3]
    return f"; did you mean {', '.join(found)}?" if found else ""
