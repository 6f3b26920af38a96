"""Who may watch a study or a training run. A watcher is told and answers nothing, so it cannot change a byte.

MLflow's live view is one (`registry/tracking.py`); that is why its source is not among the `deps` of tune and train.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from podium.config.tuning import Value
from podium.records.training import EpochResult

Ending = Literal["finished", "pruned", "diverged", "failed"]
"""How a run ended; `diverged`: the loss was no number any more."""


class Watcher(Protocol):
    """One run (a training run or one trial) being watched."""

    def epoch(self, row: EpochResult) -> None:
        """One epoch is done."""

    def trial(self, number: int, parameters: Mapping[str, Value]) -> "Watcher":
        """A trial of a study starts; the result watches it."""

    def close(self, ending: Ending) -> None:
        """The run is over."""


WatcherFactory = Callable[[str, str, str], Watcher]
"""(kind, model, fingerprint) -> watcher; kind is `tune` or `train`."""


class Unwatched:
    """The watcher that does nothing."""

    def epoch(self, row: EpochResult) -> None:
        """Ignores it."""

    def trial(self, number: int, parameters: Mapping[str, Value]) -> "Unwatched":
        """Nobody watches the trial either."""
        return self

    def close(self, ending: Ending) -> None:
        """Ignores it."""
