"""Trials of a study: what one found, who runs it, who is told of it, and where those that ended are kept.

Depends on `core`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from podium.config.tuning import Value
from podium.records.base import Record
from podium.records.training import EpochResult

State = Literal["finished", "pruned", "diverged"]


class TrialResult(Record):
    """One trial that came to an end.

    Attributes:
        number: from 0, without gaps.
        state: finished; pruned (not worth its next epoch); diverged (the loss was no number).
        parameters: values by dotted key.
        epochs: finished epochs; at least one unless it diverged in the first.
        rungs: what the pruner noted of it, for the trials of later batches.
    """

    number: int
    state: State
    parameters: dict[str, Value]
    epochs: tuple[EpochResult, ...]
    rungs: dict[str, float] = {}

    @property
    def best(self) -> EpochResult | None:
        """The epoch with the lowest validation loss, the first of equals."""
        return min(self.epochs, key=lambda row: (row.val_loss, row.epoch), default=None)

    @property
    def epochs_begun(self) -> int:
        """What the trial costs of the budget: the epoch in which it diverged counts as a whole one."""
        return len(self.epochs) + (self.state == "diverged")


Report = Callable[[EpochResult], None]


class Objective(Protocol):
    """Runs one trial. It is pickled where trials run side by side, so it must not hold what cannot be."""

    def __call__(self, number: int, parameters: dict[str, Value], report: Report) -> None:
        """Reports each epoch; lets what `report` raises pass through; raises `Diverged` as the engine does."""


class Listener(Protocol):
    """Is told, in the process that runs the study, what happens in it."""

    def started(self, number: int, parameters: dict[str, Value]) -> None:
        """A trial begins."""

    def epoch(self, number: int, row: EpochResult) -> None:
        """One epoch of a trial is done."""

    def ended(self, result: TrialResult) -> None:
        """A trial is over, and safe in the journal."""


def winner(results: Iterable[TrialResult]) -> tuple[TrialResult, EpochResult] | None:
    """The finished trial with the lowest validation loss, the earliest of equals, and its best epoch."""
    pairs = [(result, best) for result in results if result.state == "finished" and (best := result.best) is not None]
    return min(pairs, key=lambda pair: (pair[1].val_loss, pair[0].number), default=None)


@dataclass(frozen=True)
class Journal:
    """The trials of a study that came to an end, a file each, so that no kill can leave a half of one."""

    folder: Path

    def read(self) -> dict[int, TrialResult]:
        """All that are there, by number."""
        results = (TrialResult.read(path) for path in sorted(self.folder.glob("trial-*.json")))
        return {result.number: result for result in results}

    def add(self, result: TrialResult) -> None:
        """Keeps one; when this returns it survives a kill."""
        result.write(self.folder / f"trial-{result.number:05d}.json")
