"""What the library says while it works, as `logging`: plain lines on standard output, more or fewer as asked."""

import logging
import os
import sys
from typing import TextIO

LEVEL = "PODIUM_LOG_LEVEL"
"""Environment variable with a level of `logging`; worker processes get it too."""


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes plain lines to whatever standard output is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("%(message)s"))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute in the base class, bound once
        """Standard output."""
        return sys.stdout


def set_up_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Shows what the package says: notices by default, details when verbose, warnings alone when quiet.

    Args:
        verbose: also details.
        quiet: warnings and errors alone; wins over `verbose`.
    """
    if verbose or quiet:
        os.environ[LEVEL] = "WARNING" if quiet else "DEBUG"
    logger = logging.getLogger("podium")
    logger.setLevel(os.environ.get(LEVEL, "INFO"))
    if not any(isinstance(handler, _StandardOutput) for handler in logger.handlers):
        logger.addHandler(_StandardOutput())
