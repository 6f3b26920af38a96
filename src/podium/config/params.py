"""`params.yaml` as one frozen, typed whole; a stage gets the sections it needs and never sees the file."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice, product
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from podium.config.base import Name, Section, Whole
from podium.config.dataset import Dataset, Fetch
from podium.config.judging import Compare, Evaluate, Explain, Promote, Publish
from podium.config.models import ModelConfig, ModelSection
from podium.config.preprocess import Preprocess
from podium.config.problems import first_problem, nearest
from podium.config.runtime import Resources, Runtime
from podium.config.train import Choices, Distil, Range, Span, Train, Tune, Value
from podium.config.validate import Validate
from podium.core.errors import ParamsError

_MOST_COMBINATIONS = 1000  # that are checked before a study; each takes about 0.1 ms
_NOT_SEARCHED = ("architecture", "classifier", "weights", "distil.teacher", "train.epochs", "train.views")

Seed = Annotated[Whole, Field(ge=0, lt=2**31)]


class Params(Section):
    """The whole of `params.yaml`.

    `seed` is of the data, the study, the bootstrap and the registered model; every model is trained with it, and once
    more with each other one of `seeds`.
    """

    experiment: Name
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()
    runtime: Runtime = Runtime()
    resources: Resources = Resources()
    dataset: Dataset
    fetch: Fetch
    preprocess: Preprocess
    validate_: Validate = Field(alias="validate")
    models: dict[Name, ModelSection] = Field(min_length=1)
    distil: dict[Name, Distil] = {}
    tune: Tune
    train: Train
    evaluate: Evaluate
    explain: Explain = Explain()
    compare: Compare
    publish: Publish
    promote: Promote

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        doubled = [seed for seed in self.seeds if self.seeds.count(seed) > 1]
        if doubled:
            raise ParamsError(f"seeds: {doubled[0]} is given twice: keep one of them")
        return self

    @model_validator(mode="after")
    def _students_have_teachers(self) -> Self:
        for student, wish in self.distil.items():
            if student not in self.models:
                raise ParamsError(f"distil.{student}: there is no model {student!r}{nearest(student, self.models)}")
            if self.models[student].classifier != "network":
                raise ParamsError(
                    f"distil.{student}: {student} is a probe (classifier {self.models[student].classifier}), which "
                    "learns from labels alone: remove it"
                )
            where, teacher = f"distil.{student}.teacher", wish.teacher
            if teacher not in self.models:
                raise ParamsError(f"{where}: there is no model {teacher!r}{nearest(teacher, self.models)}")
            if teacher == student:
                raise ParamsError(f"{where}: {student} cannot be its own teacher: name another model")
            if teacher in self.distil:
                raise ParamsError(f"{where}: {teacher} is a student itself: name a model that learns from none")
        return self

    @model_validator(mode="after")
    def _model_sections_fit_the_recipe(self) -> Self:
        """What no section can tell alone: each model's overrides, ranges and warm starts over the common recipe."""
        for key in self.tune.search:
            ModelConfig.type_at(key, "tune.search")  # also where every model leaves it out
        for name, model in self.models.items():
            config = self.complete(name)
            for key, reason in _misfits(config):
                raise ParamsError(f"{_own_or_common(name, model, key)}: {reason}")
            _check_left_out(f"models.{name}.search", model.search, self.tune.search)
            spans = self._spans(name)
            for key, span in spans.items():
                _check_search(f"models.{name}.search" if key in model.search else "tune.search", key, span, config)
            _check_together("tune.search", spans, config)
            for number, values in enumerate(model.warm_start):
                _check_warm_start(f"models.{name}.warm_start[{number}]", values, self.search(name), config)
        return self

    @property
    def further_seeds(self) -> tuple[int, ...]:
        """What every model is trained with besides `seed`."""
        return tuple(seed for seed in self.seeds if seed != self.seed)

    def complete(self, name: str) -> ModelConfig:
        """One model, complete: its section over the common recipe.

        Raises:
            ParamsError: it is not in `models`, or an override is unknown or out of range.
        """
        try:
            return ModelConfig.of(self.model(name), self.train, self.distil.get(name))
        except ValidationError as error:
            raise ParamsError(first_problem(error, Train, f"models.{name}.train")) from error

    def search(self, model: str) -> dict[str, Span]:
        """What a study of a model searches, by dotted key of its section: `tune.search`, with its own `search` on top.

        A key that is null there is left out. Choices have the types of their keys. A probe has its grid alone.
        """
        config = self.complete(model)
        return {key: _typed_span(config, key, span) for key, span in self._spans(model).items()}

    def _spans(self, model: str) -> dict[str, Span]:
        """The same with the choices as they are written."""
        if self.model(model).classifier != "network":
            return dict([self.model(model).grid])
        spans = {**self.tune.search, **self.model(model).search}
        return {key: span for key, span in spans.items() if span is not None}

    def warm_start(self, model: str) -> tuple[dict[str, Value], ...]:
        """What a study of a model tries first, by dotted key, each value of its key's own type; of a probe: all."""
        config, listed = self.complete(model), self.model(model).warm_start
        if config.is_probe:
            key, values = self.model(model).grid
            listed = tuple({key: value} for value in values.choices)
        return tuple({key: _typed(config, key, value) for key, value in values.items()} for values in listed)

    def study(self, model: str) -> Tune:
        """Section `tune` as the study of a model follows it: a probe tries each value of its grid once."""
        if not self.complete(model).is_probe:
            return self.tune
        _, values = self.model(model).grid
        changed = {"trials": len(values.choices), "epochs": 1, "startup_trials": 1, "pruner": "none", "together": 1}
        return self.tune.model_copy(update=changed)

    def model(self, name: str) -> ModelSection:
        """One entry of `models`.

        Raises:
            ParamsError: there is none of that name.
        """
        if name not in self.models:
            raise ParamsError(
                f"model {name!r} is not in params.yaml{nearest(name, self.models)} (models: {', '.join(self.models)})"
            )
        return self.models[name]


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice: the second would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping.

        Raises:
            ParamsError: a key stands in it twice.
        """
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and (first := lines.setdefault(f"{key.tag} {key.value}", line)) != line:
                raise ParamsError(f"key {key.value!r} is given twice, in lines {first} and {line}: keep one of them")
        return super().construct_mapping(node, deep)


def load(path: Path) -> Params:
    """Reads and checks `params.yaml` or a file of `experiments/`.

    Raises:
        ParamsError: the file is missing, is not YAML, or breaks a rule; the message names the key.
    """
    if not path.is_file():
        raise ParamsError(f"{path} does not exist: run from the project's root, or restore it with git checkout")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except ParamsError as error:
        raise ParamsError(f"{path.name}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path.name} is not YAML ({' '.join(str(error).split())}): correct that line") from error
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{path.name} must hold sections (dataset:, models:, ...), not {type(raw).__name__}")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError(f"{path.name}: {first_problem(error, Params, '')}") from error


def _own_or_common(name: str, model: ModelSection, key: str) -> str:
    """Where a number of epochs is set: in the model's own recipe if that changes it or the length of the run."""
    return f"models.{name}.train.{key}" if {key, "epochs"} & set(model.train) else f"train.{key}"


