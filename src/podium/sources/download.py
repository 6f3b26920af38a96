"""Downloading one pinned file, going on where a broken connection stopped.

The bytes so far lie in `<name>.part`, what the server said about them in `<name>.part.json`; both survive a crash. A
range is asked for with `If-Range` (RFC 9110, section 13.1.5), so a file that changed meanwhile starts over. What counts
in the end is the sha256. Stands on `core` and requests.
"""

import errno
import re
import time
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import requests
import urllib3
from filelock import FileLock

from podium.core.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.core.files import sha256_file, write_json
from podium.core.records.base import Record
from podium.sources.progress import progress

_CHUNK: Final = 2**20
_LONGEST_PAUSE: Final = 60.0
_TRY_AGAIN: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class _Broken(Exception):
    """The connection broke or the server asked for patience; what came so far is kept."""


class _PartRecord(Record):
    """`<name>.part.json`: where the bytes in `<name>.part` came from."""

    url: str
    etag: str | None
    last_modified: str | None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may hold: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


def download(url: str, sha256: str, folder: Path, fetch: Fetch, pause_seconds: float = 1.0) -> Path:
    """Downloads a file, unless it is there already.

    Args:
        url: an http or https address.
        sha256: what its digest must be.
        folder: where downloads are kept; made if needed.
        fetch: timeout and number of retries. An attempt that brought new bytes is not counted.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.

    Returns:
        The file, under its own name in a folder named after its digest.

    Raises:
        DataError: the server cannot be reached or refuses, the digest is another one, or the disk is full.
    """
    target = folder / sha256[:16] / _base_name(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{sha256[:16]}.lock"):  # experiments that run side by side want the same archive
        if not target.is_file() or sha256_file(target) != sha256:
            transfer = _Transfer(url, target.with_name(target.name + ".part"), fetch.timeout_seconds)
            _persist(transfer, sha256, fetch.retries, pause_seconds)
            _check(transfer, sha256)
            transfer.part.replace(target)
            transfer.forget()
    return target


def without_secrets(location: str) -> str:
    """An address without the user name and password it may hold; other locations as they are."""
    if "://" not in location:
        return location
    parts = address(location)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def address(location: str) -> SplitResult:
    """The parts of an address.

    Raises:
        DataError: it cannot be read as one.
    """
    try:
        return urlsplit(location)
    except ValueError as error:
        raise DataError(f"dataset.location is not a valid address ({one_line(error)}): correct it") from error


class _Transfer:
    """The state of one download on disk."""

    def __init__(self, url: str, part: Path, timeout: float) -> None:
        self._url = url
        self.shown = without_secrets(url)
        self._timeout = timeout
        self._notes = part.with_name(part.name + ".json")
        self.part = part

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def forget(self) -> None:
        """Deletes the bytes and the notes."""
        self.part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def attempt(self, sha256: str) -> None:
        """Asks for what is missing and writes it.

        Raises:
            _Broken: the connection broke; asking again may help.
            DataError: the server refuses, or the disk is full.
        """
        headers = {"Accept-Encoding": "identity", **self._range()}
        try:
            with requests.get(self._url, headers=headers, stream=True, timeout=self._timeout) as response:
                if response.status_code == requests.codes.requested_range_not_satisfiable:
                    self._range_refused(sha256)
                else:
                    self._receive(response)
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise _Broken(_reason(error)) from error
        except requests.RequestException as error:
            said = one_line(error).replace(self._url, self.shown)
            raise DataError(f"{self.shown} cannot be downloaded ({said}): correct dataset.location") from error

    def _range(self) -> dict[str, str]:
        """Headers that ask for the rest, where it is known what the bytes so far belong to."""
        if not self.size:
            return {}
        try:
            said = _PartRecord.read(self._notes)
        except DataError:
            said = None
        if said is None or said.url != self.shown:
            self.forget()
            return {}
        if_range = {"If-Range": said.validator} if said.validator else {}
        return {"Range": f"bytes={self.size}-", **if_range}

    def _range_refused(self, sha256: str) -> None:
        """Nothing comes after the bytes that are there: either they are all, or they are wrong."""
        if not self.part.is_file() or sha256_file(self.part) != sha256:
            self.forget()
            raise _Broken("the server has no such range, so the file is fetched from its start")

    def _receive(self, response: requests.Response) -> None:
        if response.status_code in _TRY_AGAIN:
            raise _Broken(f"it answered {response.status_code} {response.reason}")
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise DataError(
                f"{self.shown} answered {response.status_code} {response.reason}: "
                "correct dataset.location, or download the file yourself and give its path"
            )
        start = self._start(response)
        said = response.headers.get("Content-Length", "")
        expected = start + int(said) if said.isdecimal() else None
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
            raise _Broken(f"{self.size:,} of {expected:,} bytes came")

    def _start(self, response: requests.Response) -> int:
        """Where the answer's first byte goes; the server may send the whole file although a part was asked for."""
        if response.status_code == requests.codes.partial_content:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.size:
                self.forget()
                raise _Broken("it sent another range than asked for, so the file is fetched from its start")
            return self.size
        self.forget()
        write_json(
            self._notes,
            _PartRecord(
                url=self.shown,
                etag=response.headers.get("ETag"),
                last_modified=response.headers.get("Last-Modified"),
            ).model_dump(mode="json"),
        )
        return 0

    def _write(self, response: requests.Response, start: int, expected: int | None) -> None:
        # read1 hands over what has arrived; iter_content would drop the last, incomplete chunk of a broken connection.
        with progress("download", expected, start, in_bytes=True) as advance, self.part.open("ab") as stream:
            while data := response.raw.read1(_CHUNK, decode_content=False):
                stream.write(data)
                advance(len(data))


def _persist(transfer: _Transfer, sha256: str, retries: int, pause_seconds: float) -> None:
    """Attempts until everything came, or until `retries` attempts in a row after the first brought nothing new."""
    failures, most = 0, transfer.size
    while True:
        try:
            transfer.attempt(sha256)
            return
        except _Broken as error:
            failures = 0 if transfer.size > most else failures + 1
            most = max(most, transfer.size)
            if failures > retries:
                kept = f"; the {transfer.size:,} bytes so far are kept, run the stage again to go on"
                raise DataError(
                    f"{transfer.shown} cannot be downloaded ({error}): check the network and dataset.location"
                    + (kept if transfer.size else "")
                ) from error
            print(f"fetch: {transfer.shown}: {error}; trying again", flush=True)
            time.sleep(min(pause_seconds * 2 ** max(failures - 1, 0), _LONGEST_PAUSE))


def _check(transfer: _Transfer, sha256: str) -> None:
    digest = sha256_file(transfer.part)
    if digest != sha256:
        transfer.forget()
        raise DataError(
            f"{transfer.shown} has sha256 {digest}, but dataset.sha256 asks for {sha256}: it was deleted; "
            "get the right address, or correct the key if you trust this file"
        )


def _reason(error: BaseException) -> str:
    """What lies at the bottom of a chain of requests and urllib3 errors, in words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


def _base_name(url: str) -> str:
    """Last part of an address' path, made safe as a file name."""
    name = unquote(address(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "archive"
