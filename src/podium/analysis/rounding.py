"""Floats in committed JSON carry ten significant digits: enough to compare, few enough to read a diff."""

from typing import Any, TypeVar

from podium.records.base import Record

R = TypeVar("R", bound=Record)


def rounded(record: R) -> R:
    """A copy of a record whose floats have ten significant digits.

    Args:
        record: any record; integers, texts and booleans stay as they are.

    Returns:
        A record of the same type.
    """
    return type(record).model_validate(_rounded(record.model_dump()))


def _rounded(value: Any) -> Any:
    """A JSON value with its floats at ten significant digits, all the way down."""
    match value:
        case float():
            return float(f"{value:.10g}")
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value
