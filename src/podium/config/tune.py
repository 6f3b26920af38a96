"""Params section `tune`: the study of every model, and the ranges it draws from."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from podium.config.base import Number, PositiveInt, Section


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
