"""Params sections `train`, the recipe with its loss and its augmentation, and `tune`, the study of every model."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from podium.config.base import Fraction, Name, Number, PositiveFloat, PositiveInt, Section

NotNegative = Annotated[Number, Field(ge=0)]


class RandAugment(Section):
    """Random operations one after the other on each image (Cubuk et al. 2020)."""

    operations: PositiveInt = 2
    magnitude: Annotated[Number, Field(ge=0, le=10)] = 5.0


class Augment(Section):
    """Random changes of each training image; 0 (of flips false, of `randaugment` null) = off.

    Each image draws its own strength up to the one given; every second one is flipped left to right, or for
    `vertical_flip` upside down. `shift`, `perspective` (of a corner, in or out) and `elastic`
    are shares of the side; `crop_area` is the smallest share of the area that is kept; `rotation` is in degrees to
    either side; `zoom`, `brightness`, `contrast` and `saturation` are the largest distance of a factor to 1; `hue` is a
    share of the colour circle; `noise` the largest standard deviation, of values in [0, 1]; `blur` the largest one in
    pixels; `erasing` the share of images that lose a box; `mixup` and `cutmix` are alphas of Beta distributions.
    """

    flip: bool = True
    vertical_flip: bool = False
    shift: Fraction = 0.06
    crop_area: Annotated[Number, Field(gt=0, le=1)] = 1.0
    rotation: Annotated[Number, Field(ge=0, le=180)] = 0.0
    zoom: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    perspective: Annotated[Number, Field(ge=0, le=0.2)] = 0.0
    elastic: Fraction = 0.0
    brightness: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    saturation: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    hue: Annotated[Number, Field(ge=0, le=0.5)] = 0.0
    noise: Fraction = 0.0
    blur: NotNegative = 0.0
    erasing: Fraction = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    randaugment: RandAugment | None = None


class Loss(Section):
    """What is minimised. `group_weight` adds the cross entropy of the coarse classes (`dataset.groups`)."""

    kind: Literal["cross_entropy", "focal", "bce"] = "cross_entropy"
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.05
    class_weights: Literal["none", "balanced"] = "none"
    gamma: NotNegative = 2.0
    alpha: PositiveFloat = 1.0
    group_weight: NotNegative = 0.0


class Distil(Section):
    """How a model learns from another one's answers as well (Hinton et al. 2015): `distil.<student>` of the params.

    `temperature` softens the answers of both; `weight` is the share of the teacher in the loss.
    """

    teacher: Name
    temperature: PositiveFloat = 4.0
    weight: Annotated[Number, Field(gt=0, le=1)] = 0.5


class EarlyStopping(Section):
    """Stops when a validation loss has not improved by `min_delta` for `patience` epochs.

    `monitor`: the plain cross entropy, which all recipes have in common, or `loss`, what the recipe minimises (its
    `loss` of the unchanged validation images, without what a teacher adds). The epoch that is kept is the best by it.
    """

    patience: PositiveInt = 3
    min_delta: NotNegative = 0.0
    monitor: Literal["cross_entropy", "loss"] = "cross_entropy"


class Train(Section):
    """The training recipe; `models.<name>.train` overrides any key of it for one model.

    `views`: None draws new changes for every epoch; K keeps K versions of each image and takes them in turn, so that a
    frozen prefix needs to see each only once. `unfreeze_every`: epochs after which one more stage of what `trainable`
    allows starts to learn; None = all of it at once. `cycle_epochs`: those in which `cosine` falls from the rate to 0
    and, in as many again, rises (None = it falls over the whole run), or after which `cosine_restarts` begins anew.
    `decay_norms_and_biases`: whether weight decay is for these parameters too.
    """

    epochs: PositiveInt
    batch_size: PositiveInt
    micro_batch_size: PositiveInt | None = None
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "lamb"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    layer_decay: Annotated[Number, Field(gt=0, le=1)] = 1.0
    weight_decay: NotNegative = 0.05
    decay_norms_and_biases: bool = False
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["cosine", "cosine_restarts", "linear", "step", "plateau", "constant"] = "cosine"
    warmup_epochs: NotNegative = 0.5
    cycle_epochs: PositiveFloat | None = None
    step_epochs: PositiveInt = 30
    step_factor: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    clip_norm: PositiveFloat | None = None
    ema_decay: Annotated[Number, Field(gt=0, lt=1)] | None = None
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    unfreeze_every: PositiveInt | None = None
    views: PositiveInt | None = None
    early_stopping: EarlyStopping | None = EarlyStopping()
    loss: Loss = Loss()
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        if self.sampling == "balanced" and self.loss.class_weights == "balanced":
            raise ValueError(
                "sampling and loss.class_weights are both balanced, which counts rare classes twice: keep one"
            )
        if self.schedule == "cosine_restarts" and self.cycle_epochs is None:
            raise ValueError(
                "schedule is cosine_restarts, but cycle_epochs does not say when it restarts: set it, or use cosine"
            )
        if self.views is not None and (self.augment.mixup or self.augment.cutmix):
            raise ValueError(
                "views keeps changed images, but mixup and cutmix mix those of a batch: set one of them off"
            )
        return self


def _single(given: object) -> object:
    """What was given, if it can be one value: of anything else each of the four types would complain in its own way."""
    if not isinstance(given, bool | int | float | str) or (isinstance(given, float) and not math.isfinite(given)):
        raise ValueError("takes a finite number, a word or a truth value")
    return given


Value = Annotated[bool | int | float | str, BeforeValidator(_single)]
"""What a searched key may be given."""


class Range(Section):
    """Numbers between two ends; `log` draws their logarithm uniformly; keys of whole numbers get whole numbers."""

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be above 0 when log is true")
        return self

    def holds(self, value: Value) -> bool:
        """Whether a value is one of those that are searched."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def ends(self) -> tuple[float, float]:
        """Least and greatest."""
        return self.low, self.high


