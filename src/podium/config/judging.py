"""Params sections `evaluate`, `compare`, `publish` and `promote`: how models are measured, chosen and let through."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from podium.config.base import Because, Fraction, Name, Number, PositiveFloat, PositiveInt, Section, Whole

Condition = Literal[
    "image_size",
    "pretraining",
    "distillation",
    "images_seen",
    "tuning_images",
    "seed",
    "dtype",
    "processes",
    "train_split",
    "val_split",
]
"""What must be equal for a comparison to be of the models alone. Different test images are never compared."""
Accepted = Condition | Literal["undecided"]
"""What `compare.accept` may name."""
Metric = Literal["accuracy", "macro_f1"]
"""What the models are ranked and compared by."""


def _with_reasons(given: object) -> object:
    """What was given, unless it is no mapping: whoever accepts something says why."""
    if not isinstance(given, Mapping):
        raise ValueError(
            "names what is accepted with the reason of each, {} for nothing: accept: {undecided: <why>, pretraining: "
            "<why>}"
        )
    return given


class Evaluate(Section):
    """What is measured on the test split."""

    batch_size: PositiveInt = 64
    top_k: PositiveInt = 3
    low_confidence: Fraction = 0.5
    calibration_bins: PositiveInt = 15
    bootstrap_samples: PositiveInt = 2000
    mistakes: Annotated[Whole, Field(ge=0)] = 24


class Compare(Section):
    """How the winner is chosen.

    `margin` is a difference in the metric, as a fraction, that is too small to matter: models whose difference surely
    lies within it are equivalent. `accept` names conditions in which models may differ, and `undecided` where a leader
    may be promoted that the test images do not tell from the others; each with its reason, which is shown wherever the
    decision is.
    """

    metric: Metric = "accuracy"
    significance: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    margin: Annotated[Number, Field(gt=0, lt=1)]
    accept: Annotated[dict[Accepted, Because], BeforeValidator(_with_reasons)] = {}


class Publish(Section):
    """Names in MLflow; `register_queued`: winners of `dvc exp run --queue` and `--temp` become versions, too."""

    registered_model: Name
    register_queued: bool = False


class Promote(Section):
    """The gates between a model version and the alias `staging`; `gates` sets limits of gates that have a default."""

    minimum_accuracy: Fraction
    minimum_macro_f1: Fraction
    minimum_recall: dict[str, Fraction] = {}
    maximum_latency_seconds: PositiveFloat
    holder_significance: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    gates: dict[str, Number] = {}
