"""Figures as a person writes them: shares, counts, sizes, times. Depends on the record of an interval only."""

from collections.abc import Callable, Mapping
from typing import Any

from podium.records.evaluation import Interval


def share(rate: float) -> str:
    """A fraction for people: `91.2%`."""
    return f"{rate:.1%}"


def between(interval: Interval) -> str:
    """The bounds of an interval: `88.0 to 94.1%`."""
    return f"{100 * interval.low:.1f} to {interval.high:.1%}"


def count(number: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{int(number):,}".replace(",", "\u202f")


def compact(number: float) -> str:
    """Three digits and a unit: `11.2 M`, `0.61 G`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """Bytes for people, in powers of ten."""
    return f"{compact(number)}B" if number >= 1e3 else f"{number:.0f} B"


def milliseconds(seconds: float) -> str:
    """A short time: `7.4 ms`, `2.06 s`."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def figure(value: float) -> str:
    """A number as a person would write it: three significant digits at most."""
    return f"{value:.3g}"


def written(value: bool | int | float | str) -> str:
    """A value of the params: numbers with three significant digits at most, words as they are."""
    return figure(value) if isinstance(value, float) else str(value)


FILTERS: Mapping[str, Callable[[Any], str]] = {
    form.__name__: form for form in (share, between, count, compact, size, milliseconds, figure, written)
}
"""By the names they have in the report's template."""
