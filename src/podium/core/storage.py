"""Files for machines that do not share the project's folder: by digest, in a place that all of them reach.

The place is any address that fsspec knows. A file is uploaded once, however often it is needed. A machine downloads
what its jobs read into a cache of its own, holds it against the digest and works in a checkout: a folder laid out like
the project's, of hard links into the cache. Nothing that a job does there reaches the project.
"""

import errno
import fcntl
import os
import shutil
import socket
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import FileLock

from podium.core.errors import DataError, PodiumError, one_line
from podium.core.files import replacing, sha256_file, sha256_text

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CACHE_VARIABLE = "PODIUM_CACHE"
"""The environment variable that says where a machine keeps what it downloads."""
_GIB = 2**30
_THREADS = 8  # an object store answers many requests at once, each of them slowly
_BLOCK = 4 * 2**20  # bytes read at once where parts of a file are asked for
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class StoredFile:
    """A file in the storage.

    Attributes:
        name: its path below the folder that it was uploaded from, with forward slashes.
        sha256: of its bytes, 64 hex digits.
        size: bytes.
    """

    name: str
    sha256: str
    size: int

    @property
    def key(self) -> str:
        """Its path in the storage and in a cache: the digest, which is all that counts there."""
        return f"sha256/{self.sha256[:2]}/{self.sha256[2:]}"


@dataclass(frozen=True)
class Storage:
    """A place that all machines reach, and the disk that a machine may take for what it downloads from there.

    Attributes:
        url: any that fsspec knows.
        cache_gib: GiB of a machine.
    """

    url: str
    cache_gib: float

    def upload(self, paths: Iterable[Path], root: Path) -> tuple[StoredFile, ...]:
        """Puts files there, and all files of folders, unless they are there already.

        Raises:
            DataError: one is missing here, or the storage cannot be used.
        """
        files: list[Path] = []
        for path in paths:
            if not path.exists():
                raise DataError(f"{path} does not exist, but other machines need it: restore it (dvc checkout)")
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            files += [file for file in inside if file.is_file() and "__pycache__" not in file.parts]
        with ThreadPoolExecutor(_THREADS) as threads:
            return tuple(threads.map(lambda file: self._upload(file, file.relative_to(root).as_posix()), files))

    def _upload(self, path: Path, name: str) -> StoredFile:
        from fsspec.implementations.local import LocalFileSystem

        file = StoredFile(name, sha256_file(path), path.stat().st_size)
        with self.translate_errors("written to"):
            filesystem, place = self._find(file)
            if not filesystem.exists(place) or filesystem.info(place)["size"] != file.size:
                if isinstance(filesystem, LocalFileSystem):  # an object store shows no half of a file
                    with replacing(Path(place)) as temporary:
                        shutil.copyfile(path, temporary)
                else:
                    filesystem.put_file(str(path), place)
        return file

    def download(self, file: StoredFile, path: Path) -> None:
        """Writes a file of the storage to a path, whole or not at all.

        Raises:
            DataError: it is not there or has another digest, the storage cannot be used, or the disk is full.
        """
        with replacing(path) as temporary:
            with self.translate_errors("read"):
                filesystem, place = self._find(file)
                filesystem.get_file(place, str(temporary))
            self.require(file, sha256_file(temporary))

    def require(self, file: StoredFile, sha256: str) -> None:
        """Refuses other bytes.

        Raises:
            DataError: the digest is another.
        """
        if sha256 != file.sha256:
            raise DataError(
                f"{file.name} has another digest in the storage: {self.url}/{file.key} is damaged; delete it there "
                "and run the stage again"
            )

    def open(self, file: StoredFile) -> IO[bytes]:
        """A file of the storage, to read parts of it, which the caller holds against digests of their own.

        Raises a `DataError` where it is not there.
        """
        with self.translate_errors("read"):
            filesystem, place = self._find(file)
            stream: IO[bytes] = filesystem.open(place, "rb", block_size=_BLOCK)
            return stream

    def _find(self, file: StoredFile) -> "tuple[AbstractFileSystem, str]":
        import fsspec

        filesystem, folder = fsspec.core.url_to_fs(self.url)
        return filesystem, f"{folder.rstrip('/')}/{file.key}"

    @contextmanager
    def translate_errors(self, done: str) -> Iterator[None]:
        """Says in one line what a library said; for blocks that do nothing but read the storage or write to it.

        Raises:
            DataError: in place of what was raised there; errors of ours and a full disk are passed on.
        """
        try:
            yield
        except PodiumError:
            raise
        except Exception as error:
            # Backends are plug-ins, each with a family of errors that cannot be named without importing them.
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            raise DataError(
                f"resources.storage {self.url} cannot be {done} ({type(error).__name__}: {one_line(error)}): make the "
                "bucket or folder, give the credentials where its library looks for them (environment or its own "
                "file), install what it asks for, or correct the address"
            ) from error


