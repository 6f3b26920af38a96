"""A file on its way from a server, attempt by attempt: what one may end with, and when another one helps.

Over http(s) it goes on where a broken connection stopped: the bytes so far lie in a part, what the server said about
them beside it; both survive a crash. A range is asked for with `If-Range` (RFC 9110, section 13.1.5), so a file that
changed meanwhile starts over. Any other protocol is fsspec's; the library behind it (s3fs, gcsfs, ...) is installed by
whoever uses it.
"""

import errno
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final, TypeVar

import requests
import urllib3

from podium.config.dataset import Fetch
from podium.console.progress import show_progress
from podium.core.errors import DataError, one_line, through_proxy
from podium.core.files import raise_if_full, sha256_file, write_json
from podium.records.base import Record
from podium.sources.locations import Remote

RETRY_STATUSES: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
"""HTTP statuses after which the same request may succeed a little later."""
FIRST_PAUSE = 1.0
"""Seconds before the first retry; doubled each time, at most a minute."""
_LONGEST_PAUSE: Final = 60.0
_REFUSALS: Final = frozenset((400, 401, 403, 404, 405, 410, 451))
"""Answers about one file. S3 says 403 for a missing file where listing is not allowed."""
_NOT_THERE: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_CHUNK: Final = 2**20
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_GOOG_MD5: Final = re.compile(r"md5=([A-Za-z0-9+/]{22}==)")
_Result = TypeVar("_Result")


class Broken(Exception):
    """The connection broke, or the server asked for patience: asking again may help."""


class Refused(Exception):
    """This file cannot be had, whoever asks again; others may."""


def retry(
    attempt: Callable[[], _Result],
    retries: int,
    *,
    size: Callable[[], int] = lambda: 0,
    on_failure: Callable[[Broken], None] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
) -> _Result:
    """Calls `attempt` until it succeeds, or until so many attempts in a row after the first brought nothing new.

    Args:
        attempt: raises `Broken` where another attempt may help.
        retries: attempts after the first.
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
            pause(min(FIRST_PAUSE * 2 ** max(failures - 1, 0), _LONGEST_PAUSE))


def root_cause(error: BaseException) -> str:
    """What lies at the bottom of a chain of requests and urllib3 errors, in words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


class Transfer(ABC):
    """A file on its way to `part`; one that cannot go on where it stopped starts over with every attempt."""

    def __init__(self, remote: Remote, part: Path) -> None:
        self.part = part
        self._remote = remote

    @property
    def size(self) -> int:
        """Bytes that are there to go on from."""
        return 0

    @property
    def stated_md5(self) -> str | None:
        """MD5 of the whole file as base64, where the server said one."""
        return None

    def forget(self) -> None:
        """Deletes the bytes so far and all that is known of them."""
        self.part.unlink(missing_ok=True)

    @abstractmethod
    def attempt(self) -> None:
        """Asks for what is missing and writes it.

        Raises:
            Broken: the connection broke; asking again may help.
            Refused: the server does not give this file, or the address is none.
            DataError: the disk is full, or the library behind a protocol cannot be used.
        """


class _PartRecord(Record):
    """`<part>.json`: where the bytes in a part came from; `remote` is the digest of a `Remote`."""

    remote: str
    etag: str | None
    last_modified: str | None
    md5: str | None = None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may hold: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


