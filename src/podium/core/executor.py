"""Runs a function on many independent jobs, here or in several processes; the same results, in the order of the jobs.

A job and its result are pickled where processes are several, and so is the function, once for each of them: what it
keeps from one job to the next (an opened data set) is opened once a process. A job may `tell` what happens meanwhile.
"""

import io
import multiprocessing
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from typing import Any, Generic, TypeVar

from podium.core.errors import PodiumError

Job = TypeVar("Job")
Result = TypeVar("Result")
Handle = TypeVar("Handle")
Tell = Callable[[Any], None]

POLL_SECONDS = 0.2
"""How long what jobs tell may wait until it is passed on."""
_SUBMITTED = 2  # jobs a process: one it works on, and the next

_tell: ContextVar[Tell] = ContextVar("tell")


def tell(event: object) -> None:
    """Passes something on from a job to the `on_event` of the process that gave it out."""
    _tell.get()(event)


def ignore(_: object) -> None:
    """Does nothing."""


class Executor(ABC, Generic[Job, Result]):
    """Runs one function on jobs."""

    @abstractmethod
    def map(self, jobs: Iterable[Job], on_end: Callable[[Result], None] = ignore) -> Iterator[Result]:
        """Runs all jobs.

        Args:
            jobs: are independent of each other, and taken as they are needed.
            on_end: called in this process with each result as its job ends, in any order.

        Yields:
            Results in the order of the jobs.

        Raises:
            Exception: what a job raised, of several the first job's; those that ran beside it have come to their end.
        """


@contextmanager
def open_executor(
    function: Callable[[Job], Result],
    processes: int,
    *,
    lower: str,
    prepare: Callable[[], None] | None = None,
    on_event: Tell = ignore,
) -> Iterator[Executor[Job, Result]]:
    """An executor; when the block is left by an exception, jobs that still run are ended.

    Args:
        function: pickled where there are several processes.
        processes: 1 or less runs all jobs in this one.
        lower: keys of the params that are to be lowered where memory is short, for a message.
        prepare: called first in each worker process.
        on_event: called in this process with what jobs `tell`; all that one told before its result is passed on.

    Raises:
        PodiumError: a worker process was ended from outside.
    """
    if processes <= 1:
        yield _ThisProcess(function, on_event)
        return
    # Fork server: this process may hold threads and locks, which a plain fork would copy; imports happen once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, "torch"])
    events: SimpleQueue[Any] = context.SimpleQueue()
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(processes, context, _start_worker, (function, events.put, prepare)) as pool:
        try:
            yield _LocalProcesses(pool, _SUBMITTED * processes, events, on_event)
        except BrokenProcessPool as error:
            raise PodiumError(
                f"a worker process was ended from outside, perhaps for want of memory: lower {lower}, "
                "or run the stage again to go on"
            ) from error
        except BaseException:  # the pool would wait for jobs that run for minutes
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.terminate()
            raise


@dataclass(frozen=True)
class _ThisProcess(Executor[Job, Result]):
    function: Callable[[Job], Result]
    on_event: Tell

    def map(self, jobs: Iterable[Job], on_end: Callable[[Result], None] = ignore) -> Iterator[Result]:
        for job in jobs:
            result = run_job(self.function, job, self.on_event)
            on_end(result)
            yield result


def run_job(function: Callable[[Job], Result], job: Job, on_told: Tell) -> Result:
    """Runs a job in this process; what it tells goes to `on_told`."""
    before = _tell.set(on_told)
    try:
        return function(job)
    finally:
        _tell.reset(before)


@dataclass(frozen=True)
class Failure:
    """What a job raised."""

    error: BaseException


class Remote(Executor[Job, Result], Generic[Job, Result, Handle]):
    """Runs jobs elsewhere: hands out a few more than are worked on, and takes results as they come.

    Attributes:
        at_once: how many jobs may be handed out.
    """

    at_once: int

    @abstractmethod
    def submit(self, job: Job) -> Handle:
        """Hands a job out."""

    @abstractmethod
    def wait(self, handles: Collection[Handle]) -> Collection[Handle]:
        """Those that ended; returns after `POLL_SECONDS` if none does."""

    @abstractmethod
    def outcome(self, handle: Handle) -> Result | Failure:
        """What came of an ended job."""

    @abstractmethod
    def pass_on(self) -> None:
        """Passes on what jobs told so far."""

    def map(self, jobs: Iterable[Job], on_end: Callable[[Result], None] = ignore) -> Iterator[Result]:
        """Runs all jobs; no more are handed out after one that failed."""
        waiting, running = enumerate(jobs), dict[Handle, int]()
        results, failures, first = dict[int, Result](), dict[int, BaseException](), 0
        while True:
            while not failures and len(running) < self.at_once and (job := next(waiting, None)) is not None:
                running[self.submit(job[1])] = job[0]
            if not running:
                break
            ended = self.wait(running)
            self.pass_on()
            for handle in sorted(ended, key=running.__getitem__):
                number = running.pop(handle)
                outcome = self.outcome(handle)
                if isinstance(outcome, Failure):
                    failures[number] = outcome.error
                else:
                    results[number] = outcome
                    on_end(outcome)
            while first in results:
                yield results.pop(first)
                first += 1
        if failures:
            raise failures[min(failures)]


@dataclass(frozen=True)
class _LocalProcesses(Remote[Job, Result, Future[Result]]):
    pool: ProcessPoolExecutor
    at_once: int
    events: "SimpleQueue[Any]"
    on_event: Tell

    def submit(self, job: Job) -> Future[Result]:
        return self.pool.submit(_work, job)

    def wait(self, handles: Collection[Future[Result]]) -> Collection[Future[Result]]:
        return wait(handles, POLL_SECONDS, return_when=FIRST_COMPLETED).done

    def outcome(self, handle: Future[Result]) -> Result | Failure:
        error = handle.exception()
        return Failure(error) if error else handle.result()

    def pass_on(self) -> None:
        while not self.events.empty():  # a worker has sent all it tells before its future is done
            self.on_event(self.events.get())


# In a worker process

_function: Callable[[Any], Any]


def _start_worker(function: Callable[[Any], Any], told: Tell, prepare: Callable[[], None] | None) -> None:
    global _function  # noqa: PLW0603  # a pool gives its workers no other place to keep something
    _function = function
    _tell.set(told)
    sys.stdout = _PlainLines(sys.stdout.buffer, encoding="utf-8", errors="replace", line_buffering=True)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _work(job: Any) -> Any:
    return _function(job)


class _PlainLines(io.TextIOWrapper):
    """Standard output without bars, which several processes cannot draw on one terminal."""

    def isatty(self) -> bool:
        return False


def _exit_with_parent() -> None:
    """A parent that is killed cannot end its workers; they would wait for its next job for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
