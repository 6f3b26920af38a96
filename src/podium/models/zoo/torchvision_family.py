"""torchvision's AlexNet, VGG, GoogLeNet and ResNet families, by torchvision's names."""

from collections import OrderedDict
from functools import cache

from torch import nn

from podium.core.vision import timm, torchvision
from podium.records.base import Triple

models = torchvision.models
PREFIX = "torchvision/"
_MODULES = ("alexnet", "vgg", "googlenet", "resnet")
_HALF = (0.5, 0.5, 0.5)
_SIDE = 224


@cache
def names() -> tuple[str, ...]:
    """The names this family builds, sorted."""
    listed = models.list_models(models)
    return tuple(name for name in listed if models.get_model_builder(name).__module__.endswith(_MODULES))


def has(name: str) -> bool:
    """Whether this family builds it."""
    return name in names()


def whole(name: str, classes: int, dropout: float) -> nn.Module:
    """The network as torchvision builds it, with `dropout` in its head instead of torchvision's own value.

    GoogLeNet returns, while it trains, a tuple (logits, logits of its second and of its first auxiliary classifier),
    as in Szegedy et al. 2015; these keep the paper's dropout of 0.7. It never rescales its input by itself.
    """
    module = _build(name, classes)
    _set_dropout(module, dropout)
    return module


def features(name: str) -> nn.Module:
    """The layers up to the feature map, in a chain that keeps torchvision's names; without auxiliary classifiers."""
    module = _build(name, 1)
    kept = OrderedDict(module.named_children())
    for left_out in ("avgpool", "dropout", "fc", "classifier", "aux1", "aux2"):
        kept.pop(left_out, None)
    return nn.Sequential(kept)


def classifiers(module: nn.Module) -> tuple[nn.Module, ...]:
    """The parts of a whole network that belong to the classes.

    GoogLeNet's auxiliary ones count in full: torchvision's file holds no trained weights for them.
    """
    if isinstance(module, models.AlexNet | models.VGG):
        return (module.classifier[-1],)
    names = ("fc", "aux1", "aux2") if isinstance(module, models.GoogLeNet) else ("fc",)
    return tuple(module.get_submodule(name) for name in names)


def image_size(name: str) -> int:
    """Pixels a side that the published weights of all of these were trained with."""
    return _SIDE


def normalisation(name: str) -> tuple[Triple, Triple]:
    """ImageNet's statistics, except for GoogLeNet.

    Its published weights come from a network that took values in [-1, 1]: torchvision rescales their input inside
    the network (`transform_input`), here the normalisation does.
    """
    if name == "googlenet":
        return _HALF, _HALF
    return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD


def _set_dropout(module: nn.Module, dropout: float) -> None:
    if isinstance(module, models.ResNet):
        if dropout:  # it has none of its own: behind the pooling, where no tensor gets another name
            module.avgpool = nn.Sequential(module.avgpool, nn.Dropout(dropout))
        return
    for child in module.get_submodule("dropout" if isinstance(module, models.GoogLeNet) else "classifier").modules():
        if isinstance(child, nn.Dropout):
            child.p = dropout


def _build(name: str, classes: int) -> nn.Module:
    own = {"init_weights": True, "aux_logits": True, "transform_input": False} if name == "googlenet" else {}
    module: nn.Module = models.get_model(name, weights=None, num_classes=classes, **own)
    return module
