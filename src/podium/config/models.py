"""Params section `models`: each a network with its first weights, what of it learns, and how."""

from collections.abc import Mapping
from typing import Any, Self

from podium.config.network import WeightedNetwork
from podium.config.train import Train
from podium.config.tune import Span, Value


class ModelConfig(WeightedNetwork):
    """A model with its complete recipe: what a stage is given, and what a study may change."""

    train: Train

    @classmethod
    def of(cls, model: "ModelSection", common: Train) -> Self:
        """A model's section over the common recipe, within the recipe's sections too.

        Raises:
            ValidationError: an override is unknown or out of range.
        """
        recipe = Train.model_validate(_merge(common.model_dump(), model.train))
        return cls.model_validate({**model.model_dump(exclude={"train", "search", "warm_start"}), "train": recipe})


class ModelSection(WeightedNetwork):
    """One entry of `models` as written: what differs from the common recipe, what is searched besides.

    A key that is null in `search` is left out of `tune.search` for this model. `warm_start` lists values that an
    earlier study found good; they are tried first.
    """

    train: dict[str, Any] = {}
    search: dict[str, Span | None] = {}
    warm_start: tuple[dict[str, Value], ...] = ()

    def spans(self, common: Mapping[str, Span]) -> dict[str, Span]:
        """What a study searches: `tune.search` with the model's own `search` on top, without what is null there."""
        return {key: span for key, span in {**common, **self.search}.items() if span is not None}


def _merge(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The common section with a model's own keys on top, within its sections too."""
    both = dict(common)
    for key, value in own.items():
        inner = both.get(key)
        both[key] = _merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both
