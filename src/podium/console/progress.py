"""How far a long piece of work is: a bar on a terminal, a plain line now and then in a pipe.

Depends on the standard library; rich is imported where there is a bar to show, so that a light import stays light.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from podium.console.dag import describe_seconds

Advance = Callable[[int], None]
"""Called with the number of units just done."""
Unit = Literal["images", "steps", "bytes"]

LINE_SECONDS = 60.0
LINE_SHARE = 0.05  # of the time so far: a day of work writes about 100 lines


@contextmanager
def show_progress(
    task: str, total: int | None, *, unit: Unit = "images", done: int = 0, transient: bool = False
) -> Iterator[Advance]:
    """Shows progress on standard output while the block runs, which gets a function to call with the units just done.

    Args:
        task: what is being done, a few words.
        total: units in all; None where that is not known.
        unit: what is counted; bytes are shown as kB, MB, ... and with their speed.
        done: units done before.
        transient: the bar vanishes at the end, for work whose results are printed as lines of their own.
    """
    if not sys.stdout.isatty():
        yield _Lines(task, total, unit, done).advance
        return
    from rich import progress as bars

    counts = (
        (bars.DownloadColumn(), bars.TransferSpeedColumn())
        if unit == "bytes"
        else (bars.MofNCompleteColumn(), bars.TextColumn(unit))
    )
    # a task's name may hold brackets, which are not markup
    columns = (bars.TextColumn("{task.description}", markup=False), bars.BarColumn(), *counts)
    with bars.Progress(*columns, bars.TimeRemainingColumn(), transient=transient) as shown:
        number = shown.add_task(task, total=total, completed=done)
        yield lambda units: shown.advance(number, units)


class _Lines:
    """Plain lines, at least `LINE_SECONDS` apart and further the longer it takes, so that a log stays readable."""

    def __init__(self, task: str, total: int | None, unit: Unit, done: int) -> None:
        self._task, self._total, self._unit, self._done = task, total, unit, done
        self._before = done
        self._start = time.monotonic()
        self._next = self._start + LINE_SECONDS

    def advance(self, units: int) -> None:
        """Counts units that are done, and prints a line when the next one is due."""
        self._done += units
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + max(LINE_SECONDS, LINE_SHARE * (now - self._start))
        share = "" if self._total is None else f" ({self._done / max(self._total, 1):.0%})"
        of = "" if self._total is None else f" of {self._text(self._total)}"
        unit = "" if self._unit == "bytes" else f" {self._unit}"
        print(f"{self._task}: {self._text(self._done)}{of}{unit}{share}{self._left(now)}", flush=True)

    def _left(self, now: float) -> str:
        """How long the rest will take at the speed so far; empty where that is not known."""
        done = self._done - self._before
        if self._total is None or done <= 0 or self._done >= self._total:
            return ""
        seconds = (now - self._start) / done * (self._total - self._done)
        return f", {describe_seconds(seconds)} left"

    def _text(self, count: int) -> str:
        """A count for people: `12,345`, or `1.2 MB` where bytes are counted."""
        if self._unit != "bytes":
            return f"{count:,}"
        from rich.filesize import decimal

        return decimal(count)
