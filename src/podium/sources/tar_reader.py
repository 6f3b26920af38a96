"""Members of a tar archive, plain or compressed, all of them checked before one is read.

A compressed tar is first unpacked, under the same limits, to one plain tar in a scratch folder that goes when the
archive is closed: its members can then be listed without reading them.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.core.files import raise_if_full
from podium.sources.archive_members import Limits, Members, damaged
from podium.sources.names import safe_member

_CHUNK = 2**20
_BLOCK = tarfile.BLOCKSIZE
_Opener = type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]
_COMPRESSIONS: dict[bytes, _Opener] = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ\x00": lzma.LZMAFile}


class _Headers:
    """The stream as tarfile sees it while listing. It reads headers only, so a large read is a lie about one's size."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._name = name
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell
        self.write = stream.write
        self.close = stream.close

    def read(self, size: int = -1) -> bytes:
        """Reads a header.

        Raises:
            DataError: more is asked for than any header has.
        """
        if not 0 <= size <= _CHUNK:
            raise damaged(self._name, "", f"a header claims {size:,} bytes")
        return self._stream.read(size)


class TarMembers(Members):
    """An opened plain tar; `path` is the archive it came from, for messages."""

    def __init__(self, path: Path, stream: IO[bytes], limits: Fetch) -> None:
        """Lists and checks the members.

        Raises:
            DataError: the archive is damaged, unsafe or beyond a limit.
        """
        super().__init__()
        self._name = path.name
        self._stream = stream
        self._offsets: dict[str, int] = {}
        check = Limits(path.name, limits)
        stream.seek(0)
        try:
            with tarfile.open(fileobj=_Headers(self._name, stream), mode="r:") as archive:
                for count, member in enumerate(archive, start=1):
                    check.count(count)
                    self._add(member, check)
                self._check_end(archive.offset)
        except tarfile.TarError as error:
            raise damaged(self._name, "", one_line(error)) from error

    def _add(self, member: tarfile.TarInfo, check: Limits) -> None:
        """Notes a member's name and place.

        Raises:
            DataError: it is no regular file, its name is unsafe, or it is beyond a limit.
        """
        name = safe_member(self._name, member.name)
        if member.isdir():
            self.folders.append(name)
            return
        if not member.isreg() or member.issparse():
            raise DataError(
                f"{self._name}: member {name!r} is a link, a device or a sparse file, not a regular file: "
                "pack the archive without it"
            )
        if member.size < 0:  # an older tarfile would walk backwards, for ever (CVE-2025-8194)
            raise damaged(self._name, name, "its size is negative")
        check.member(name, member.size)
        self.add_file(self._name, name, member.size)
        self._offsets[name] = member.offset_data

    def _check_end(self, offset: int) -> None:
        """An archive cut between two members reads like a shorter one: only its end marker tells.

        Raises:
            DataError: it is not there.
        """
        self._stream.seek(offset)
        marker = self._stream.read(_BLOCK)
        if len(marker) < _BLOCK or marker.strip(b"\0"):
            raise damaged(self._name, "", "the end marker is missing")

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Writes the bytes of one member.

        Raises:
            DataError: the archive ends before them.
        """
        self._stream.seek(self._offsets[name])
        left = self.files[name]
        while left:
            data = self._stream.read(min(left, _CHUNK))
            if not data:
                raise damaged(self._name, name, "unexpected end of data")
            target.write(data)
            left -= len(data)


@contextmanager
def open_tar(path: Path, limits: Fetch, scratch: Path) -> Iterator[TarMembers]:
    """Opens a tar archive (plain, .gz, .bz2 or .xz) and checks every member's name, kind and size.

    Args:
        path: the archive.
        limits: numbers of files, bytes and compression that are accepted.
        scratch: folder for the unpacked tar; made if needed.

    Yields:
        Its members.

    Raises:
        DataError: the archive is damaged, unsafe or beyond a limit, or the disk is full.
    """
    opener = compression(path)
    with ExitStack() as stack:
        stream: IO[bytes]
        if opener is None:
            stream = stack.enter_context(path.open("rb"))
        else:
            scratch.mkdir(parents=True, exist_ok=True)
            unpacked = stack.enter_context(tempfile.TemporaryFile(dir=scratch, buffering=0))
            try:
                _unpack(path, opener, unpacked, limits)
            except OSError as error:
                raise_if_full(error, scratch)
                raise
            stream = io.BufferedReader(unpacked)
        yield TarMembers(path, stream, limits)


def compression(path: Path) -> _Opener | None:
    """How to unpack a file, judged by its first bytes; None for a file that is not compressed."""
    with path.open("rb") as stream:
        start = stream.read(8)
    return next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), None)


def _unpack(path: Path, opener: _Opener, target: io.FileIO, limits: Fetch) -> None:
    """Unpacks a compressed tar, never further than the limits allow.

    Raises:
        DataError: it is damaged, or goes beyond them.
    """
    packed = path.stat().st_size
    # Headers and padding are no member's bytes: some blocks a member, and a chunk so that tiny archives pass.
    allowed = min(limits.max_bytes + limits.max_files * 4 * _BLOCK, int(limits.max_ratio * packed)) + _CHUNK
    written = 0
    try:
        with opener(path) as source:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > allowed:
                    raise DataError(
                        f"{path.name} unpacks to more than {allowed:,} bytes (fetch.max_bytes, fetch.max_ratio times "
                        f"its {packed:,} bytes): raise the limit if you trust the archive"
                    )
                _write_all(target, chunk)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged(path.name, "", one_line(error)) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report damaged data as an OSError without a number
            raise damaged(path.name, "", one_line(error)) from error
        raise


def _write_all(target: io.FileIO, chunk: bytes) -> None:
    """An unbuffered file may take a part only; a buffered one would report a full disk when it is closed."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[target.write(rest) :]