def _misfits(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Keys of the recipe that do not fit the length of the run, each with the reason."""
    recipe = config.train
    if recipe.warmup_epochs >= recipe.epochs:
        yield (
            "warmup_epochs",
            f"a warm-up of {recipe.warmup_epochs:g} epochs must be shorter than the run "
            f"({recipe.epochs} epochs): lower it",
        )
    every = recipe.unfreeze_every
    # With `{from: ...}` only the network knows whether anything but a head would wait.
    if every is not None and every >= recipe.epochs and config.trainable in ("all", "last_stage"):
        yield (
            "unfreeze_every",
            f"the stage before the head would begin after {every} epochs, but the run has "
            f"{recipe.epochs}, so only the head would learn: lower it, or set `trainable: head`",
        )


def _check_left_out(section: str, own: Mapping[str, Span | None], common: Mapping[str, Span]) -> None:
    """Refuses to leave out what is not searched anyway."""
    for key, span in own.items():
        if span is None and key not in common:
            raise ParamsError(
                f"{section}: null leaves a key of tune.search out, but {key!r} is not there{nearest(key, common)}: "
                "remove it"
            )


def _check_search(section: str, key: str, span: Span, config: ModelConfig) -> None:
    """Refuses a range with values that the model's section could not take."""
    where = f"{section}.{key}"
    if key.startswith(_NOT_SEARCHED):
        raise ParamsError(
            f"{where} cannot be searched: every trial has the same network, weights, views and epochs: remove it"
        )
    if key in ("C", "k") and not config.is_probe:
        raise ParamsError(
            f"{where} is for probes, but a model that it is searched for is a network (classifier): remove it"
        )
    if key.startswith("distil.") and config.distil is None:
        raise ParamsError(
            f"{where} is for students, but a model that it is searched for has no teacher (section distil): "
            "search it under models.STUDENT.search"
        )
    kind = config.type_at(key, section)
    if isinstance(span, Range):
        if kind not in (int, float):
            raise ParamsError(f"{where} is not a number, so no range can be searched: give {{choices: [...]}}")
        if kind is int and not (span.low.is_integer() and span.high.is_integer()):
            raise ParamsError(f"{where} takes whole numbers, not {span.low:g} to {span.high:g}: round its range")
    try:
        _typed_span(config, key, span)
        ends = [config.with_values({key: value}) for value in _ends(span)]
    except ValidationError as error:
        todo = "narrow its range" if isinstance(span, Range) else "correct its choices"
        raise ParamsError(f"{first_problem(error, ModelConfig, section)}: {todo}") from error
    for _, reason in chain.from_iterable(map(_misfits, ends)):
        raise ParamsError(f"{where}: {reason}")


def _check_together(section: str, search: Mapping[str, Span], config: ModelConfig) -> None:
    """Refuses values that may be tried, but not with one another; the middle of a study is late to say so."""
    for values in islice(product(*map(_ends, search.values())), _MOST_COMBINATIONS):
        together = ", ".join(f"{key} {value}" for key, value in zip(search, values, strict=True))
        try:
            changed = config.with_values(dict(zip(search, values, strict=True)))
        except ValidationError as error:
            raise ParamsError(
                f"{section}: {together} cannot be tried together ({first_problem(error, ModelConfig, '')}): "
                "leave one of them out"
            ) from error
        for _, reason in _misfits(changed):
            raise ParamsError(f"{section} ({together}): {reason}")


def _check_warm_start(where: str, values: Mapping[str, Value], search: Mapping[str, Span], config: ModelConfig) -> None:
    """Refuses values of keys that are not searched, or outside of what is searched."""
    for key, value in values.items():
        if key not in search:
            raise ParamsError(f"{where}: {key!r} is not searched{nearest(key, search)}: remove it, or search it")
        try:
            held = _typed(config, key, value)
        except ValidationError as error:
            raise ParamsError(f"{where}: {first_problem(error, ModelConfig, '')}: correct it") from error
        if not search[key].holds(held):
            raise ParamsError(f"{where}: {key} = {value} lies outside what is searched: widen that, or remove it")


def _ends(span: Span) -> tuple[Value, ...]:
    """The values that are tried before a study: both ends of a range, all of a list."""
    return (span.low, span.high) if isinstance(span, Range) else span.choices


def _typed_span(config: ModelConfig, key: str, span: Span) -> Span:
    """A span with its choices as values of its key's own type; a range stays as it is."""
    if isinstance(span, Range):
        return span
    return Choices(choices=tuple(_typed(config, key, value) for value in span.choices))


def _typed(config: ModelConfig, key: str, value: Value) -> Value:
    """A value as its key holds it: text that stands for a number, as YAML reads `1e-4`, becomes that number."""
    held = config.with_values({key: value}).value_at(key)
    if held is None:
        raise ParamsError(f"{key} holds no single number, word or truth value, so it cannot be searched: remove it")
    return held
