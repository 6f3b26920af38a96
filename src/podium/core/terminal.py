"""Where tables are printed: a terminal, or a pipe of a fixed width. Imports rich at the point of use."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 110  # columns where there is no terminal to ask


def console() -> "Console":
    """Standard output as wide as the terminal; `PIPE_WIDTH` columns in a pipe unless COLUMNS says otherwise."""
    from rich.console import Console

    found = Console(highlight=False, soft_wrap=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(highlight=False, soft_wrap=False, width=PIPE_WIDTH)