class HttpTransfer(Transfer):
    """A file over http(s), and the state of its download on disk."""

    def __init__(
        self,
        session: requests.Session,
        remote: Remote,
        part: Path,
        fetch: Fetch,
        *,
        sha256: str | None = None,
        max_bytes: int | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__(remote, part)
        self._session = session
        self._timeout = fetch.timeout_seconds
        self._sha256 = sha256
        self._max_bytes = max_bytes
        self._progress = progress
        self._notes = part.with_name(part.name + ".json")

    @property
    def size(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def stated_md5(self) -> str | None:
        """What stands in the notes."""
        return _PartRecord.read(self._notes).md5 if self._notes.is_file() else None

    def forget(self) -> None:
        """Deletes the bytes and the notes."""
        super().forget()
        self._notes.unlink(missing_ok=True)

    def attempt(self) -> None:
        """Asks for what is missing; see `Transfer`.

        Raises:
            Broken, Refused: as there.
        """
        headers = {"Accept-Encoding": "identity", **self._range()}
        url = self._remote.address()
        try:
            with self._session.get(url, headers=headers, stream=True, timeout=self._timeout) as response:
                if response.status_code == requests.codes.requested_range_not_satisfiable:
                    self._check_refused_range(response)
                else:
                    self._receive(response)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise Broken(f"{root_cause(error)}{through_proxy(url)}") from error
        except requests.RequestException as error:
            raise Refused(one_line(error).replace(url, self._remote.name)) from error

    def _range(self) -> dict[str, str]:
        """Headers that ask for the rest, where it is known what the bytes so far belong to."""
        if not self.size:
            return {}
        try:
            said = _PartRecord.read(self._notes)
        except DataError:
            said = None
        if said is None or said.remote != self._remote.digest:
            self.forget()
            return {}
        if_range = {"If-Range": said.validator} if said.validator else {}
        return {"Range": f"bytes={self.size}-", **if_range}

    def _check_refused_range(self, response: requests.Response) -> None:
        """Nothing comes after the bytes that are there: either they are all, or they are wrong.

        Raises:
            Broken: they are wrong, and deleted.
        """
        if self._sha256 is None:
            whole = response.headers.get("Content-Range") == f"bytes */{self.size}"
        else:
            whole = self.part.is_file() and sha256_file(self.part) == self._sha256
        if not whole:
            self.forget()
            raise Broken("the server has no such range, so the file is fetched from its start")

    def _receive(self, response: requests.Response) -> None:
        """Writes what an answer brings behind the bytes that are there.

        Raises:
            Broken: the server asks for patience, or the connection ended early.
            Refused: it does not give the file, an unpinned file has no stated length, or it is too long.
            DataError: the disk is full.
        """
        status = response.status_code
        if status in _REFUSALS:
            raise Refused(f"the server answered {status} {response.reason}{through_proxy(response.url)}")
        if status not in (requests.codes.ok, requests.codes.partial_content):
            raise Broken(f"it answered {status} {response.reason}{through_proxy(response.url)}")
        start = self._start(response)
        said = response.headers.get("Content-Length", "")
        expected = start + int(said) if said.isdecimal() else None
        if expected is None and self._sha256 is None and "Transfer-Encoding" not in response.headers:
            raise Refused("the server does not say how long the file is, so a cut one would pass for whole")
        if expected is not None and self._max_bytes is not None and expected > self._max_bytes:
            raise Refused(f"{expected:,} bytes are more than fetch.max_bytes")
        try:
            self._write(response, start, expected)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(
                f"no space left on the device while writing {self.part}: free some space and run the stage again; "
                "the download goes on where it stopped"
            ) from error
        if expected is not None and self.size != expected:
            raise Broken(f"{self.size:,} of {expected:,} bytes came")

    def _start(self, response: requests.Response) -> int:
        """Where the answer's first byte goes; the server may send the whole file although a part was asked for.

        Raises:
            Broken: it sent another range; the bytes so far are deleted.
        """
        if response.status_code == requests.codes.partial_content:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.size:
                self.forget()
                raise Broken("it sent another range than asked for, so the file is fetched from its start")
            return self.size
        self.forget()
        notes = _PartRecord(
            remote=self._remote.digest,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
            md5=_stated_md5(response),
        )
        write_json(self._notes, notes.model_dump(mode="json"))
        return 0

    def _write(self, response: requests.Response, start: int, expected: int | None) -> None:
        """Appends bytes as they come, so that those before a broken connection stay."""
        progress = show_progress("download", expected, unit="bytes", done=start)
        shown = progress if self._progress else nullcontext(lambda _: None)
        # read1 hands over what has arrived; iter_content would drop the last, incomplete chunk of a broken connection.
        with shown as advance, self.part.open("ab") as stream:
            while data := response.raw.read1(_CHUNK, decode_content=False):
                stream.write(data)
                advance(len(data))


def _stated_md5(response: requests.Response) -> str | None:
    """What Google's storage says of the bytes it sends; of a file it unpacks on the way it says another one's."""
    if response.headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return None
    return next(iter(_GOOG_MD5.findall(response.headers.get("x-goog-hash", ""))), None)


class FsspecTransfer(Transfer):
    """A file over any protocol that fsspec knows, in one piece."""

    def attempt(self) -> None:
        """Reads the whole file; see `Transfer`.

        Raises:
            Broken, Refused, DataError: as there.
        """
        import fsspec

        location, name = self._remote.address(), self._remote.name
        outcome = "cannot be opened"
        try:
            filesystem, path = fsspec.core.url_to_fs(location)
            outcome = "cannot be read"
            data = filesystem.cat_file(path)
        except _NOT_THERE as error:
            raise Refused(one_line(error.strerror or type(error).__name__)) from error
        except OSError as error:  # fsspec's own timeout is one too
            raise Broken(one_line(error)) from error
        except Exception as error:
            # Backends are plug-ins, each with a family of errors (botocore's NoCredentialsError, google.auth's,
            # paramiko's) that fsspec does not translate and that cannot be named without importing them. So whatever
            # these two calls raise is taken for the backend's verdict on this address.
            said = one_line(error).replace(location, name)
            raise DataError(
                f"{name} {outcome} ({type(error).__name__}: {said}): give the credentials where its library looks "
                "for them (environment or its own file), install what it asks for, or correct the address"
            ) from error
        try:
            self.part.write_bytes(data)
        except OSError as error:
            raise_if_full(error, self.part)
            raise
