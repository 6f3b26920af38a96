"""Downloading one file, going on where a broken connection stopped.

The bytes so far lie in `<name>.part`, what the server said about them in `<name>.part.json`; both survive a crash. A
range is asked for with `If-Range` (RFC 9110, section 13.1.5), so a file that changed meanwhile starts over. What counts
in the end is the sha256; of a file without one, the length and, where Google's storage says it, the MD5.
Stands on `core`, `remote` and requests.
"""

import base64
import errno
import hashlib
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import requests
import urllib3
from filelock import FileLock

from podium.config.dataset import Fetch
from podium.console.progress import show_progress
from podium.core.errors import DataError, one_line
from podium.core.files import sha256_file, write_json
from podium.records.base import Record
from podium.sources.remote import OF_DATASET, Keys, Remote, address
from podium.sources.retrying import TRY_AGAIN, Broken, persist, reason

_CHUNK: Final = 2**20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_GOOG_MD5 = re.compile(r"md5=([A-Za-z0-9+/]{22}==)")


class _PartRecord(Record):
    """`<name>.part.json`: where the bytes in `<name>.part` came from; `remote` is the digest of a `Remote`."""

    remote: str
    etag: str | None
    last_modified: str | None
    md5: str | None = None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may hold: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


def download(
    url: str, sha256: str, folder: Path, fetch: Fetch, pause_seconds: float = 1.0, *, keys: Keys = OF_DATASET
) -> Path:
    """Downloads a pinned file, unless it is there already.

    Args:
        url: an http or https address.
        sha256: what its digest must be.
        folder: where downloads are kept; made if needed.
        fetch: timeout and number of retries. An attempt that brought new bytes is not counted.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.
        keys: where address and digest are written.

    Returns:
        The file, under its own name in a folder named after its digest.

    Raises:
        DataError: the server cannot be reached or refuses, the digest is another one, or the disk is full.
    """
    target = folder / sha256[:16] / _base_name(url)
    download_to(target, Remote.at(url, keys), sha256, fetch, pause_seconds)
    return target


