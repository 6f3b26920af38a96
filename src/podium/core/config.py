"""`params.yaml` as frozen, typed sections. Unknown keys are refused, with the nearest valid one.

One class per section; a stage gets the sections it needs, typed, and never sees the file. Units: seconds, pixels,
fractions in [0, 1].
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from podium.core.errors import ParamsError, one_line

Severity = Literal["critical", "warning"]
Split = Literal["train", "val", "test"]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$")]


class Section(BaseModel):
    """A part of `params.yaml`: frozen, unknown keys and numbers without end refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Runtime(Section):
    """How numbers are computed. All but `workers` change bytes, so they are part of every fingerprint."""

    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    threads: PositiveInt = 2
    workers: Annotated[int, Field(ge=0)] = 2


class Dataset(Section):
    """Where the images come from."""

    source: Literal["sample", "folder", "archive"]
    location: Annotated[str, Field(min_length=1)]
    sha256: Sha256 | None = None
    licence: str
    limit_per_class: PositiveInt | dict[Split, PositiveInt] | None = None


class Fetch(Section):
    """Limits of downloading and unpacking."""

    timeout_seconds: PositiveFloat = 30.0
    retries: Annotated[int, Field(ge=0)] = 5
    max_files: PositiveInt = 2_000_000
    max_bytes: PositiveInt = 64 * 2**30
    max_ratio: PositiveFloat = 200.0


class Preprocess(Section):
    """Decoding, resizing, grouping duplicates, splitting."""

    image_size: Annotated[int, Field(ge=8, le=2048)]
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    max_pixels: PositiveInt = 50_000_000
    train: Fraction = 0.7
    val: Fraction = 0.15
    test: Fraction = 0.15
    near_duplicate_distance: Annotated[int, Field(ge=0, le=64)] = 12

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9 or min(self.train, self.val, self.test) <= 0:
            given = f"{self.train:g} + {self.val:g} + {self.test:g}"
            raise ValueError(f"train + val + test must be 1 with none of them 0, not {given}")
        return self


class Expectation(Section):
    """What happens when an expectation fails: `critical` stops the DAG, `warning` is reported."""

    severity: Severity


class AtLeast(Expectation):
    """An expectation with a lower bound."""

    minimum: PositiveInt


class AtMost(Expectation):
    """An expectation with an upper bound."""

    maximum: Annotated[float, Field(ge=0)]


class Validate(Section):
    """One entry per expectation on the prepared manifest."""

    columns: Expectation
    classes_in_every_split: Expectation
    minimum_rows: AtLeast
    class_balance: AtMost
    image_in_one_split: Expectation
    duplicates_in_one_split: Expectation
    image_side: AtLeast
    share_rejected: AtMost


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


class Evaluate(Section):
    """What is measured on the test split."""

    batch_size: PositiveInt = 64
    top_k: PositiveInt = 3
    low_confidence: Fraction = 0.5
    calibration_bins: PositiveInt = 15
    bootstrap_samples: PositiveInt = 2000
    mistakes: Annotated[int, Field(ge=0)] = 24


class Compare(Section):
    """How the winner is chosen."""

    metric: Literal["accuracy", "macro_f1"] = "accuracy"
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.05


class Publish(Section):
    """Names in MLflow."""

    registered_model: Name


class Promote(Section):
    """The gates between a model version and the alias `staging`."""

    minimum_accuracy: Fraction
    minimum_macro_f1: Fraction
    minimum_recall: dict[str, Fraction] = {}
    maximum_latency_seconds: PositiveFloat
    holder_significance: Annotated[float, Field(gt=0, lt=1)] = 0.05


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
            raise ParamsError(_first_problem(error, Train, f"models.{model}.train")) from error

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
        raise ParamsError(f"{path.name}: {_first_problem(error, Params, '')}") from error


def nearest(word: str, known: Any) -> str:
    """`; did you mean 'x'?` for the closest of the known words, or nothing."""
    close = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


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
            raise ParamsError(f"{_first_problem(error, Train, section)}: narrow its range") from error
        _check_warmup(changed, where)


def _first_problem(error: ValidationError, top: type[BaseModel], prefix: str) -> str:
    problem = error.errors()[0]
    location = [str(part) for part in problem["loc"]]
    where = ".".join([p for p in [prefix, *location] if p])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        known = _fields_at(top, location[:-1])
        return f"unknown key {where!r}{nearest(location[-1], known)} (valid keys: {', '.join(known)}){more}"
    if problem["type"] == "missing":
        return f"key {where!r} is missing: add it{more}"
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], (dict, BaseModel)) else f" (given {problem['input']!r})"
    return f"{where + ': ' if where else ''}{one_line(message)}{given}{more}"


def _fields_at(section: type[BaseModel], location: list[str]) -> list[str]:
    """Valid keys of the section a dotted location leads to."""
    current = section
    for part in location:
        by_key = {f.alias or n: f for n, f in current.model_fields.items()}
        if part not in by_key:
            continue  # a key chosen by the user, such as a model's name
        found = _section_in(by_key[part].annotation)
        if found is None:
            return []
        current = found
    return [f.alias or n for n, f in current.model_fields.items()]


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _section_in(argument)
        if found is not None:
            return found
    return None