@dataclass(frozen=True)
class Checkout:
    """Some files of the storage as a folder of the machine that asks for it; it may be pickled before that.

    Processes of a machine that need the same files share it, and what they write there.
    """

    storage: Storage
    files: tuple[StoredFile, ...]

    @cached_property
    def root(self) -> Path:
        """The folder, with the files in their places, each with its digest; there while this process is.

        Raises:
            DataError: a file cannot be downloaded or has another digest, there are more than the cache may hold, or the
                disk is full.
        """
        home = cache_folder()
        listing = "\n".join(sorted(f"{file.sha256} {file.name}" for file in self.files))
        folder = home / "checkouts" / sha256_text(listing)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(home / "lock"):  # of a machine's processes one downloads, and none removes meanwhile
                self._hold(folder, home)
        except DataError as error:
            raise DataError(f"on {socket.gethostname()}: {error}") from error
        return folder

    def _hold(self, folder: Path, home: Path) -> None:
        """Tells others by a lock that the folder is in use, and fills it where nobody did who still uses it."""
        held = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT)
        try:
            if _is_free(held):
                self._fill(folder, home)
            fcntl.flock(held, fcntl.LOCK_SH)
            os.utime(held)
        except BaseException:
            os.close(held)
            raise
        weakref.finalize(self, os.close, held)  # lets go of the lock; so does the system when the process ends

    def _fill(self, folder: Path, home: Path) -> None:
        """Puts every file in its place; those that are in the cache are held against their digest again."""
        with ThreadPoolExecutor(_THREADS) as threads:
            there = threads.map(lambda file: _link(home / file.key, folder / file.name, file.sha256), self.files)
            missing = [file for file, linked in zip(self.files, there, strict=True) if not linked]
            each = {file.sha256: file for file in missing}.values()  # two may have the same bytes
            _make_room(home, sum(file.size for file in each), self.storage.cache_gib)
            list(threads.map(lambda file: self.storage.download(file, home / file.key), each))
        for file in missing:
            _link(home / file.key, folder / file.name)


def cache_folder() -> Path:
    """Where this machine keeps what it downloads: `PODIUM_CACHE`, or `~/.cache/podium`."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "podium")


def _lock_of(checkout: Path) -> Path:
    return checkout.with_name(f"{checkout.name}.lock")


def _is_free(lock: int) -> bool:
    """Whether nobody else holds an open file; this process does then."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _link(cached: Path, path: Path, sha256: str | None = None) -> bool:
    """Puts a file of the cache in its place; False where it is not there, or is damaged (and then gone)."""
    path.unlink(missing_ok=True)  # else what was damaged would go on taking up room there
    if not cached.is_file():
        return False
    if sha256 is not None and sha256_file(cached) != sha256:
        cached.unlink()
        return False
    os.utime(cached)  # it is used now
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(cached)
    return True


def _make_room(home: Path, needed: int, gib: float) -> None:
    """Removes what no process uses, that unused for the longest first, until so many bytes more may be kept.

    Raises:
        DataError: all that is left is in use.
    """
    while (used := _used(home)) + needed > gib * _GIB:
        oldest = min(_unused(home), key=lambda each: each[0], default=None)
        if oldest is None:
            raise DataError(
                f"jobs need {needed / _GIB:.3f} GiB more in {home}, where {used / _GIB:.3f} GiB are in use: raise "
                f"resources.storage_cache_gib ({gib:g}), or wait for what else runs there"
            )
        path = oldest[1]
        if path.is_dir():
            shutil.rmtree(path)
            _lock_of(path).unlink()
        else:
            path.unlink()


def _used(home: Path) -> int:
    """Bytes below a folder; a file with several names counts once."""
    return sum({status.st_ino: status.st_size for _, status in _files(home)}.values())


def _unused(home: Path) -> Iterator[tuple[int, Path]]:
    """Files of the cache that are in no checkout, and checkouts that no process holds, each with its last use (ns)."""
    yield from ((status.st_mtime_ns, file) for file, status in _files(home / "sha256") if status.st_nlink == 1)
    for lock in (home / "checkouts").glob("*.lock"):
        with lock.open("r+") as stream:  # NFS wants it writable
            if _is_free(stream.fileno()):
                yield lock.stat().st_mtime_ns, lock.with_suffix("")


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All files below a folder, with what the system knows of them; jobs may remove some meanwhile."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield (file := Path(parent, name)), file.lstat()
