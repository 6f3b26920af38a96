"""What runs a function on many independent jobs, and what a job can say meanwhile."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from podium.core.storage import Storage

Job = TypeVar("Job")
Result = TypeVar("Result")
Handle = TypeVar("Handle")
Tell = Callable[[Any], None]

POLL_SECONDS = 0.2
"""How long what jobs tell may wait until it is passed on."""

_tell: ContextVar[Tell] = ContextVar("tell")


def tell(event: object) -> None:
    """Passes something on from a job to the `on_event` of the process that gave it out."""
    _tell.get()(event)


def teller() -> Tell:
    """What `tell` calls, for a job that starts processes of its own."""
    return _tell.get()


def ignore(_: object) -> None:
    """Does nothing."""


def run_job(function: Callable[[Job], Result], job: Job, on_told: Tell) -> Result:
    """Runs a job in this process; what it tells goes to `on_told`."""
    before = _tell.set(on_told)
    try:
        return function(job)
    finally:
        _tell.reset(before)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what a job takes of it.

    Attributes:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        root: the project's folder.
        cpus: of a job, or of each of its processes.
        gpus: the same.
        storage: by which nodes get files; None where they all see the project's folder.
        processes: that a job starts on the cluster, by `ray_train.run_processes`; with 1 it starts none.
        elastic: whether they may be fewer, where there is no room for so many.
    """

    address: str
    root: Path
    cpus: int = 1
    gpus: int = 0
    storage: Storage | None = None
    processes: int = 1
    elastic: bool = False


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
