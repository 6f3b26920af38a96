"""A network as params name it: its architecture, attention and head, its first weights, and what of it learns."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from podium.config.base import Number, PositiveInt, Section, Sha256, Text

_FILE = ("data:", "file:", "https:", "http:", "s3:", "gs:")
_FILE_NAMES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")


class Head(Section):
    """From features to logits. `pooling` or `hidden` replace the architecture's own head; dropout also sets its."""

    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    hidden: tuple[PositiveInt, ...] = ()
    pooling: Literal["own", "avg", "max", "avgmax"] = "own"


class Network(Section):
    """What is built: a timm name, `torchvision/<name>` or `cnn`; attention; a head.

    `attention_at`: one block of attention on the last features, or (of `cnn`) one within the network, at the end of
    each of its blocks.
    """

    architecture: Text
    attention: Literal["none", "se", "cbam", "self"] = "none"
    attention_at: Literal["features", "blocks"] = "features"
    head: Head = Head()

    @model_validator(mode="after")
    def _has_blocks_for_attention(self) -> Self:
        if self.attention_at == "blocks" and (self.architecture != "cnn" or self.attention == "none"):
            raise ValueError(
                f"attention_at is blocks, which is for architecture cnn with attention, not for {self.architecture!r} "
                f"with attention {self.attention}: set it to features"
            )
        return self


class From(Section):
    """The first block that learns (`podium models NAME` lists them); all before it is frozen."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Text = Field(alias="from")


_Reach = Literal["all", "head", "last_stage"]


def _how_named(given: object) -> str | None:
    """Which way of saying what learns is meant; None of anything else."""
    if isinstance(given, Mapping | From):
        return From.__name__
    return "word" if given in get_args(_Reach) else None


_Trainable = Annotated[
    Annotated[_Reach, Tag("word")] | Annotated[From, Tag(From.__name__)],
    Discriminator(
        _how_named,
        custom_error_type="trainable",
        custom_error_message="takes all, head, last_stage or {from: layer3}",
    ),
]


class WeightedNetwork(Network):
    """A network with its first weights, and what of it learns.

    `weights`: `none`; a timm tag in full (`resnet50.a1_in1k`); a torchvision enum (`ResNet50_Weights.IMAGENET1K_V2`);
    or a file (`data:`, `file:`, `https:`, `s3:`). `weights_licence` and `weights_pretraining` are said where the
    source does not say them. `init` draws random weights (of convolutions and linear layers) by another rule than the
    architecture's own.
    """

    weights: Text = "none"
    weights_sha256: Sha256 | None = None
    weights_licence: Text | None = None
    weights_pretraining: Text | None = None
    init: Literal["default", "xavier", "kaiming"] = "default"
    trainable: _Trainable = "all"

    @model_validator(mode="after")
    def _weights_are_named(self) -> Self:
        """Refuses what can be told from the words alone; whether such weights are published is known to `fetch`."""
        if self.weights != "none" and self.init != "default":
            raise ValueError(
                f"init is {self.init}, which is for random weights, but weights names some: remove one of the two"
            )
        if self.weights == "none":
            said = [key for key in ("weights_sha256", "weights_licence", "weights_pretraining") if getattr(self, key)]
            if said:
                raise ValueError(
                    f"{', '.join(said)} tells of weights, but weights is `none`: remove it, or name the weights"
                )
        elif is_file(self.weights):
            if self.weights_sha256 is None:
                raise ValueError("weights_sha256 is missing: pinned weights need the sha256 of their file")
        elif re.fullmatch(r"\w+(\.\w[\w\-]*)?", self.weights) is None or self.weights.endswith(_FILE_NAMES):
            raise ValueError(
                f"weights must be `none`, a timm tag in full (resnet50.a1_in1k), a torchvision enum "
                f"(ResNet50_Weights.IMAGENET1K_V2) or a file (data:, file:, https:, s3:), not {self.weights!r}; "
                "`podium models NAME` lists those of an architecture"
            )
        return self


def is_file(weights: str) -> bool:
    """Whether `weights` names a file by its address and no published set of weights."""
    return weights.startswith(_FILE)
