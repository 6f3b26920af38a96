"""A file on its way from a server: what one attempt may end with, and when another one helps.

Over http(s) it is an `HttpTransfer` of its own module. Any other protocol is fsspec's; the library behind it (s3fs,
gcsfs, ...) is installed by whoever uses it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from podium.core.errors import DataError, one_line
from podium.core.files import raise_if_full
from podium.sources.locations import Remote

RETRY_STATUSES: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
"""HTTP statuses after which the same request may succeed a little later."""
_NOT_THERE: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_LONGEST_PAUSE: Final = 60.0
_Result = TypeVar("_Result")


class Broken(Exception):
    """The connection broke, or the server asked for patience: asking again may help."""


class Refused(Exception):
    """This file cannot be had, whoever asks again; others may."""


def retry(
    attempt: Callable[[], _Result],
    retries: int,
    pause_seconds: float,
    *,
    size: Callable[[], int] = lambda: 0,
    on_failure: Callable[[Broken], None] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
) -> _Result:
    """Calls `attempt` until it succeeds, or until so many attempts in a row after the first brought nothing new.

    Args:
        attempt: raises `Broken` where another attempt may help.
        retries: attempts after the first.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.
        size: bytes that are there; an attempt that brought new ones is not counted.
        on_failure: told of every failure after which another attempt follows.
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
            on_failure(error)
            pause(min(pause_seconds * 2 ** max(failures - 1, 0), _LONGEST_PAUSE))


def root_cause(error: BaseException) -> str:
    """What lies at the bottom of a chain of requests and urllib3 errors, in words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


class Transfer(Protocol):
    """A file on its way to `part`."""

    part: Path

    @property
    def size(self) -> int:
        """Bytes that are there."""

    @property
    def stated_md5(self) -> str | None:
        """MD5 of the whole file as base64, where the server said one."""

    def attempt(self) -> None:
        """Asks for what is missing and writes it.

        Raises:
            Broken: the connection broke; asking again may help.
            Refused: the server does not give this file.
            DataError: the disk is full, or the library behind a protocol cannot be used.
        """

    def forget(self) -> None:
        """Deletes the bytes so far and all that is known of them."""


class FsspecTransfer:
    """A file over any protocol that fsspec knows, in one piece."""

    stated_md5 = None

    def __init__(self, remote: Remote, part: Path) -> None:
        self.part = part
        self._remote = remote

    @property
    def size(self) -> int:
        """0: there is no going on."""
        return 0

    def forget(self) -> None:
        """Deletes the bytes."""
        self.part.unlink(missing_ok=True)

    def attempt(self) -> None:
        """Reads the whole file; see `Transfer`.

        Raises:
            Broken: the connection broke; asking again may help.
            Refused: there is no such file, or nobody may read it.
            DataError: the disk is full, the protocol is unknown, or its library cannot be used.
        """
        location = self._remote.address()
        filesystem, path = self._open(location)
        try:
            data = filesystem.cat_file(path)
        except _NOT_THERE as error:
            raise Refused(one_line(error.strerror or type(error).__name__)) from error
        except OSError as error:  # fsspec's own timeout is one too
            raise Broken(one_line(error)) from error
        except Exception as error:
            raise self._foreign(location, "cannot be read", error) from error
        try:
            self.part.write_bytes(data)
        except OSError as error:
            raise_if_full(error, self.part)
            raise

    def _open(self, location: str) -> tuple[Any, str]:
        """The file system behind an address, and the path within it.

        Raises:
            DataError: the protocol is unknown, its library is missing, or it refuses.
        """
        import fsspec

        try:
            filesystem, path = fsspec.core.url_to_fs(location)
        except (ValueError, ImportError) as error:  # an unknown protocol; one whose library is missing
            raise DataError(
                f"{self._remote.name} cannot be opened ({one_line(error)}): install what it asks for, or correct "
                "the address"
            ) from error
        except Exception as error:
            raise self._foreign(location, "cannot be opened", error) from error
        return filesystem, str(path)

    def _foreign(self, location: str, outcome: str, error: Exception) -> DataError:
        """What the library behind a protocol says in an error of its own.

        Backends are plug-ins, each with a family of errors (botocore's NoCredentialsError, google.auth's, paramiko's)
        that fsspec does not translate and that cannot be named without importing them. So whatever one call into a
        backend raises is taken for its verdict on this address; nothing else stands in those `try` blocks.
        """
        said = one_line(error).replace(location, self._remote.name)
        return DataError(
            f"{self._remote.name} {outcome} ({type(error).__name__}: {said}): give the credentials where its library "
            "looks for them (environment or its own file), or correct the address"
        )
