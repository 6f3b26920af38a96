"""How far a long piece of work is: a bar on a terminal, a plain line now and then in a pipe."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int], None]
LINE_SECONDS = 10.0


@contextmanager
def progress(task: str, total: int | None, done: int = 0, in_bytes: bool = False) -> Iterator[Advance]:
    """Shows progress on standard output while the block runs.

    Args:
        task: what is being done, one word or two.
        total: units in all; None where that is not known.
        done: units done before.
        in_bytes: units are bytes; otherwise they are images.

    Yields:
        A function to call with the number of units just done.
    """
    console = Console()
    if console.is_terminal:
        counts = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
        with Progress(
            TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn(), console=console
        ) as bar:
            number = bar.add_task(task, total=total, completed=done)
            yield lambda units: bar.advance(number, units)
    else:
        yield _Lines(task, total, done, in_bytes).advance


class _Lines:
    """Plain lines at most every `LINE_SECONDS`, so that a log stays readable."""

    def __init__(self, task: str, total: int | None, done: int, in_bytes: bool) -> None:
        self._task, self._total, self._done = task, total, done
        self._text: Callable[[int], str] = decimal if in_bytes else "{:,}".format
        self._next = time.monotonic() + LINE_SECONDS

    def advance(self, units: int) -> None:
        self._done += units
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            of = (
                "" if self._total is None else f" of {self._text(self._total)} ({self._done / max(self._total, 1):.0%})"
            )
            print(f"{self._task}: {self._text(self._done)}{of}", flush=True)
