"""What every process of Podium does first, and what it says when the operating system refuses. A light import."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path

from podium.core.errors import DataError, told
from podium.core.files import raise_if_full
from podium.core.layout import find_root


def silence_telemetry() -> None:
    """Switches off what MLflow, DVC and Great Expectations would send, unless the user has set it."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)


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


def operating_system_said(error: OSError) -> int:
    """Full disks and missing rights are the user's to mend: one line on stderr, exit code 1.

    Raises:
        OSError: anything else is ours and keeps its traceback.
    """
    try:
        raise_if_full(error, Path(error.filename or "the output"))
    except DataError as full:
        print(f"error: {told(full)}", file=sys.stderr)
        return 1
    if isinstance(error, PermissionError):
        print(f"error: no permission for {error.filename}: change its rights and run the stage again", file=sys.stderr)
        return 1
    raise error
