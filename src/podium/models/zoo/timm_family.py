"""timm's architectures, by timm's bare names."""

from torch import nn

from podium.core.errors import ModelError, one_line
from podium.core.vision import timm
from podium.records.base import Triple

PREFIX = ""
_DEFAULT_SIDE = 224  # pixels


def names() -> list[str]:
    """All that timm builds, in timm's own order."""
    listed: list[str] = timm.list_models()
    return listed


def has(name: str) -> bool:
    """Whether timm builds it.

    Raises:
        ModelError: the name has a tag of weights.
    """
    if not timm.is_model(name):
        return False
    bare = name.partition(".")[0]
    if bare == name:
        return True
    raise ModelError(
        f"architecture {name!r} names weights too: write {bare!r} there, and the tag in full under weights: {name}"
    )


def whole(name: str, classes: int, dropout: float) -> nn.Module:
    """The network as timm builds it; `dropout` goes before its classifier."""
    module: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, drop_rate=dropout)
    return module


def features(name: str) -> nn.Module:
    """The network without pooling and classifier, by timm's own `reset_classifier(0, "")`.

    Of VGG the two large layers behind the feature map (`pre_logits`) go as well.

    Raises:
        ModelError: pooling is a part of the network that cannot be left out.
    """
    module: nn.Module = timm.create_model(name, pretrained=False)
    if isinstance(module, timm.models.vgg.VGG):
        module.pre_logits = nn.Identity()
    try:
        module.reset_classifier(0, "")  # type: ignore[operator]  # every timm network has it, nn.Module does not say so
    except (AssertionError, TypeError, ValueError) as error:
        raise ModelError(
            f"timm cannot leave out the pooling of {name} ({one_line(error)}), so nothing can be put on its features: "
            "leave attention, head.pooling and head.hidden out, or choose another architecture"
        ) from error
    return module


def image_size(name: str) -> int:
    """The side, in pixels, that timm lists for its default weights; 224 where it lists none."""
    known = timm.get_pretrained_cfg(name)
    return int(known.input_size[1]) if known is not None else _DEFAULT_SIDE


def normalisation(name: str) -> tuple[Triple, Triple]:
    """What timm lists.

    Raises:
        ModelError: the network does not take three channels.
    """
    known = timm.get_pretrained_cfg(name)
    if known is None:
        return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD  # what timm itself falls back on
    if len(known.mean) != 3 or len(known.std) != 3:
        raise ModelError(f"{name} takes {len(known.mean)} channels, images have 3: choose another architecture")
    return tuple(known.mean), tuple(known.std)
