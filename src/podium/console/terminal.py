"""What commands share: where the project is, and how tables and JSON are printed, on a terminal or in a pipe."""

import json
import os
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from podium.config.runtime import Runtime, use_instructions
from podium.console.dag import read_yaml, value_at
from podium.core.errors import DataError, ParamsError
from podium.core.layout import Layout, find_root

_QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_LOGGING_LEVEL": "WARNING"}
PIPE_WIDTH = 110  # columns where there is no terminal to ask


def console() -> Console:
    """Standard output as wide as the terminal; `PIPE_WIDTH` columns in a pipe unless COLUMNS says otherwise."""
    found = Console(highlight=False, soft_wrap=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(highlight=False, soft_wrap=False, width=PIPE_WIDTH)


def project() -> Layout:
    """The project around the working directory: the nearest folder with `params.yaml` and `dvc.yaml`.

    Quiets MLflow, and lets the process compute with the params' `runtime.instructions`.

    Raises:
        DataError: there is none.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    root = find_root(Path.cwd())
    if root is None:
        raise DataError(
            f"{Path.cwd()} is in no project: change into a folder with params.yaml and dvc.yaml, or below one"
        )
    layout = Layout(root)
    with suppress(DataError, ParamsError, ValidationError):  # told by the commands that read all params, or compute
        use_instructions(Runtime.model_validate(value_at(read_yaml(layout.params), "runtime") or {}))
    return layout


def table(*columns: str, right: tuple[str, ...] = (), fold: tuple[str, ...] = ()) -> Table:
    """An empty table in the one style of this command: numbers `right`, sentences of several lines `fold`.

    Where all headings are empty, none is shown.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    for name in columns:
        made.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name not in fold,
            overflow="fold" if name in fold else "ellipsis",
        )
    return made


def add_row(to: Table, *cells: str | Text) -> None:
    """Adds a row; text from people or from MLflow is shown as it is, never read as rich's markup."""
    to.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))


def print_json(value: object) -> None:
    """One JSON document on standard output, for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
