"""Downloading: one file or many, over any protocol, each under its name only once it is whole.

What is there is not asked for again, broken connections are tried again, and what counts in the end is the sha256; of a
file without one, the length and, where Google's storage says it, the MD5.
"""

import base64
import hashlib
import logging
import re
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import requests
from filelock import FileLock

from podium.config.dataset import ArchiveDataset, CsvDataset, Fetch, SnapshotDataset
from podium.console.progress import Advance, show_progress
from podium.core.errors import DataError, ParamsError
from podium.core.files import TEMPORARY, raise_if_full, sha256_file
from podium.core.layout import Layout
from podium.sources.locations import (
    OF_DATASET,
    WEB,
    Keys,
    Remote,
    address,
    downloads_folder,
    is_address,
    local_path,
    require_pin,
    watched_path,
    without_secrets,
)
from podium.sources.transfer import Broken, FsspecTransfer, HttpTransfer, Refused, Transfer, retry

_LOG = logging.getLogger(__name__)

_SCRATCH: Final = f"{TEMPORARY}download"
_SAFE_NAME: Final = re.compile(r"[^/\0]+(/[^/\0]+)*")


def get_file(layout: Layout, dataset: ArchiveDataset | SnapshotDataset | CsvDataset, fetch: Fetch) -> Path:
    """The file a dataset is, downloaded where it is an address; of an archive http(s) only.

    Args:
        layout: the project's paths.
        dataset: location and digest.
        fetch: limits of downloading.

    Raises:
        ParamsError: the location is neither watched by DVC nor pinned, or is another kind of address.
        DataError: the download fails.
    """
    if is_address(dataset.location):
        shown = without_secrets(dataset.location)
        if address(dataset.location).scheme not in WEB and not isinstance(dataset, CsvDataset):
            raise ParamsError(
                f"dataset.location {shown!r} is not an http:// or https:// address: download it and give its path"
            )
        return download(dataset.location, require_pin(shown, dataset.sha256), downloads_folder(layout), fetch)
    if dataset.sha256 is not None:
        return local_path(layout, dataset.location)
    return watched_path(layout, dataset.source, dataset.location, pinning=", or set dataset.sha256")


def download(url: str, sha256: str, folder: Path, fetch: Fetch, keys: Keys = OF_DATASET) -> Path:
    """Downloads a pinned file, unless it is there already; see `download_to`.

    Args:
        url: an http or https address, or another one that fsspec knows.
        sha256: what its digest must be.
        folder: where downloads are kept; made if needed.
        fetch: timeout and number of retries.
        keys: where address and digest are written.

    Returns:
        The file, under its own name in a folder named after its digest.
    """
    target = folder / sha256[:16] / _base_name(url)
    download_to(target, Remote.at(url, keys), sha256, fetch)
    return target


def download_to(target: Path, remote: Remote, sha256: str | None, fetch: Fetch) -> None:
    """Downloads a file to a given place, unless it is there already.

    Args:
        target: where it goes; its folder is made if needed.
        remote: where it comes from.
        sha256: what its digest must be. None: a file that is there is taken for the right one, and one that comes is
            checked against the length and the MD5 the server states.
        fetch: timeout and number of retries. An attempt that brought new bytes is not counted.

    Raises:
        DataError: the server cannot be reached or refuses, the digest is another one, or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.parent.with_name(f"{target.parent.name}.lock")
    with FileLock(lock), requests.Session() as session:  # experiments that run side by side want the same file
        if target.is_file() and sha256 in (None, sha256_file(target)):
            return
        part = target.with_name(target.name + ".part")
        web = remote.web
        transfer = HttpTransfer(session, remote, part, fetch, sha256=sha256) if web else FsspecTransfer(remote, part)
        _run(transfer, remote, fetch)
        _check(transfer, remote, sha256)
        part.replace(target)
        transfer.forget()


def _run(transfer: Transfer, remote: Remote, fetch: Fetch) -> None:
    """Attempts until everything came.

    Raises:
        DataError: the server refuses, or as many attempts in a row as allowed brought nothing new.
    """

    def on_failure(error: Broken) -> None:
        _LOG.info(f"fetch: {remote.name}: {error}; trying again")

    try:
        retry(transfer.attempt, fetch.retries, size=lambda: transfer.size, on_failure=on_failure)
    except Refused as error:
        raise DataError(f"{remote.name} cannot be downloaded ({error}): {remote.remedy}") from error
    except Broken as error:
        kept = f"; the {transfer.size:,} bytes so far are kept, run the stage again to go on"
        raise DataError(
            f"{remote.name} cannot be downloaded ({error}): check the network and {remote.keys.location}"
            + (kept if transfer.size else "")
        ) from error


def _check(transfer: Transfer, remote: Remote, sha256: str | None) -> None:
    """Holds the whole file against its pin or, where there is none, against the MD5 the server states.

    Raises:
        DataError: it is another one; it is deleted.
    """
    if sha256 is not None and (digest := sha256_file(transfer.part)) != sha256:
        transfer.forget()
        raise DataError(
            f"{remote.name} has sha256 {digest}, but {remote.keys.sha256} asks for {sha256}: it was "
            "deleted; get the right address, or correct the key if you trust this file"
        )
    if sha256 is None and (stated := transfer.stated_md5) is not None:
        with transfer.part.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if base64.b64encode(found).decode() != stated:
            transfer.forget()
            raise DataError(
                f"{remote.name} was damaged on its way (its MD5 is not the one the server states): it was deleted; "
                "run the stage again"
            )


def _base_name(url: str) -> str:
    """Last part of an address' path, made safe as a file name."""
    name = unquote(address(url).path or address(url).netloc).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "archive"


