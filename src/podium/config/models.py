"""Params section `models`: each a network with its first weights, what of it learns, and how.

Every value of a complete model has a dotted key, such as `train.loss.gamma`; these are what a study may change.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from podium.config.base import Number, PositiveFloat, PositiveInt, Section, Sha256, Text, keys_of, options
from podium.config.problems import nearest
from podium.config.train import Augment, Choices, Distil, Span, Train, Value
from podium.core.errors import ParamsError

_FILE = ("data:", "file:", "https:", "http:", "s3:", "gs:")
_FILE_NAMES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")


ClassifierKind = Literal["network", "logistic_regression", "nearest_neighbours"]
"""What gives the classes: a head that is trained, or one computed from the features of the frozen network (a probe)."""

NO_TRAINING = Train(
    epochs=1, batch_size=32, early_stopping=None, augment=Augment(flip=False, shift=0, brightness=0, contrast=0)
)
"""Stands where a probe's recipe would be: it sees each image once, unchanged."""

_GRIDS: dict[ClassifierKind, tuple[str, Choices]] = {
    "logistic_regression": ("C", Choices(choices=(1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0))),
    "nearest_neighbours": ("k", Choices(choices=(1, 3, 5, 10, 20, 50))),
}


class Head(Section):
    """From features to logits. `pooling` or `hidden` replace the architecture's own head; dropout also sets its."""

    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    hidden: tuple[PositiveInt, ...] = ()
    pooling: Literal["own", "avg", "max", "avgmax"] = "own"


class Network(Section):
    """What is built: a timm name, `torchvision/<name>` or `cnn`; attention; a head.

    `attention_at`: one block of attention on the last features, or (of `cnn`) one within the network, at the end of
    each of its blocks. `classifier`: what stands in place of the last layer.
    """

    architecture: Text
    classifier: ClassifierKind = "network"
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


class ModelSection(WeightedNetwork):
    """One entry of `models` as written: what differs from the common recipe, what is searched besides.

    A key that is null in `search` is left out of `tune.search` for this model. `warm_start` lists values that an
    earlier study found good; they are tried first.
    """

    train: dict[str, Any] = {}
    search: dict[str, Span | None] = {}
    warm_start: tuple[dict[str, Value], ...] = ()

    @model_validator(mode="after")
    def _probe_has_nothing_to_train(self) -> Self:
        """Refuses, for a probe, what only means something where a network is trained, and random layers."""
        if self.classifier == "network":
            return self
        if self.weights == "none":
            raise ValueError(f"classifier {self.classifier} is fitted on what pretrained weights give: name weights")
        key, _ = self.grid
        idle = {
            "trainable": "trainable" in self.model_fields_set and self.trainable != "head",
            "attention": self.attention != "none",
            "head.hidden": bool(self.head.hidden),
            "head.dropout": bool(self.head.dropout),
            "train": bool(self.train),
            "warm_start": bool(self.warm_start),
            **{f"search.{other}": other != key for other in self.search},
        }
        found = [name for name, given in idle.items() if given]
        if found:
            raise ValueError(
                f"classifier {self.classifier} is computed from frozen features, nothing else is trained or searched: "
                f"remove {', '.join(found)}"
            )
        if key in self.search and not isinstance(self.search[key], Choices):
            raise ValueError(f"search.{key} of classifier {self.classifier} takes {{choices: [...]}}: all are tried")
        return self

    @property
    def grid(self) -> tuple[str, Choices]:
        """The one key that the study of a probe searches, and the values it tries, in turn."""
        key, usual = _GRIDS[self.classifier]
        own = self.search.get(key)
        return key, own if isinstance(own, Choices) else usual


class ModelConfig(WeightedNetwork):
    """A model with its complete recipe, and for a student its teacher: what a stage is given.

    `C` and `k` are what the study of a probe chooses: the inverse strength of the regularisation, as scikit-learn
    counts it (for features of mean 0 and variance 1), and the neighbours that vote.
    """

    train: Train
    distil: Distil | None = None
    C: PositiveFloat = 1.0
    k: PositiveInt = 10

    @property
    def is_probe(self) -> bool:
        """Whether its head is computed from the features of the frozen network, without gradient descent."""
        return self.classifier != "network"

    @model_validator(mode="after")
    def _teacher_sees_the_images(self) -> Self:
        if self.distil is not None and self.train.views is not None:
            raise ValueError("views keeps what frozen layers give, but a teacher has to see the images: set it to null")
        return self

    @classmethod
    def of(cls, model: ModelSection, common: Train, distil: Distil | None = None) -> Self:
        """A model's section over the common recipe, within the recipe's sections too.

        Raises:
            ValidationError: an override is unknown or out of range.
        """
        own = model.model_dump(exclude={"train", "search", "warm_start"})
        if model.classifier != "network":
            return cls.model_validate({**own, "trainable": "head", "train": NO_TRAINING})
        recipe = Train.model_validate(_merge(common.model_dump(), model.train))
        return cls.model_validate({**own, "train": recipe, "distil": distil})

    @classmethod
    def type_at(cls, key: str, section: str) -> Any:
        """The type of the value at a dotted key: `int` and `float` for numbers, whatever else is declared otherwise.

        Raises:
            ParamsError: there is no such key.
        """
        current: Any = cls
        for step in key.split("."):
            keys = keys_of(current)
            if step not in keys:
                raise ParamsError(f"{section}: {key!r} is not a key of a model's section{_meant(key)}")
            current = _only(keys[step])
        return current

    def value_at(self, key: str) -> Value | None:
        """What the model has at a dotted key; None where it has nothing there that could be searched."""
        current: Any = self
        for step in key.split("."):
            current = getattr(current, step, None)
        return current if isinstance(current, bool | int | float | str) else None

    def with_values(self, values: Mapping[str, Value]) -> Self:
        """The model with some values replaced, by dotted key, and checked anew; whole numbers are rounded.

        A value inside a section that is null, such as `train.early_stopping.patience`, makes that section. What
        pydantic finds wrong is raised as it is: the caller knows whose fault it is and what to do.

        Raises:
            ParamsError: there is no such key.
            ValidationError: a value is out of its range, or does not go with another one.
        """
        document = self.model_dump()
        for key, value in values.items():
            kind = self.type_at(key, "search")
            *path, last = key.split(".")
            inner = document
            for step in path:
                inner[step] = inner[step] if isinstance(inner[step], dict) else {}
                inner = inner[step]
            inner[last] = round(value) if kind is int and isinstance(value, float) else value
        return self.model_validate(document)


def _merge(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The common section with a model's own keys on top, within its sections too."""
    both = dict(common)
    for key, value in own.items():
        inner = both.get(key)
        both[key] = _merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def _meant(key: str) -> str:
    """`; did you mean 'x'?`: a key of that name in another section, else the closest one, else the closest name."""
    known = list(_dotted_keys(ModelConfig))
    by_name = {each.rpartition(".")[2]: each for each in known}
    name = key.rpartition(".")[2]
    if name in by_name:
        return f"; did you mean {by_name[name]!r}?"
    close = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
    return nearest(key, known) or (f"; did you mean {by_name[close[0]]!r}?" if close else "")


def _dotted_keys(section: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values within a section."""
    for name, annotation in keys_of(section).items():
        inner = _only(annotation)
        if keys_of(inner):
            yield from _dotted_keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _only(annotation: Any) -> Any:
    """The type without its bounds and without `None`; a union of several as it is."""
    found = options(annotation)
    return found[0] if len(found) == 1 else annotation
