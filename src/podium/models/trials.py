"""Runs a study batch by batch: the trials of one are asked for at once, and run one by one or side by side.

One process or several, killed and resumed or not: the same results. What runs a trial writes no file and tells this
process what happens, as calls of `Callback`; this one alone keeps the results.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Protocol

from optuna import TrialPruned

from podium.config.train import Value
from podium.console.process import set_up_logging
from podium.core.errors import Diverged
from podium.core.executor import open_executor
from podium.core.jobs import Cluster, tell
from podium.models.callbacks import Callback
from podium.models.study import Study, Trial
from podium.records.training import EpochResult, State, TrialResult


class Objective(Protocol):
    """Runs one trial. It is pickled where trials run in other processes, so it must not hold what cannot be."""

    def __call__(self, number: int, parameters: dict[str, Value], callback: Callback) -> None:
        """Tells `callback` of each epoch and lets pass through what it raises; raises `Diverged` as the engine does."""


def winner(results: Iterable[TrialResult]) -> tuple[TrialResult, EpochResult] | None:
    """The finished trial with the lowest validation loss, the earliest of equals, and its best epoch."""
    pairs = [(result, best) for result in results if result.state == "finished" and (best := result.best) is not None]
    return min(pairs, key=lambda pair: (pair[1].val_loss, pair[0].number), default=None)


def run_trials(
    study: Study,
    folder: Path,
    objective: Objective,
    callbacks: Sequence[Callback] = (),
    *,
    processes: int = 1,
    cluster: Cluster | None = None,
) -> list[TrialResult]:
    """Runs the trials of a study that are still missing.

    Args:
        study: what is searched.
        folder: claimed by this process; holds a file for each trial that came to an end, written whole or not at all.
        objective: runs one trial.
        callbacks: told of each trial that is run now.
        processes: no more are used than a batch has trials. 1 = all in this process.
        cluster: where trials run instead.

    Returns:
        All trials, by number.

    Raises:
        PodiumError: a worker process was ended from outside, the cluster cannot be used, or whatever a trial raised;
            those beside it came to their end and are kept.
    """
    done = {result.number: result for result in map(TrialResult.read, sorted(folder.glob("trial-*.json")))}
    results: list[TrialResult] = []

    def on_event(event: methodcaller) -> None:
        for callback in callbacks:
            event(callback)

    def on_end(result: TrialResult) -> None:
        result.write(folder / f"trial-{result.number:05d}.json")
        on_event(methodcaller("on_trial_end", result))

    with open_executor(
        _RunTrial(study, objective),
        min(processes, study.tune.together),
        lower="resources.trials_at_once",
        cluster=cluster,
        prepare=set_up_logging,
        on_event=on_event,
    ) as executor:
        while batch := study.next_batch(results):
            missing = [(tuple(results), number) for number in batch if number not in done]
            done.update((result.number, result) for result in executor.map(missing, on_end))
            results += [done[number] for number in batch]
    return results


@dataclass(frozen=True)
class _RunTrial:
    """Runs a trial of a study, given all of earlier batches and its number."""

    study: Study
    objective: Objective

    def __call__(self, job: tuple[Sequence[TrialResult], int]) -> TrialResult:
        earlier, number = job
        trial = self.study.ask(earlier, number)
        tell(methodcaller("on_trial_begin", number, trial.parameters))
        state: State = "finished"
        try:
            self.objective(number, trial.parameters, _PruningCallback(number, trial))
        except TrialPruned:
            state = "pruned"
        except Diverged:
            state = "diverged"
        return trial.result(state)


@dataclass(frozen=True)
class _PruningCallback(Callback):
    """Tells the study's callbacks of the epochs of one trial, then the pruner, which may end it."""

    number: int
    trial: Trial

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """Tells first and asks the pruner last: it ends the trial by raising Optuna's `TrialPruned`."""
        tell(methodcaller("on_epoch_end", row, seconds, self.number))
        self.trial.report(row)
