"""How a stage is stopped: by Ctrl-C, by SIGTERM, or as the `dvc` that started it is gone; and that it runs once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from podium.core.errors import PodiumError
from podium.core.layout import Layout

if TYPE_CHECKING:
    import psutil

_POLL_SECONDS = 0.5
_WAIT_SECONDS = 60.0
"""How long a stage waits for another process of it: one whose `dvc` was killed is about to end."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: what Ctrl-C is, with another exit code."""


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what is open is closed; so does the end of the `dvc` around it."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        _watch_dvc()
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def no_more_signals() -> None:
    """From here on a signal ends the process at once: there is nothing left to close."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def once(layout: Layout, what: str) -> Iterator[None]:
    """Lets one process of a stage be at work in a project.

    Args:
        layout: the project's paths.
        what: the stage, and its model where it has one.

    Raises:
        PodiumError: another one does not end within a minute.
    """
    layout.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.locks / f"{what.replace(' ', '@')}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{what}: another process is at work on it; waiting for it to end", flush=True)
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout as error:
            raise PodiumError(f"another process is at work on {what}: wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def runs_dvc(process: "psutil.Process") -> bool:
    """Whether a process is there and is DVC, as far as this user may see."""
    import psutil

    try:
        named = [Path(part).name for part in process.cmdline()[:3]]
        return process.status() != psutil.STATUS_ZOMBIE and "dvc" in named
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _watch_dvc() -> None:
    """Ends this process when the `dvc` that started it is killed: the next one would start the stage a second time."""
    if "DVC_STAGE" not in os.environ:  # DVC sets it
        return
    import psutil

    for parent in psutil.Process().parents():
        if runs_dvc(parent):
            threading.Thread(target=_wait_for, args=[parent], name="dvc", daemon=True).start()
            return


def _wait_for(process: "psutil.Process") -> None:
    """Polls, since the process is no child of this one."""
    while process.is_running() and runs_dvc(process):
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
