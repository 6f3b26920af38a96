"""What pydantic found wrong with a params file, as one line that names the key and the nearest valid one."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from podium.core.errors import one_line


def nearest(word: str, known: Any) -> str:
    """`; did you mean 'x'?` for the closest of the known words, or nothing."""
    close = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def first_problem(error: ValidationError, top: type[BaseModel], prefix: str) -> str:
    """The first of pydantic's complaints in one line, with the number of the others.

    Args:
        error: what validating raised.
        top: the class that was validated.
        prefix: dotted place of that class in the file; empty for the whole.
    """
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
