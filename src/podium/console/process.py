"""What every process of Podium does first, how it logs, and how it ends. A light import.

A stage is stopped by Ctrl-C, by SIGTERM, or as the `dvc` that started it is gone; and it runs once at a time.
"""

import getpass
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from podium.core.errors import DataError, PodiumError, one_line, told
from podium.core.files import raise_if_full
from podium.core.layout import Layout, find_root

if TYPE_CHECKING:
    import psutil

LEVEL = "PODIUM_LOG_LEVEL"
"""Environment variable with a level of `logging`; worker processes get it too."""
STARTED_BY = "PODIUM_STARTED_BY"
"""Environment variable with the number of the `podium repro` that a stage's `dvc` is a child of."""
_POLL_SECONDS = 0.5
_WAIT_SECONDS = 60.0
"""How long a stage waits for another process of it: one whose `dvc` was killed is about to end."""


def silence_telemetry() -> None:
    """Switches off what MLflow, DVC and Great Expectations would send, unless the user has set it."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)


def refuse_pickle() -> None:
    """Has MLflow refuse models that run code when they are loaded, in this process and those it starts, in any case."""
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"


def use_utf8() -> None:
    """Makes names of files, files and output UTF-8 whatever the locale says, so that results do not depend on it.

    Python takes the encoding of file names from the locale when it starts, so under another one it starts once more.
    """
    if sys.getfilesystemencoding() != "utf-8":
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONUTF8": "1"})  # noqa: S606  # this very command
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def run_own_package() -> None:
    """Starts the command once more with the package of the project it is given in, where another one was imported.

    The environment may hold the package of another checkout; what it says of this project could be wrong.
    """
    root = find_root(Path.cwd())
    source = root and root / "src"
    if source is None or not (source / "podium" / "__init__.py").is_file():
        return
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if Path(__file__).resolve().is_relative_to(source.resolve()) or given[0] == str(source):
        return
    paths = os.pathsep.join(filter(None, (str(source), *given)))
    again = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, again, {**os.environ, "PYTHONPATH": paths})  # noqa: S606  # this very command


def git_said(root: Path, *arguments: str) -> str | None:
    """What git says in a folder; None where there is no git, or where it refuses."""
    try:
        said = subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=False)
    except OSError:
        return None
    return None if said.returncode else said.stdout.decode(errors="replace")


def run_dvc(root: Path, *arguments: str) -> None:
    """Runs DVC at the project's root.

    Raises:
        DataError: it refuses; its last words are in the message.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = one_line(done.stderr).removeprefix("ERROR: ")
        raise DataError(f"`dvc {' '.join(arguments)}` failed ({said}): give it by hand to see more")


def operating_system_said(error: OSError) -> int:
    """Full disks and missing rights are the user's to mend: one line on stderr, exit code 1.

    Raises:
        OSError: anything else is ours and keeps its traceback.
    """
    try:
        raise_if_full(error, Path(error.filename2 or error.filename or "the output"))  # where a copy went, first
    except DataError as full:
        print(f"error: {told(full)}", file=sys.stderr)
        return 1
    if isinstance(error, PermissionError):
        print(f"error: no permission for {error.filename}: change its rights and run the stage again", file=sys.stderr)
        return 1
    raise error


class _Lines(logging.Handler):
    """Plain lines: warnings on standard error, the rest on standard output, whatever those are at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one message."""
        if record.levelno >= logging.WARNING:
            print(f"warning: {self.format(record)}", file=sys.stderr, flush=True)
        else:
            print(self.format(record), flush=True)


def set_up_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Shows what the package says: notices by default, details when verbose; when quiet, warnings alone."""
    if verbose or quiet:
        os.environ[LEVEL] = "WARNING" if quiet else "DEBUG"
    logger = logging.getLogger("podium")
    logger.setLevel(os.environ.get(LEVEL, "INFO"))
    if not any(isinstance(handler, _Lines) for handler in logger.handlers):
        logger.addHandler(_Lines())


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
    from filelock import FileLock, Timeout

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


def utc_now() -> str:
    """The present moment, UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def whoami() -> str:
    """Who is at the keyboard: git's user where one is set, else the login name."""
    named = (git_said(Path.cwd(), "config", "user.name") or "").strip()
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        login = ""
    return f"{named} ({login})" if named and login else named or login or "unknown"


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
    """Ends this process when the `dvc` that started it is killed, or the `podium repro` that started that.

    The next one would start the stage a second time.
    """
    if "DVC_STAGE" not in os.environ:  # DVC sets it
        return
    import psutil

    for parent in psutil.Process().parents():
        if runs_dvc(parent):
            threading.Thread(target=_wait_for, args=[parent], name="dvc", daemon=True).start()
            return


def _wait_for(process: "psutil.Process") -> None:
    """Polls, since the process is no child of this one."""
    import psutil

    parent = os.environ.get(STARTED_BY)
    with suppress(psutil.NoSuchProcess):
        while process.is_running() and runs_dvc(process) and parent in (None, str(process.ppid())):
            time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
