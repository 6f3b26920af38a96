"""Params section `tune`: the study of every model, and the ranges it draws from."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from podium.core.config.base import Number, PositiveInt, Section

Value = bool | int | float | str
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


class Choices(Section):
    """One of a list."""

    choices: Annotated[tuple[Value, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        twice = [value for number, value in enumerate(self.choices) if value in self.choices[:number]]
        if twice:
            raise ValueError(f"choices lists {twice[0]!r} more than once: remove it")
        return self


def _kind(given: object) -> str:
    """Which of the two is meant, so that a mistake in it is told in its own words."""
    names = given if isinstance(given, Mapping) else type(given).model_fields if isinstance(given, Section) else ()
    return Choices.__name__ if any(str(name).startswith("choice") for name in names) else Range.__name__


Span = Annotated[
    Annotated[Range, Tag(Range.__name__)] | Annotated[Choices, Tag(Choices.__name__)], Discriminator(_kind)
]


class Tune(Section):
    """The study every architecture gets: the same budget of images, the same engine.

    `trials` times `epochs` is the budget; what pruning saves is spent on further trials. `together` trials are asked
    for at once: it decides what they can know of each other, `runtime.trials_at_once` only how many run side by side.
    """

    trials: PositiveInt
    epochs: PositiveInt
    startup_trials: PositiveInt = 3
    pruner: Literal["median", "hyperband", "none"] = "median"
    together: PositiveInt = 1
    search: dict[str, Span]
