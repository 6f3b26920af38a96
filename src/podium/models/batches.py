"""Runs a study batch by batch: the trials of one are asked for at once, and run one by one or side by side.

One process or several, killed and resumed or not: the same results. Workers are spawned, write no file and tell the
parent what happens through a queue; the parent alone keeps the journal.
"""

import io
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Protocol

from podium.config.tuning import Value
from podium.core.errors import Diverged, ModelError
from podium.models.search import Pruned, Study
from podium.models.trials import Journal, Listener, Objective, State, TrialResult
from podium.records.training import EpochResult

_POLL_SECONDS = 0.2
Event = tuple[int, dict[str, Value] | EpochResult]
"""(number of the trial, its values when it begins, or an epoch that is done)."""


def run(study: Study, folder: Path, objective: Objective, listener: Listener, at_once: int = 1) -> list[TrialResult]:
    """Runs the trials of a study that are still missing.

    Args:
        study: what is searched.
        folder: of the journal; claimed by this process.
        objective: runs one trial.
        listener: told of each trial that is run now.
        at_once: processes; no more are used than a batch has trials. 1 = all in this process.

    Returns:
        All trials, by number.

    Raises:
        ModelError: a worker process was ended from outside.
        PodiumError: whatever a trial raised; those beside it came to their end and are kept.
    """
    journal = Journal(folder)
    done = journal.read()
    results: list[TrialResult] = []
    with _crew(objective, listener, min(at_once, study.tune.together)) as crew:
        while batch := study.next_batch(results):
            missing = [number for number in batch if number not in done]
            for result in crew.results(study, results, missing):
                journal.add(result)
                done[result.number] = result
                listener.ended(result)
            results += [done[number] for number in batch]
    return results


class _Crew(Protocol):
    """Runs the trials of one batch."""

    def results(self, study: Study, earlier: Sequence[TrialResult], numbers: Sequence[int]) -> Iterator[TrialResult]:
        """In the order in which they end."""


@contextmanager
def _crew(objective: Objective, listener: Listener, size: int) -> Iterator[_Crew]:
    if size == 1:
        yield _Alone(objective, listener)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads may hang
    events: SimpleQueue[Event] = context.SimpleQueue()
    with ProcessPoolExecutor(size, context, initializer=_begin, initargs=(objective, events)) as pool:
        yield _SideBySide(pool, events, listener)


@dataclass(frozen=True)
class _Alone:
    objective: Objective
    listener: Listener

    def results(self, study: Study, earlier: Sequence[TrialResult], numbers: Sequence[int]) -> Iterator[TrialResult]:
        for number in numbers:
            yield _one(study, earlier, number, self.objective, self.listener)


@dataclass(frozen=True)
class _SideBySide:
    pool: ProcessPoolExecutor
    events: "SimpleQueue[Event]"
    listener: Listener

    def results(self, study: Study, earlier: Sequence[TrialResult], numbers: Sequence[int]) -> Iterator[TrialResult]:
        running = {self.pool.submit(_work, study, tuple(earlier), number) for number in numbers}
        failures: list[BaseException] = []
        while running:
            ended, running = wait(running, _POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._tell()  # a worker has told all its epochs before its future is done
            failures += [error for future in ended if (error := future.exception()) is not None]
            yield from _in_order(future for future in ended if future.exception() is None)
        for error in failures:
            if isinstance(error, BrokenProcessPool):
                raise ModelError(
                    "a process that ran trials was ended from outside, perhaps for want of memory: "
                    "lower resources.trials_at_once, or run the stage again to go on"
                ) from error
            raise error

    def _tell(self) -> None:
        while not self.events.empty():
            number, what = self.events.get()
            if isinstance(what, EpochResult):
                self.listener.epoch(number, what)
            else:
                self.listener.started(number, what)


def _in_order(futures: Iterable[Future[TrialResult]]) -> list[TrialResult]:
    return sorted((future.result() for future in futures), key=lambda result: result.number)


def _one(
    study: Study, earlier: Sequence[TrialResult], number: int, objective: Objective, listener: "Listener | _Teller"
) -> TrialResult:
    asked = study.ask(earlier, number)
    listener.started(number, asked.parameters)

    def report(row: EpochResult) -> None:
        listener.epoch(number, row)
        asked.report(row)

    state: State = "finished"
    try:
        objective(number, asked.parameters, report)
    except Pruned:
        state = "pruned"
    except Diverged:
        state = "diverged"
    return asked.result(state)


# In a worker process


@dataclass(frozen=True)
class _Teller:
    """Passes on to the parent what its listener is to be told."""

    events: "SimpleQueue[Event]"

    def started(self, number: int, parameters: dict[str, Value]) -> None:
        self.events.put((number, parameters))

    def epoch(self, number: int, row: EpochResult) -> None:
        self.events.put((number, row))


_own: tuple[Objective, _Teller]
"""Of a worker: the objective, with what it keeps from one trial to the next, and the way to the parent."""


def _begin(objective: Objective, events: "SimpleQueue[Event]") -> None:
    global _own  # noqa: PLW0603  # a pool gives its workers no other place to keep something
    _own = (objective, _Teller(events))
    sys.stdout = _PlainLines(sys.stdout.buffer, encoding="utf-8", errors="replace", line_buffering=True)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _work(study: Study, earlier: Sequence[TrialResult], number: int) -> TrialResult:
    objective, teller = _own
    return _one(study, earlier, number, objective, teller)


class _PlainLines(io.TextIOWrapper):
    """Standard output without bars, which several processes cannot draw on one terminal."""

    def isatty(self) -> bool:
        return False


def _end_with_the_parent() -> None:
    """A parent that is killed cannot end its workers; they would wait for its next trial for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
