"""Params sections `runtime`, `models`, `tune` and `train`: what is computed, how, and what is searched."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from podium.core.config.base import Fraction, PositiveFloat, PositiveInt, Section, Sha256


class Runtime(Section):
    """How numbers are computed. All but `workers` change bytes, so they are part of every fingerprint."""

    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    threads: PositiveInt = 2
    workers: Annotated[int, Field(ge=0)] = 2


class Augment(Section):
    """Random changes of a training batch."""

    flip: bool = True
    shift: Fraction = 0.08
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2


class EarlyStopping(Section):
    """Stops when validation loss has not improved by `min_delta` for `patience` epochs."""

    patience: PositiveInt
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class Train(Section):
    """The training recipe; `models.<name>.train` overrides any key of it for one model."""

    epochs: PositiveInt
    batch_size: PositiveInt
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.5
    step_epochs: PositiveInt = 30
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    early_stopping: EarlyStopping | None = None
    augment: Augment = Augment()


class SearchRange(Section):
    """A range Optuna draws from; `log` draws its logarithm uniformly."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be above 0 when log is true")
        return self


class Tune(Section):
    """The study every architecture gets: same trials, same epochs, same engine."""

    trials: PositiveInt
    epochs: PositiveInt
    startup_trials: PositiveInt = 3
    search: dict[str, SearchRange]


class Model(Section):
    """One contender: an architecture, where its weights come from, and what differs from the common recipe."""

    architecture: str
    weights: str = "none"
    weights_sha256: Sha256 | None = None
    train: dict[str, Any] = {}
    search: dict[str, SearchRange] = {}

    @model_validator(mode="after")
    def _weights_are_pinned(self) -> Self:
        if self.weights != "none":
            if not self.weights.startswith("data:"):
                raise ValueError(f"weights must be `none` or `data:<file>` (a file below data/), not {self.weights!r}")
            if self.weights_sha256 is None:
                raise ValueError("weights_sha256 is missing: pinned weights need the sha256 of their file")
        return self
