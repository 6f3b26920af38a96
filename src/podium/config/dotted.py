"""A model's values by dotted key (`train.loss.gamma`): which there are, of what type, and how to replace some."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from podium.config.models import ModelConfig
from podium.config.problems import nearest
from podium.config.tune import Choices, Span, Value
from podium.core.errors import ParamsError


def field_at(key: str, section: str) -> Any:
    """The type of a value: `int` and `float` for numbers, whatever else is declared otherwise.

    Args:
        key: dotted, within the section of a model.
        section: whose key it is, for the message.

    Raises:
        ParamsError: there is no such key.
    """
    current: Any = ModelConfig
    for step in key.split("."):
        fields = _fields(current)
        if step not in fields:
            raise ParamsError(f"{section}: {key!r} is not a key of a model's section{_meant(key)}")
        current = _bare(fields[step].annotation)
    return current


def with_values(config: ModelConfig, values: Mapping[str, Value]) -> ModelConfig:
    """The model with some values replaced, and checked anew.

    A value inside a section that is null, such as `train.early_stopping.patience`, makes that section. What pydantic
    finds wrong is raised as it is: the caller knows whose fault it is and what to do.

    Args:
        config: complete.
        values: by dotted key; a whole-number key takes the nearest whole number.

    Returns:
        A new model.

    Raises:
        ParamsError: there is no such key.
        pydantic.ValidationError: a value is out of its range, or does not go with another one.
    """
    document = config.model_dump()
    for key, value in values.items():
        whole = field_at(key, "search") is int and isinstance(value, float)
        *path, last = key.split(".")
        inner = document
        for step in path:
            inner[step] = inner[step] if isinstance(inner[step], dict) else {}
            inner = inner[step]
        inner[last] = round(value) if whole and isinstance(value, float) else value
    return ModelConfig.model_validate(document)


def value_at(config: ModelConfig, key: str) -> Value | None:
    """What the model has at a dotted key; None where it has nothing there that could be searched."""
    current: Any = config
    for step in key.split("."):
        current = getattr(current, step, None)
    return current if isinstance(current, bool | int | float | str) else None


def typed(config: ModelConfig, key: str, value: Value) -> Value:
    """A value as its key holds it: text that stands for a number, as YAML reads `1e-4`, becomes that number.

    Raises:
        ParamsError: there is no such key, or it holds no single value.
        pydantic.ValidationError: the value is out of its range.
    """
    held = value_at(with_values(config, {key: value}), key)
    if held is None:
        raise ParamsError(f"{key} holds no single number, word or truth value, so it cannot be searched: remove it")
    return held


def typed_spans(config: ModelConfig, spans: Mapping[str, Span]) -> dict[str, Span]:
    """Spans with their choices as values of their keys' own types; a range stays as it is."""
    return {
        key: Choices(choices=tuple(typed(config, key, value) for value in span.choices))
        if isinstance(span, Choices)
        else span
        for key, span in spans.items()
    }


def typed_values(config: ModelConfig, warm_start: Sequence[Mapping[str, Value]]) -> tuple[dict[str, Value], ...]:
    """What a study tries first, each value of its key's own type."""
    return tuple({key: typed(config, key, value) for key, value in values.items()} for values in warm_start)


def inside(span: Span, value: Value) -> bool:
    """Whether a value is one of those that are searched."""
    if isinstance(span, Choices):
        return value in span.choices
    return isinstance(value, int | float) and span.low <= value <= span.high


def _meant(key: str) -> str:
    """`; did you mean 'x'?`: a key of that name in another section, else the closest one, else the closest name."""
    known = list(_keys(ModelConfig))
    by_name = {each.rpartition(".")[2]: each for each in known}
    name = key.rpartition(".")[2]
    if name in by_name:
        return f"; did you mean {by_name[name]!r}?"
    close = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
    return nearest(key, known) or (f"; did you mean {by_name[close[0]]!r}?" if close else "")


def _keys(section: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values within a section."""
    for name, field in _fields(section).items():
        inner = _bare(field.annotation)
        if _fields(inner):
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _fields(section: Any) -> Mapping[str, FieldInfo]:
    """The keys of a section by name; none of what is no section."""
    return section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}


def _bare(annotation: Any) -> Any:
    """The type without its bounds and without `None`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    members = [member for member in get_args(annotation) if member is not NoneType]
    if NoneType in get_args(annotation) and len(members) == 1:
        return _bare(members[0])
    return annotation