def download_many(files: Iterable[tuple[str, str]], folder: Path, fetch: Fetch) -> dict[str, str]:
    """Downloads files that are not there yet, side by side.

    Args:
        files: (name, url): path below `folder` with forward slashes, and an address.
        folder: where they go; made if needed.
        fetch: `connections` at a time, timeout and retries of each; a file above `max_bytes` is refused.

    Returns:
        Names of files that cannot be had (404, 403, ...) with the reason, sorted by name. All others are there.

    Raises:
        DataError: the server cannot be reached or breaks off again and again, a name leaves the folder, or the disk is
            full. Files that came before are kept.
    """
    wanted = dict(files)
    for name in wanted:
        if not _SAFE_NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
            raise DataError(f"{name!r} is no name for a downloaded file: it must stay inside its folder")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{_SCRATCH}.lock"):  # experiments that run side by side want the same files
        missing = {name: url for name, url in wanted.items() if not (folder / name).is_file()}
        if not missing:
            return {}
        for parent in {(folder / name).parent for name in missing}:
            parent.mkdir(parents=True, exist_ok=True)
        scratch = folder / _SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed process left
        scratch.mkdir()
        try:
            with show_progress("download", len(wanted), done=len(wanted) - len(missing)) as advance:
                return _Pool(missing, folder, fetch).run(advance)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class _Pool:
    """One call of `download_many`: threads that take one file after another."""

    def __init__(self, files: Mapping[str, str], folder: Path, fetch: Fetch) -> None:
        self._todo = deque(files.items())
        self._folder = folder
        self._fetch = fetch
        self._refused: dict[str, str] = {}
        self._shared = threading.Lock()
        self._stop = threading.Event()

    def run(self, advance: Advance) -> dict[str, str]:
        """Downloads all; the first error that is not about one file ends it."""
        with ThreadPoolExecutor(self._fetch.connections, thread_name_prefix="download") as pool:
            workers = [pool.submit(self._work, number, advance) for number in range(self._fetch.connections)]
            try:
                for worker in as_completed(workers):
                    worker.result()
            finally:
                self._stop.set()
        return dict(sorted(self._refused.items()))

    def _work(self, number: int, advance: Advance) -> None:
        """One thread: takes file after file until there are none or another thread failed; notes those refused."""
        part = self._folder / _SCRATCH / str(number)
        with requests.Session() as session:  # not made for several threads
            while not self._stop.is_set():
                try:
                    name, url = self._todo.popleft()
                except IndexError:
                    return
                reason = self._download(session, Remote.at(url), part, self._folder / name)
                with self._shared:
                    if reason:
                        self._refused[name] = reason
                    advance(1)

    def _download(self, session: requests.Session, remote: Remote, part: Path, target: Path) -> str:
        """Fetches one file; returns why it cannot be had, empty where it is there now.

        Raises:
            DataError: the connection breaks again and again, or the disk is full.
        """
        transfer: Transfer = FsspecTransfer(remote, part)
        if remote.web:
            most = self._fetch.max_bytes
            transfer = HttpTransfer(session, remote, part, self._fetch, max_bytes=most, progress=False)
        try:
            retry(transfer.attempt, self._fetch.retries, size=lambda: transfer.size, pause=self._stop.wait)
            part.replace(target)
        except Refused as error:
            return str(error)
        except Broken as error:
            raise DataError(
                f"{remote.name} cannot be downloaded ({error}): check the network and run the stage again; "
                "the files that came so far are kept"
            ) from error
        except OSError as error:
            raise_if_full(error, self._folder)
            raise
        finally:
            transfer.forget()
        return ""
