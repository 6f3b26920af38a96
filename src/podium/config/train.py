"""Params section `train`: the training recipe, with its loss and its augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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
