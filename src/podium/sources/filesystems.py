"""Files at addresses other than http(s): whatever fsspec knows (s3://, gs://, sftp://, ...), each whole or not at all.

Stands on `core` and fsspec; the library behind a protocol (s3fs, gcsfs, ...) is installed by whoever uses it.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from podium.config.dataset import Fetch
from podium.console.progress import show_progress
from podium.core.errors import DataError, one_line
from podium.core.files import TEMPORARY, raise_if_full, replacing, sha256_file
from podium.sources.remote import OF_DATASET, Keys, without_secrets
from podium.sources.retrying import Broken, persist

_REFUSED = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def copy_pinned(
    location: str, sha256: str, folder: Path, fetch: Fetch, pause_seconds: float = 1.0, *, keys: Keys = OF_DATASET
) -> Path:
    """One file, unless it is there already.

    Args:
        location: an address that fsspec knows.
        sha256: what its digest must be.
        folder: where downloads are kept.
        fetch: number of retries.
        pause_seconds: wait before the first retry.
        keys: where address and digest are written.

    Returns:
        The file, under its own name in a folder named after its digest.

    Raises:
        DataError: it cannot be had, or has another digest.
    """
    target = folder / sha256[:16] / (without_secrets(location).rpartition("/")[2] or "file")
    if target.is_file() and sha256_file(target) == sha256:
        return target
    shown = without_secrets(location)
    with replacing(target) as temporary:
        refused = _copy(location, temporary, fetch, pause_seconds)
        if refused:
            raise DataError(f"{shown} cannot be had ({refused}): correct {keys.location}")
        digest = sha256_file(temporary)
        if digest != sha256:
            raise DataError(
                f"{shown} has sha256 {digest}, but {keys.sha256} asks for {sha256}: get the right address, or "
                "correct the key if you trust this file"
            )
    return target


def copy_many(
    files: Iterable[tuple[str, str]], folder: Path, fetch: Fetch, task: str = "download", pause_seconds: float = 1.0
) -> dict[str, str]:
    """Files that are not there yet; like `many.download_many`, for any protocol.

    Args:
        files: (name, address): path below `folder` with forward slashes, and an address that fsspec knows.
        folder: where they go.
        fetch: `connections` at a time, retries of each.
        task: what to call this while showing progress.
        pause_seconds: wait before the first retry.

    Returns:
        Names of files that cannot be had with the reason, sorted by name. All others are there.

    Raises:
        DataError: the protocol is not known, the connection breaks again and again, or the disk is full. Files that
            came before are kept.
    """
    wanted = dict(files)
    folder.mkdir(parents=True, exist_ok=True)

    def outcome(name: str) -> tuple[str, str]:
        """A file's name and why it cannot be had; empty: it is there now."""
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{TEMPORARY}{target.name}")
        refused = _copy(wanted[name], part, fetch, pause_seconds)
        if not refused:
            part.replace(target)
        return name, refused

    with FileLock(folder / f"{TEMPORARY}download.lock"):  # experiments that run side by side want the same files
        missing = [name for name in wanted if not (folder / name).is_file()]
        with (
            show_progress(task, len(wanted), done=len(wanted) - len(missing)) as advance,
            ThreadPoolExecutor(fetch.connections) as pool,
        ):
            refused: dict[str, str] = {}
            for name, reason in pool.map(outcome, missing):
                if reason:
                    refused[name] = reason
                advance(1)
    return dict(sorted(refused.items()))


def _copy(location: str, target: Path, fetch: Fetch, pause_seconds: float) -> str:
    """Writes what lies at an address to `target`; returns why it cannot be had, empty when it came."""
    filesystem, path = _opened(location)

    def attempt() -> str:
        """One attempt: why the file cannot be had, empty when it came. Raises Broken where another may help."""
        try:
            data = filesystem.cat_file(path)
        except _REFUSED as error:
            return one_line(error.strerror or type(error).__name__)
        except OSError as error:  # fsspec's own timeout is one too
            raise Broken(one_line(error)) from error
        except Exception as error:
            raise _foreign(location, "cannot be read", error) from error
        try:
            target.write_bytes(data)
        except OSError as error:
            raise_if_full(error, target)
            raise
        return ""

    try:
        return persist(attempt, fetch.retries, pause_seconds)
    except Broken as error:
        raise DataError(
            f"{without_secrets(location)} cannot be read ({error}): check the network and run the stage again; "
            "the files that came so far are kept"
        ) from error


def _opened(location: str) -> tuple[Any, str]:
    """The file system behind an address, and the path within it.

    Raises:
        DataError: the protocol is unknown, its library is missing, or it refuses.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
    except (ValueError, ImportError) as error:  # an unknown protocol; one whose library is missing
        raise DataError(
            f"{without_secrets(location)} cannot be opened ({one_line(error)}): install what it asks for, or correct "
            "the address"
        ) from error
    except Exception as error:
        raise _foreign(location, "cannot be opened", error) from error
    return filesystem, str(path)


def _foreign(location: str, outcome: str, error: Exception) -> DataError:
    """What the library behind a protocol says in an error of its own.

    Backends are plug-ins, each with a family of errors (botocore's NoCredentialsError, google.auth's, paramiko's) that
    fsspec does not translate and that cannot be named without importing them. So whatever one call into a backend
    raises is taken for its verdict on this address; nothing else stands in those `try` blocks.
    """
    shown = without_secrets(location)
    said = one_line(error).replace(location, shown)
    return DataError(
        f"{shown} {outcome} ({type(error).__name__}: {said}): give the credentials where its library looks for them "
        "(environment or its own file), or correct the address"
    )
