"""The outer shell of a stage script: arguments in, params read, one line and an exit code out."""

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from podium.config.params import load
from podium.console.logs import set_up_logging
from podium.console.reruns import say_why
from podium.core.errors import DataError, PodiumError, told
from podium.core.files import raise_if_full
from podium.core.layout import Layout


def silence_telemetry() -> None:
    """Switches off what MLflow, DVC and Great Expectations would send, unless the user has set it."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)


def run_stage(main: Callable[..., None], arguments: Sequence[str] | None = None) -> int:
    """Runs a stage's `main(params, layout)` or `main(params, layout, model)` from the project's root.

    Args:
        main: the stage; it takes `model` when the stage runs once per model.
        arguments: the command line without the program's name; `sys.argv` by default.

    Returns:
        0 done, 1 refused or failed (one line on stderr), 130 interrupted; wrong usage exits with 2.
    """
    silence_telemetry()
    parser = argparse.ArgumentParser(description=inspect.getdoc(main) or inspect.getdoc(inspect.getmodule(main)))
    per_model = "model" in inspect.signature(main).parameters
    if per_model:
        parser.add_argument("--model", required=True, help="a key of `models` in params.yaml")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    parser.add_argument("-q", "--quiet", action="store_true", help="say warnings and results alone")
    given = vars(parser.parse_args(arguments))
    set_up_logging(verbose=given.pop("verbose"), quiet=given.pop("quiet"))
    layout = Layout(Path.cwd())
    try:
        params = load(layout.params)
        if per_model:
            params.model(given["model"])
        with say_why(layout, Path(inspect.getfile(main)).stem, given.get("model")):
            main(params, layout, **given)
    except PodiumError as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        return operating_system_said(error)
    except KeyboardInterrupt:
        print("interrupted: run `dvc repro` to go on", file=sys.stderr)
        return 130
    return 0


def operating_system_said(error: OSError) -> int:
    """Full disks and missing rights are the user's to mend; anything else is ours and keeps its traceback.

    Args:
        error: what the operating system said.

    Returns:
        1, the exit code, after one line on stderr.

    Raises:
        OSError: `error` itself, where it is ours.
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
