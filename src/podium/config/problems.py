"""What pydantic found wrong with a params file, as one line that names the key and the nearest valid one."""

import difflib
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from podium.config.base import keys_of, options
from podium.core.errors import one_line

# What pydantic says of each branch of `number | mapping | null`; the branch that fits the value says more.
_WRONG_BRANCH = frozenset(("int_type", "dict_type", "string_type", "list_type", "none_required"))


def nearest(word: str, known: Any) -> str:
    """`; did you mean 'x'?` for the closest of the known words, or nothing."""
    close = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def first_problem(error: ValidationError, top: type[BaseModel], prefix: str) -> str:
    """The worst of pydantic's complaints in one line, with the number of the others.

    An unknown key goes before a missing one, which often is the same key misspelt. `prefix` is the dotted place in the
    file of `top`, the class that was validated; empty for the whole.
    """
    problems = error.errors()
    telling = [p for p in problems if not _is_wrong_branch(p, problems, top)]
    problem = min(telling, key=lambda p: p["type"] != "extra_forbidden")
    steps, keys = _follow(top, problem["loc"])
    where = ".".join([p for p in [prefix, *steps] if p]).replace(".[", "[")
    more = f" (and {len(telling) - 1} more)" if len(telling) > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(steps[-1], keys)} (valid keys: {', '.join(keys)}){more}"
    if problem["type"] == "missing":
        return f"key {where!r} is missing: add it{more}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{_unknown_kind(where, problem)}{more}"
    if problem["type"] == "string_type" and (said := _read_by_yaml(problem["input"])):
        return f"{where}: {said}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], (dict, list, BaseModel)) else f" (given {problem['input']!r})"
    return f"{where + ': ' if where else ''}{one_line(message)}{given}{more}"


def _read_by_yaml(given: object) -> str:
    """What to say of a value that YAML read as something else than text; empty for what it did not."""
    if isinstance(given, bool):
        words, first = ("yes, on and true", "yes") if given else ("no, off and false", "no")
        return f'takes text, but YAML reads {words} as a truth value: put quotes around it, as in "{first}"'
    if isinstance(given, int | float | date):
        kind = "a date" if isinstance(given, date) else "a number"
        return f'takes text, but YAML reads {given} as {kind}: put quotes around it, as in "{given}"'
    return ""


def _is_wrong_branch(problem: ErrorDetails, problems: Sequence[ErrorDetails], top: type[BaseModel]) -> bool:
    """Whether another branch of the same union took the value and says what is wrong with it."""
    location, above = problem["loc"], problem["loc"][:-1]
    if problem["type"] not in _WRONG_BRANCH or _follow(top, location)[0] != _follow(top, above)[0]:
        return False
    beside = (p for p in problems if p["loc"] != location and p["loc"][: len(above)] == above)
    return any(p["type"] not in _WRONG_BRANCH for p in beside)


def _unknown_kind(where: str, problem: ErrorDetails) -> str:
    """A section that comes in several kinds, and the key that says which names none of them."""
    context = problem.get("ctx", {})
    key = f"{where}.{str(context.get('discriminator', '')).strip(chr(39))}"
    if problem["type"] == "union_tag_not_found":
        return f"key {key!r} is missing: add it"
    kinds = [kind.strip("' ") for kind in str(context["expected_tags"]).split(",")]
    return f"{key}: {context['tag']!r} is none of {', '.join(kinds)}{nearest(str(context['tag']), kinds)}"


def _follow(top: type[BaseModel], location: Iterable[int | str]) -> tuple[list[str], list[str]]:
    """The keys of a location as they stand in the file, and the valid keys of the section the last one lies in.

    pydantic's locations also hold which member of a union was tried; that is not in the file.
    """
    steps: list[str] = []
    keys: list[str] = []
    current: Any = top
    for part in location:
        found = options(current)
        if len(found) > 1:
            current = next((option for option in found if _is_named(option, str(part))), None)
            continue
        current = found[0]
        if part != "[key]":
            steps.append(f"[{part}]" if isinstance(part, int) else part)
        by_key = keys_of(current)
        if by_key:
            keys = list(by_key)
            current = by_key.get(str(part))
        else:
            current = (get_args(current) or (None,))[-1]  # a mapping's values, a list's items
    return steps, keys


def _is_named(option: Any, tag: str) -> bool:
    """Whether pydantic calls a member of a union so: by its own name, the value of its telling key, or its type."""
    if keys_of(option):
        kinds = [f.default for f in option.model_fields.values() if get_origin(f.annotation) is Literal]
        return tag in (option.__name__, *kinds)
    return tag.startswith(f"{getattr(get_origin(option), '__name__', None)}[")
