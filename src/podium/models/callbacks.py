"""Who is told what happens in a study or a training run. A callback cannot change a byte, only end a run by raising.

MLflow's live view is one (`tracking/live.py`) and never raises; the pruner of a study is one, and ends trials.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from podium.config.train import Value
from podium.records.training import EpochResult, TrialResult

Ending = Literal["finished", "failed"]


class Callback:
    """Does nothing; a subclass overrides what it wants to know."""

    def on_train_begin(self, kind: str, model: str, fingerprint: str) -> None:
        """A study (`kind` is `tune`) or a training run (`train`, `repeat` with another seed) of a model begins."""

    def on_trial_begin(self, number: int, parameters: Mapping[str, Value]) -> None:
        """A trial of the study begins, with these values by dotted key."""

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """An epoch is done, and its checkpoint safe.

        Args:
            row: its result.
            seconds: measured.
            trial: number of the trial, of a study.
        """

    def on_trial_end(self, result: TrialResult) -> None:
        """A trial has come to its end, and is safe in the journal."""

    def on_train_end(self, ending: Ending) -> None:
        """The study or run is over; trials without an end of their own failed with it."""


@contextmanager
def reporting(callbacks: Sequence[Callback], kind: str, model: str, fingerprint: str) -> Iterator[None]:
    """Tells callbacks that a study or training run begins, and how it ended."""
    for callback in callbacks:
        callback.on_train_begin(kind, model, fingerprint)
    ending: Ending = "failed"
    try:
        yield
        ending = "finished"
    finally:
        for callback in callbacks:
            callback.on_train_end(ending)
