"""Runs a study batch by batch: the trials of one are asked for at once, and run one by one or side by side.

One process or several, killed and resumed or not: the same results. Workers are spawned, write no file and tell the
parent what happens through a queue, as calls of `Callback`; the parent alone keeps the results.
"""

import io
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from operator import methodcaller
from pathlib import Path
from typing import Protocol

from optuna import TrialPruned

from podium.config.train import Value
from podium.console.process import set_up_logging
from podium.core.errors import Diverged, ModelError
from podium.models.callbacks import Callback
from podium.models.study import Study, Trial
from podium.records.training import EpochResult, State, TrialResult


class Objective(Protocol):
    """Runs one trial. It is pickled where trials run side by side, so it must not hold what cannot be."""

    def __call__(self, number: int, parameters: dict[str, Value], callback: Callback) -> None:
        """Tells `callback` of each epoch and lets pass through what it raises; raises `Diverged` as the engine does."""


def winner(results: Iterable[TrialResult]) -> tuple[TrialResult, EpochResult] | None:
    """The finished trial with the lowest validation loss, the earliest of equals, and its best epoch."""
    pairs = [(result, best) for result in results if result.state == "finished" and (best := result.best) is not None]
    return min(pairs, key=lambda pair: (pair[1].val_loss, pair[0].number), default=None)


_POLL_SECONDS = 0.2


def run_trials(
    study: Study, folder: Path, objective: Objective, callbacks: Sequence[Callback] = (), processes: int = 1
) -> list[TrialResult]:
    """Runs the trials of a study that are still missing.

    Args:
        study: what is searched.
        folder: claimed by this process; holds a file for each trial that came to an end, written whole or not at all.
        objective: runs one trial.
        callbacks: told of each trial that is run now.
        processes: no more are used than a batch has trials. 1 = all in this process.

    Returns:
        All trials, by number.

    Raises:
        ModelError: a worker process was ended from outside.
        PodiumError: whatever a trial raised; those beside it came to their end and are kept.
    """
    done = {result.number: result for result in map(TrialResult.read, sorted(folder.glob("trial-*.json")))}
    results: list[TrialResult] = []
    with _workers(study, objective, callbacks, min(processes, study.tune.together)) as run_batch:
        while batch := study.next_batch(results):
            for result in run_batch(results, [number for number in batch if number not in done]):
                result.write(folder / f"trial-{result.number:05d}.json")
                done[result.number] = result
                for callback in callbacks:
                    callback.on_trial_end(result)
            results += [done[number] for number in batch]
    return results


def _run_trial(
    study: Study, earlier: Sequence[TrialResult], number: int, objective: Objective, callbacks: Sequence[Callback]
) -> TrialResult:
    trial = study.ask(earlier, number)
    for callback in callbacks:
        callback.on_trial_begin(number, trial.parameters)
    state: State = "finished"
    try:
        objective(number, trial.parameters, _PruningCallback(number, trial, callbacks))
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
    callbacks: Sequence[Callback]

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """Tells first and asks the pruner last: it ends the trial by raising Optuna's `TrialPruned`."""
        for callback in self.callbacks:
            callback.on_epoch_end(row, seconds, self.number)
        self.trial.report(row)


# Several processes


@contextmanager
def _workers(
    study: Study, objective: Objective, callbacks: Sequence[Callback], count: int
) -> Iterator[Callable[[Sequence[TrialResult], Sequence[int]], Iterator[TrialResult]]]:
    """What runs trials, by number and given all of earlier batches: one by one here, or several worker processes."""
    if count == 1:
        yield lambda earlier, numbers: (_run_trial(study, earlier, each, objective, callbacks) for each in numbers)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads may hang
    events: SimpleQueue[methodcaller] = context.SimpleQueue()
    with ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=(objective, events)) as pool:

        def side_by_side(earlier: Sequence[TrialResult], numbers: Sequence[int]) -> Iterator[TrialResult]:
            running = {pool.submit(_work, study, tuple(earlier), number) for number in numbers}
            return _as_they_end(running, events, callbacks)

        try:
            yield side_by_side
        except KeyboardInterrupt:  # the pool would wait for trials that run for minutes
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _as_they_end(
    running: set[Future[TrialResult]], events: "SimpleQueue[methodcaller]", callbacks: Sequence[Callback]
) -> Iterator[TrialResult]:
    failures: list[BaseException] = []
    while running:
        ended, running = wait(running, _POLL_SECONDS, return_when=FIRST_COMPLETED)
        while not events.empty():  # a worker has sent all its epochs before its future is done
            event = events.get()
            for callback in callbacks:
                event(callback)
        failures += [error for future in ended if (error := future.exception()) is not None]
        results = [future.result() for future in ended if future.exception() is None]
        yield from sorted(results, key=lambda result: result.number)
    for error in failures:
        if isinstance(error, BrokenProcessPool):
            raise ModelError(
                "a process that ran trials was ended from outside, perhaps for want of memory: "
                "lower resources.trials_at_once, or run the stage again to go on"
            ) from error
        raise error


# In a worker process


@dataclass(frozen=True)
class _QueueCallback(Callback):
    """Passes on to the parent what its callbacks are to be told."""

    events: "SimpleQueue[methodcaller]"

    def on_trial_begin(self, number: int, parameters: Mapping[str, Value]) -> None:
        self.events.put(methodcaller("on_trial_begin", number, parameters))

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        self.events.put(methodcaller("on_epoch_end", row, seconds, trial))


_worker: tuple[Objective, _QueueCallback]
"""Of a worker: the objective, with what it keeps from one trial to the next, and the way to the parent."""


def _start_worker(objective: Objective, events: "SimpleQueue[methodcaller]") -> None:
    global _worker  # noqa: PLW0603  # a pool gives its workers no other place to keep something
    _worker = (objective, _QueueCallback(events))
    set_up_logging()
    sys.stdout = _PlainLines(sys.stdout.buffer, encoding="utf-8", errors="replace", line_buffering=True)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _work(study: Study, earlier: Sequence[TrialResult], number: int) -> TrialResult:
    objective, callback = _worker
    return _run_trial(study, earlier, number, objective, [callback])


class _PlainLines(io.TextIOWrapper):
    """Standard output without bars, which several processes cannot draw on one terminal."""

    def isatty(self) -> bool:
        return False


def _exit_with_parent() -> None:
    """A parent that is killed cannot end its workers; they would wait for its next trial for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
