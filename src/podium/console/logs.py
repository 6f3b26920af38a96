"""What the library says while it works, as `logging`: plain lines, more or fewer as asked."""

import logging
import os
import sys

LEVEL = "PODIUM_LOG_LEVEL"
"""Environment variable with a level of `logging`; worker processes get it too."""


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
