"""Params section `models`: each a network with its first weights, what of it learns, and how.

Every value of a complete model has a dotted key, such as `train.loss.gamma`; these are what a study may change.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import model_validator

from podium.config.base import keys_of, options
from podium.config.network import WeightedNetwork
from podium.config.problems import nearest
from podium.config.train import Distil, Span, Train, Value
from podium.core.errors import ParamsError


class ModelSection(WeightedNetwork):
    """One entry of `models` as written: what differs from the common recipe, what is searched besides.

    A key that is null in `search` is left out of `tune.search` for this model. `warm_start` lists values that an
    earlier study found good; they are tried first.
    """

    train: dict[str, Any] = {}
    search: dict[str, Span | None] = {}
    warm_start: tuple[dict[str, Value], ...] = ()


class ModelConfig(WeightedNetwork):
    """A model with its complete recipe, and for a student its teacher: what a stage is given."""

    train: Train
    distil: Distil | None = None

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
        recipe = Train.model_validate(_merge(common.model_dump(), model.train))
        own = model.model_dump(exclude={"train", "search", "warm_start"})
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
