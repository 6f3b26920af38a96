"""The trials of a study: who runs one, which one won, and where those that ended are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podium.config.tuning import Value
from podium.models.callbacks import Callback
from podium.records.training import EpochResult, TrialResult


class Objective(Protocol):
    """Runs one trial. It is pickled where trials run side by side, so it must not hold what cannot be."""

    def __call__(self, number: int, parameters: dict[str, Value], callback: Callback) -> None:
        """Tells `callback` of each epoch and lets pass through what it raises; raises `Diverged` as the engine does."""


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
