"""Runs a function on many independent jobs: here, in several processes, or on a cluster; the same results, in order.

A job and its result are pickled where processes are several, and so is the function, once for each of them: what it
keeps from one job to the next (an opened data set) is opened once a process. A job may `tell` what happens meanwhile.
"""

import io
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from typing import Any

from podium.core.errors import PodiumError
from podium.core.jobs import POLL_SECONDS, Cluster, Executor, Failure, Job, Remote, Result, Tell, ignore, run_job

_SUBMITTED = 2  # jobs a process: one it works on, and the next


@contextmanager
def open_executor(
    function: Callable[[Job], Result],
    processes: int,
    *,
    lower: str,
    cluster: Cluster | None = None,
    prepare: Callable[[], None] | None = None,
    on_event: Tell = ignore,
) -> Iterator[Executor[Job, Result]]:
    """An executor; when the block is left by an exception, jobs that still run are ended.

    Args:
        function: pickled where there are several processes.
        processes: on this machine; 1 or less runs all jobs in this one.
        lower: keys of the params that are to be lowered where memory is short, for a message.
        cluster: where jobs run instead, as many as fit there.
        prepare: called first in each worker process.
        on_event: called in this process with what jobs `tell`; all that one told before its result is passed on.

    Raises:
        PodiumError: a worker process was ended from outside, or the cluster cannot be used or was lost.
    """
    if cluster is not None:
        from podium.core.ray_executor import open_ray

        with open_ray(function, cluster, prepare=prepare, on_event=on_event) as remote:
            yield remote
        return
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

_worker: tuple[Callable[[Any], Any], Tell]
"""The function, with what it keeps from one job to the next, and the way to the parent."""


def _start_worker(function: Callable[[Any], Any], told: Tell, prepare: Callable[[], None] | None) -> None:
    global _worker  # noqa: PLW0603  # a pool gives its workers no other place to keep something
    _worker = (function, told)
    sys.stdout = _PlainLines(sys.stdout.buffer, encoding="utf-8", errors="replace", line_buffering=True)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _work(job: Any) -> Any:
    function, told = _worker
    return run_job(function, job, told)


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
