"""Downloading many small files side by side, each whole or not at all. What is there already is not asked for again.

A file comes into being under its name by a rename, after as many bytes as the server announced; so one that is there is
whole, and a run that was interrupted goes on with the files that are missing. Stands on `core` and requests.
"""

import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import requests
import urllib3
from filelock import FileLock

from podium.config.dataset import Fetch
from podium.console.progress import Advance, show_progress
from podium.core.errors import DataError, one_line
from podium.core.files import TEMPORARY, raise_if_full
from podium.sources.remote import without_secrets
from podium.sources.retrying import TRY_AGAIN, Broken, persist, reason

_CHUNK: Final = 2**18
_NOT_THERE: Final = frozenset((400, 401, 403, 404, 405, 410, 451))
"""Answers about one file. S3 says 403 for a missing file where listing is not allowed."""
_SCRATCH = f"{TEMPORARY}download"
_SAFE_NAME = re.compile(r"[^/\0]+(/[^/\0]+)*")


class _Refused(Exception):
    """This file cannot be had, whoever asks again; others may."""


def download_many(
    files: Iterable[tuple[str, str]], folder: Path, fetch: Fetch, task: str = "download", pause_seconds: float = 1.0
) -> dict[str, str]:
    """Downloads files that are not there yet.

    Args:
        files: (name, url): path below `folder` with forward slashes, and http or https address.
        folder: where they go; made if needed.
        fetch: `connections` at a time, timeout and retries of each; a file above `max_bytes` is refused.
        task: what to call this while showing progress.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.

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
    with FileLock(folder / f"{TEMPORARY}download.lock"):  # experiments that run side by side want the same files
        missing = {name: url for name, url in wanted.items() if not (folder / name).is_file()}
        if not missing:
            return {}
        for parent in {(folder / name).parent for name in missing}:
            parent.mkdir(parents=True, exist_ok=True)
        scratch = folder / _SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed process left
        scratch.mkdir()
        try:
            with show_progress(task, len(wanted), done=len(wanted) - len(missing)) as advance:
                return _Job(missing, folder, fetch, pause_seconds).run(advance)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class _Job:
    """One call of `download_many`: threads that take one file after another."""

    def __init__(self, files: dict[str, str], folder: Path, fetch: Fetch, pause_seconds: float) -> None:
        self._todo = iter(files.items())
        self._folder = folder
        self._fetch = fetch
        self._pause_seconds = pause_seconds
        self._failures: dict[str, str] = {}
        self._own = threading.local()  # a requests session is not made for several threads
        self._shared = threading.Lock()
        self._stop = threading.Event()

    def run(self, advance: Advance) -> dict[str, str]:
        """Downloads all; the first error that is not about one file ends it."""
        with ThreadPoolExecutor(self._fetch.connections, thread_name_prefix="download") as pool:
            workers = [
                pool.submit(self._work, self._folder / _SCRATCH / str(number), advance)
                for number in range(self._fetch.connections)
            ]
            try:
                for worker in as_completed(workers):
                    worker.result()
            finally:
                self._stop.set()
        return dict(sorted(self._failures.items()))

    def _work(self, temporary: Path, advance: Advance) -> None:
        """One thread: takes file after file, and notes those that cannot be had."""
        for name, url in self._next():
            why = self._one(name, url, temporary)
            with self._shared:
                if why:
                    self._failures[name] = why
                advance(1)

    def _next(self) -> Iterator[tuple[str, str]]:
        """Files that no other thread took; ends early once one of them has failed."""
        while not self._stop.is_set():
            with self._shared:
                file = next(self._todo, None)
            if file is None:
                return
            yield file

    def _one(self, name: str, url: str, temporary: Path) -> str:
        """Fetches one file; returns why it cannot be had, empty where it is there now."""
        try:
            persist(lambda: self._get(url, temporary), self._fetch.retries, self._pause_seconds, pause=self._stop.wait)
            temporary.replace(self._folder / name)
        except _Refused as refused:
            return str(refused)
        except Broken as error:
            raise DataError(
                f"{without_secrets(url)} cannot be downloaded ({error}): check the network and run the stage again; "
                "the files that came so far are kept"
            ) from error
        except OSError as error:
            raise_if_full(error, self._folder)
            raise
        return ""

    def _get(self, url: str, temporary: Path) -> None:
        """One attempt.

        Raises:
            Broken: asking again may help.
            _Refused: it would not.
        """
        try:
            with self._session().get(url, stream=True, timeout=self._fetch.timeout_seconds) as response:
                self._check(response)
                with temporary.open("wb") as stream:
                    for chunk in response.iter_content(_CHUNK):
                        stream.write(chunk)
                    came = stream.tell()
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise Broken(reason(error)) from error
        except requests.RequestException as error:
            raise _Refused(one_line(error).replace(url, without_secrets(url))) from error
        expected = response.headers.get("Content-Length", "")
        if expected.isdecimal() and came != int(expected):
            raise Broken(f"{came:,} of {int(expected):,} bytes came")

    def _check(self, response: requests.Response) -> None:
        """Refuses what is not a whole file of known length."""
        status, headers = response.status_code, response.headers
        if status in TRY_AGAIN:
            raise Broken(f"it answered {status} {response.reason}")
        if status in _NOT_THERE:
            raise _Refused(f"the server answered {status} {response.reason}")
        if status != requests.codes.ok:
            raise Broken(f"it answered {status} {response.reason}")
        length = headers.get("Content-Length", "")
        if not length.isdecimal() and "Transfer-Encoding" not in headers:
            raise _Refused("the server does not say how long the file is, so a cut one would pass for whole")
        if length.isdecimal() and int(length) > self._fetch.max_bytes:
            raise _Refused(f"{int(length):,} bytes are more than fetch.max_bytes")

    def _session(self) -> requests.Session:
        """The session of this thread; files come unpacked (`identity`), so that `Content-Length` counts their bytes."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
            self._own.session.headers["Accept-Encoding"] = "identity"
        session: requests.Session = self._own.session
        return session
