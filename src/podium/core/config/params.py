"""`params.yaml` as one frozen, typed whole; a stage gets the sections it needs and never sees the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from podium.core.config.base import Name, Section
from podium.core.config.dataset import Dataset, Fetch
from podium.core.config.judging import Compare, Evaluate, Promote, Publish
from podium.core.config.preprocess import Preprocess
from podium.core.config.problems import first_problem, nearest
from podium.core.config.training import Model, Runtime, SearchRange, Train, Tune
from podium.core.config.validate import Validate
from podium.core.errors import ParamsError


class Params(Section):
    """The whole of `params.yaml`."""

    experiment: Name
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    runtime: Runtime
    dataset: Dataset
    fetch: Fetch
    preprocess: Preprocess
    validate_: Validate = Field(alias="validate")
    models: dict[Name, Model] = Field(min_length=1)
    tune: Tune
    train: Train
    evaluate: Evaluate
    compare: Compare
    publish: Publish
    promote: Promote

    @model_validator(mode="after")
    def _model_sections_fit_the_recipe(self) -> Self:
        for name, model in self.models.items():
            recipe = self.recipe(name)
            own = {"warmup_epochs", "epochs"} & set(model.train)
            _check_warmup(recipe, f"models.{name}.train.warmup_epochs" if own else "train.warmup_epochs")
            for key, span in self.search(name).items():
                _check_search(f"models.{name}.search" if key in model.search else "tune.search", key, span, recipe)
        return self

    def recipe(self, model: str) -> Train:
        """The common recipe with the model's own keys on top.

        Args:
            model: a key of `models`.

        Returns:
            A complete, validated recipe.

        Raises:
            ParamsError: `model` is not in `models`, or an override is unknown or out of range.
        """
        overrides = self.model(model).train
        try:
            return Train.model_validate({**self.train.model_dump(), **overrides})
        except ValidationError as error:
            raise ParamsError(first_problem(error, Train, f"models.{model}.train")) from error

    def search(self, model: str) -> dict[str, SearchRange]:
        """The common search ranges with the model's own on top, by recipe key."""
        return {**self.tune.search, **self.model(model).search}

    def model(self, name: str) -> Model:
        """One entry of `models`.

        Raises:
            ParamsError: there is none of that name.
        """
        if name not in self.models:
            raise ParamsError(
                f"model {name!r} is not in params.yaml{nearest(name, self.models)} (models: {', '.join(self.models)})"
            )
        return self.models[name]


def load(path: Path) -> Params:
    """Reads and checks a params file.

    Args:
        path: `params.yaml` or a file of `experiments/`.

    Returns:
        Frozen, typed parameters.

    Raises:
        ParamsError: the file is missing, is not YAML, or breaks a rule; the message names the key.
    """
    if not path.is_file():
        raise ParamsError(f"{path} does not exist: run from the project's root, or restore it with git checkout")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path.name} is not YAML ({' '.join(str(error).split())}): correct that line") from error
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{path.name} must hold sections (dataset:, models:, ...), not {type(raw).__name__}")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError(f"{path.name}: {first_problem(error, Params, '')}") from error


def _check_warmup(recipe: Train, where: str) -> None:
    if recipe.warmup_epochs >= recipe.epochs:
        raise ParamsError(
            f"{where}: a warm-up of {recipe.warmup_epochs:g} epochs must be shorter than the run "
            f"({recipe.epochs} epochs): lower it"
        )


def _check_search(section: str, key: str, span: SearchRange, recipe: Train) -> None:
    """Refuses a range with values that a recipe could not take."""
    field = Train.model_fields.get(key)
    where = f"{section}.{key}"
    if field is None:
        raise ParamsError(f"{section}: {key!r} is not a key of the train section{nearest(key, Train.model_fields)}")
    if not (field.annotation is float or field.annotation is int):
        raise ParamsError(f"{section}: {key!r} is not a number, so no range can be searched: remove it")
    if key == "epochs":
        raise ParamsError(f"{where}: epochs cannot be searched, every trial gets tune.epochs: remove it")
    if field.annotation is int and not (span.low.is_integer() and span.high.is_integer()):
        raise ParamsError(f"{where} takes whole numbers, not {span.low:g} to {span.high:g}: round its range")
    for value in (span.low, span.high):
        try:
            changed = Train.model_validate({**recipe.model_dump(), key: value})
        except ValidationError as error:
            raise ParamsError(f"{first_problem(error, Train, section)}: narrow its range") from error
        _check_warmup(changed, where)
