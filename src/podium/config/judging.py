"""Params sections `evaluate`, `compare`, `publish` and `promote`: how models are measured, chosen and let through."""

from typing import Annotated, Literal

from pydantic import Field

from podium.config.base import Fraction, Name, Number, PositiveFloat, PositiveInt, Section, Whole

Condition = Literal[
    "image_size",
    "pretraining",
    "images_seen",
    "tuning_images",
    "seed",
    "dtype",
    "processes",
    "train_split",
    "val_split",
]
"""What must be equal for a comparison to be of the models alone. Different test images are never compared."""


class Evaluate(Section):
    """What is measured on the test split."""

    batch_size: PositiveInt = 64
    top_k: PositiveInt = 3
    low_confidence: Fraction = 0.5
    calibration_bins: PositiveInt = 15
    bootstrap_samples: PositiveInt = 2000
    mistakes: Annotated[Whole, Field(ge=0)] = 24


class Compare(Section):
    """How the winner is chosen. `accept` names conditions in which models may differ; the report says so."""

    metric: Literal["accuracy", "macro_f1"] = "accuracy"
    significance: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    accept: tuple[Condition, ...] = ()


class Publish(Section):
    """Names in MLflow."""

    registered_model: Name


class Promote(Section):
    """The gates between a model version and the alias `staging`; `gates` sets limits of gates that have a default."""

    minimum_accuracy: Fraction
    minimum_macro_f1: Fraction
    minimum_recall: dict[str, Fraction] = {}
    maximum_latency_seconds: PositiveFloat
    holder_significance: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    gates: dict[str, Number] = {}
