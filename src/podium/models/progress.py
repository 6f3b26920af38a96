"""What a person sees while a network is fitted: a bar with the time left on a terminal, plain lines in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podium.core.records.training import EpochResult


@contextmanager
def bar(label: str, total: int, done: int) -> Iterator[Callable[[], None]]:
    """A progress bar that vanishes at the end; nothing where standard output is no terminal.

    Args:
        label: what is going on.
        total: steps of the whole run.
        done: steps already behind us.

    Yields:
        A function to call after each step.
    """
    if not sys.stdout.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(label, total=total, completed=done)
        yield lambda: progress.advance(task)


def epoch_line(row: EpochResult, epochs: int, seconds: float) -> str:
    """One epoch in words: loss / accuracy on train and val.

    Args:
        row: the epoch.
        epochs: of the whole run.
        seconds: measured.
    """
    return (
        f"epoch {row.epoch}/{epochs}  lr {row.learning_rate:.1e}  train {row.train_loss:.3f} / {row.train_accuracy:.3f}"
        f"  val {row.val_loss:.3f} / {row.val_accuracy:.3f}  {seconds:.1f} s"
    )