class Choices(Section):
    """One of a list."""

    choices: tuple[Value, ...]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(self.choices) < 2:
            raise ValueError(f"choices lists {len(self.choices)} values, but a choice is among at least 2: add others")
        twice = [value for number, value in enumerate(self.choices) if value in self.choices[:number]]
        if twice:
            raise ValueError(f"choices lists {twice[0]!r} more than once: remove it")
        return self

    def holds(self, value: Value) -> bool:
        """Whether a value is one of those that are searched."""
        return value in self.choices

    @property
    def ends(self) -> tuple[float, float] | None:
        """Least and greatest of three numbers or more; None of others, which are no scale that could go on."""
        numbers = sorted(value for value in self.choices if isinstance(value, int | float) and type(value) is not bool)
        return (numbers[0], numbers[-1]) if len(numbers) == len(self.choices) > 2 else None


def _kind(given: object) -> str | None:
    """Which of the two is meant, so that a mistake in it is told in its own words; None of what can be neither."""
    if not isinstance(given, Mapping | Section):
        return None
    names = given if isinstance(given, Mapping) else type(given).model_fields
    return Choices.__name__ if any(str(name).startswith("choice") for name in names) else Range.__name__


Span = Annotated[
    Annotated[Range, Tag(Range.__name__)] | Annotated[Choices, Tag(Choices.__name__)],
    Discriminator(_kind, custom_error_type="span", custom_error_message="takes {low, high, log} or {choices: [...]}"),
]


class Tune(Section):
    """The study every architecture gets: the same budget of images, the same engine.

    `trials` times `epochs` is the budget; what pruning saves is spent on further trials. `together` trials are asked
    for at once: it decides what they can know of each other, `resources.trials_at_once` only how many run side by side.
    """

    trials: PositiveInt
    epochs: PositiveInt
    startup_trials: PositiveInt = 2
    pruner: Literal["median", "hyperband", "none"] = "median"
    together: PositiveInt = 1
    search: dict[str, Span]

    @model_validator(mode="after")
    def _chance_ends(self) -> Self:
        # One trial is nobody's study: it is how people try out the rest, and no value of the other key would help it.
        if self.startup_trials > self.trials > 1:
            raise ValueError(
                f"startup_trials ({self.startup_trials}) is more than trials ({self.trials}), so every trial would be "
                "drawn by chance: lower it"
            )
        return self