def download_to(target: Path, remote: Remote, sha256: str | None, fetch: Fetch, pause_seconds: float = 1.0) -> None:
    """Downloads a file to a given place, unless it is there already.

    Args:
        target: where it goes; its folder is made if needed.
        remote: where it comes from.
        sha256: what its digest must be. None: a file that is there is taken for the right one, and one that comes is
            checked against the length and the MD5 the server states.
        fetch: timeout and number of retries. An attempt that brought new bytes is not counted.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.

    Raises:
        DataError: the server cannot be reached or refuses, the digest is another one, or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.parent.with_name(f"{target.parent.name}.lock")
    with FileLock(lock):  # experiments that run side by side want the same file
        if not target.is_file() or (sha256 is not None and sha256_file(target) != sha256):
            transfer = _Transfer(remote, target.with_name(target.name + ".part"), fetch.timeout_seconds)
            _fetch(transfer, sha256, fetch.retries, pause_seconds)
            _check(transfer, sha256)
            transfer.part.replace(target)
            transfer.forget()


class _Transfer:
    """The state of one download on disk."""

    def __init__(self, remote: Remote, part: Path, timeout: float) -> None:
        self.remote = remote
        self.shown = remote.name
        self._timeout = timeout
        self._notes = part.with_name(part.name + ".json")
        self.part = part

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def stated_md5(self) -> str | None:
        """MD5 of the whole file as base64, where the server said one."""
        return _PartRecord.read(self._notes).md5 if self._notes.is_file() else None

    def forget(self) -> None:
        """Deletes the bytes and the notes."""
        self.part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def attempt(self, sha256: str | None) -> None:
        """Asks for what is missing and writes it.

        Raises:
            Broken: the connection broke; asking again may help.
            DataError: the server refuses, or the disk is full.
        """
        headers = {"Accept-Encoding": "identity", **self._range()}
        url = self.remote.address()
        try:
            with requests.get(url, headers=headers, stream=True, timeout=self._timeout) as response:
                if response.status_code == requests.codes.requested_range_not_satisfiable:
                    self._range_refused(response, sha256)
                else:
                    self._receive(response, pinned=sha256 is not None)
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise Broken(reason(error)) from error
        except requests.RequestException as error:
            said = one_line(error).replace(url, self.shown)
            raise DataError(f"{self.shown} cannot be downloaded ({said}): {self.remote.remedy}") from error

    def _range(self) -> dict[str, str]:
        """Headers that ask for the rest, where it is known what the bytes so far belong to."""
        if not self.size:
            return {}
        try:
            said = _PartRecord.read(self._notes)
        except DataError:
            said = None
        if said is None or said.remote != self.remote.digest:
            self.forget()
            return {}
        if_range = {"If-Range": said.validator} if said.validator else {}
        return {"Range": f"bytes={self.size}-", **if_range}

    def _range_refused(self, response: requests.Response, sha256: str | None) -> None:
        """Nothing comes after the bytes that are there: either they are all, or they are wrong."""
        if sha256 is None:
            whole = response.headers.get("Content-Range") == f"bytes */{self.size}"
        else:
            whole = self.part.is_file() and sha256_file(self.part) == sha256
        if not whole:
            self.forget()
            raise Broken("the server has no such range, so the file is fetched from its start")

    def _receive(self, response: requests.Response, pinned: bool) -> None:
        """Writes what an answer brings behind the bytes that are there.

        Raises:
            Broken: the server asks for patience, or the connection ended early.
            DataError: it refuses, an unpinned file has no stated length, or the disk is full.
        """
        if response.status_code in TRY_AGAIN:
            raise Broken(f"it answered {response.status_code} {response.reason}")
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise DataError(f"{self.shown} answered {response.status_code} {response.reason}: {self.remote.remedy}")
        start = self._start(response)
        said = response.headers.get("Content-Length", "")
        expected = start + int(said) if said.isdecimal() else None
        if expected is None and not pinned and "Transfer-Encoding" not in response.headers:
            raise DataError(
                f"{self.shown} does not say how long the file is, so a cut one would pass for whole: "
                "download it yourself and give its path"
            )
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
        """Where the answer's first byte goes; the server may send the whole file although a part was asked for."""
        if response.status_code == requests.codes.partial_content:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.size:
                self.forget()
                raise Broken("it sent another range than asked for, so the file is fetched from its start")
            return self.size
        self.forget()
        write_json(
            self._notes,
            _PartRecord(
                remote=self.remote.digest,
                etag=response.headers.get("ETag"),
                last_modified=response.headers.get("Last-Modified"),
                md5=_stated_md5(response),
            ).model_dump(mode="json"),
        )
        return 0

    def _write(self, response: requests.Response, start: int, expected: int | None) -> None:
        """Appends bytes as they come, so that those before a broken connection stay."""
        # read1 hands over what has arrived; iter_content would drop the last, incomplete chunk of a broken connection.
        with show_progress("download", expected, unit="bytes", done=start) as advance, self.part.open("ab") as stream:
            while data := response.raw.read1(_CHUNK, decode_content=False):
                stream.write(data)
                advance(len(data))


def _fetch(transfer: _Transfer, sha256: str | None, retries: int, pause_seconds: float) -> None:
    """Attempts until everything came, or until `retries` attempts in a row after the first brought nothing new."""

    def said(error: Broken) -> None:
        print(f"fetch: {transfer.shown}: {error}; trying again", flush=True)

    try:
        persist(lambda: transfer.attempt(sha256), retries, pause_seconds, size=lambda: transfer.size, said=said)
    except Broken as error:
        kept = f"; the {transfer.size:,} bytes so far are kept, run the stage again to go on"
        raise DataError(
            f"{transfer.shown} cannot be downloaded ({error}): check the network and {transfer.remote.keys.location}"
            + (kept if transfer.size else "")
        ) from error


def _check(transfer: _Transfer, sha256: str | None) -> None:
    """Holds the whole file against its pin or, where there is none, against the MD5 the server states.

    Raises:
        DataError: it is another one; it is deleted.
    """
    if sha256 is not None and (digest := sha256_file(transfer.part)) != sha256:
        transfer.forget()
        raise DataError(
            f"{transfer.shown} has sha256 {digest}, but {transfer.remote.keys.sha256} asks for {sha256}: it was "
            "deleted; get the right address, or correct the key if you trust this file"
        )
    if sha256 is None and (stated := transfer.stated_md5) is not None:
        with transfer.part.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if base64.b64encode(found).decode() != stated:
            transfer.forget()
            raise DataError(
                f"{transfer.shown} was damaged on its way (its MD5 is not the one the server states): it was deleted; "
                "run the stage again"
            )


def _stated_md5(response: requests.Response) -> str | None:
    """What Google's storage says of the bytes it sends; of a file it unpacks on the way it says another one's."""
    if response.headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return None
    return next(iter(_GOOG_MD5.findall(response.headers.get("x-goog-hash", ""))), None)


def _base_name(url: str) -> str:
    """Last part of an address' path, made safe as a file name."""
    name = unquote(address(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "archive"
