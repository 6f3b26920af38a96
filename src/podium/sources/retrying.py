"""Asking a server again after a broken connection: when that may help, how often, and how long to wait between.

Stands on `core` only.
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from podium.core.errors import one_line

TRY_AGAIN: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
"""HTTP statuses after which the same request may succeed a little later."""
_LONGEST_PAUSE: Final = 60.0
_Result = TypeVar("_Result")


class Broken(Exception):
    """The connection broke, or the server asked for patience: asking again may help."""


def persist(
    attempt: Callable[[], _Result],
    retries: int,
    pause_seconds: float,
    *,
    size: Callable[[], int] = lambda: 0,
    said: Callable[[Broken], None] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
) -> _Result:
    """Calls `attempt` until it succeeds, or until so many attempts in a row after the first brought nothing new.

    Args:
        attempt: raises `Broken` where another attempt may help.
        retries: attempts after the first.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.
        size: bytes that are there; an attempt that brought new ones is not counted.
        said: told of every failure after which another attempt follows.
        pause: waits so many seconds.

    Returns:
        What `attempt` returned.

    Raises:
        Broken: the last failure.
    """
    failures, most = 0, size()
    while True:
        try:
            return attempt()
        except Broken as error:
            failures = 0 if size() > most else failures + 1
            most = max(most, size())
            if failures > retries:
                raise
            said(error)
            pause(min(pause_seconds * 2 ** max(failures - 1, 0), _LONGEST_PAUSE))


def reason(error: BaseException) -> str:
    """What lies at the bottom of a chain of requests and urllib3 errors, in words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (isinstance(error, OSError) and error.strerror) or one_line(error)
