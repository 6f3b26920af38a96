"""The members of an archive: zip, tar (plain, .gz, .bz2, .xz, .zst). Those of a 7z are in `seven_zip`.

The kind is judged by the first bytes, not by the name. An archive comes from strangers: the name and the kind of every
member are checked before it is handed on, and a name that is not UTF-8 is never guessed.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Final, Self

from backports.zstd import ZstdError, ZstdFile

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.data.file_kinds import recognise
from podium.sources.names import foreign_name, printable, safe_member

_CHUNK: Final = 2**20
_STREAM_BUFFER: Final = 2**16
_TAR_MAGIC: Final = (257, b"ustar")
_Opener = Callable[[Path], io.BufferedIOBase]


_COMPRESSIONS: Final[dict[bytes, _Opener]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": ZstdFile,  # refuses a window beyond 128 MiB
}
DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    ZstdError,
)
"""What the libraries raise when a field makes no sense (a name that is not UTF-8, ...); some raise an OSError without a
number too."""
_UTF8_FLAG: Final = 0x800
_ENCRYPTED_FLAGS: Final = 0x1 | 0x40
_LOCAL_HEADER: Final = 30  # bytes before the name
_REGULAR: Final = (0, stat.S_IFREG, stat.S_IFDIR)
_MS_DOS: Final = 0  # where a zip was made, by its own word


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive under its safe name.

    `packed` is its size in the archive, None where members are not packed one by one; `open` is None for a folder.
    """

    name: str
    size: int = 0
    packed: int | None = None
    open: Callable[[], AbstractContextManager[IO[bytes]]] | None = None


def read_members(path: Path, limits: Fetch, encoding: str | None) -> Generator[Member, None, None]:
    """The members of an archive, each to be read before the next is asked for.

    Args:
        path: of the archive.
        limits: numbers of files, bytes and compression that are accepted.
        encoding: of names that are not UTF-8; None refuses these.

    Raises:
        DataError: the file is no such archive, a member is a link, a device or encrypted, or its name is unsafe.
    """
    with path.open("rb") as stream:
        start = stream.read(2**12)
    if start.startswith(b"PK"):
        return _zip_members(path, encoding)
    for magic, opener in _COMPRESSIONS.items():
        if start.startswith(magic):
            return _tar_members(path, opener, limits, encoding)
    if start[_TAR_MAGIC[0] :].startswith(_TAR_MAGIC[1]):
        return _tar_members(path, lambda plain: plain.open("rb"), limits, encoding)
    kind = recognise(start)
    raise DataError(
        f"{path.name} is {kind}"
        if kind
        else f"{path.name} is neither a zip nor a tar archive (.gz, .bz2, .xz, .zst) nor a 7z: pack the images as one"
    )


def check_limits(archive: str, member: Member, count: int, size: int, limits: Fetch) -> None:
    """Refuses the member that brings an archive beyond a limit; `count` and `size` are those of all up to it.

    Raises:
        DataError: it does.
    """
    if count > limits.max_files:
        said = f" holds more than {limits.max_files:,} members (fetch.max_files)"
    elif size > limits.max_bytes:
        said = f": member {member.name!r} brings the unpacked size above {limits.max_bytes:,} bytes (fetch.max_bytes)"
    elif member.packed is not None and member.size > limits.max_ratio * max(member.packed, 1):
        said = (
            f": member {member.name!r} unpacks to {member.size / max(member.packed, 1):,.0f} times its size, "
            f"more than {limits.max_ratio:g} (fetch.max_ratio)"
        )
    else:
        return
    raise DataError(f"{archive}{said}: raise the limit if you trust the archive")


def damaged(archive: str, member: str, reason: str) -> DataError:
    """The error for an archive that cannot be read to its end; `member` is empty where it is not known."""
    at = f" at member {member!r}" if member else ""
    return DataError(f"{archive} is truncated or damaged{at} ({reason}): get the archive again")


# --- tar -----------------------------------------------------------------------------------------------------------


def most_bytes(path: Path, limits: Fetch, headers: int = 0) -> tuple[int, str]:
    """How many bytes an archive that is packed as a whole may unpack to, and what is said of one with more."""
    packed = path.stat().st_size
    allowed = min(limits.max_bytes + headers, int(limits.max_ratio * packed)) + _CHUNK
    said = f"(fetch.max_bytes, fetch.max_ratio times its {packed:,} bytes): raise the limit if you trust the archive"
    return allowed, f"{path.name} unpacks to more than {allowed:,} bytes {said}"


def _tar_name(archive: str, name: str, encoding: str | None) -> str:
    """A member's name; bytes that are not UTF-8, which tarfile keeps as surrogates, are read as `encoding` says."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return foreign_name(archive, name.encode("utf-8", "surrogateescape"), encoding)
    return name


class _Limited(io.BufferedIOBase):
    """The plain tar inside a file, which is read no further than the limits allow: a tar does not say its size."""

    def __init__(self, path: Path, stream: io.BufferedIOBase, limits: Fetch) -> None:
        # Headers and padding are no member's bytes: some blocks a member, and a chunk so that tiny archives pass.
        self._allowed, self._refusal = most_bytes(path, limits, limits.max_files * 4 * tarfile.BLOCKSIZE)
        self._stream = stream
        self._read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads on.

        Raises:
            DataError: the limits are reached.
        """
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > self._allowed:
            raise DataError(self._refusal)
        return data


class _Header(tarfile.TarInfo):
    """A header that is read with suspicion: tarfile takes a broken one for the end, and some into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Reads a block of an archive as a header.

        Raises:
            ReadError: it is none, nor the end marker, or what follows it is too large.
        """
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(f"{one_line(error)} where a member or the end marker has to be") from error
        if not header.isreg() and header.size > _CHUNK:
            raise tarfile.ReadError(f"a header claims {header.size:,} bytes")
        return header


def _tar_members(path: Path, opener: _Opener, limits: Fetch, encoding: str | None) -> Generator[Member, None, None]:
    """The members of a tar, each to be read before the next is asked for.

    Raises:
        DataError: one is no regular file, its name is unsafe, or its size is none.
    """
    with opener(path) as stream, _Limited(path, stream, limits) as plain:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=_STREAM_BUFFER, tarinfo=_Header) as archive:
            for info in archive:
                name = safe_member(path.name, _tar_name(path.name, info.name, encoding))
                if info.isdir():
                    yield Member(name)
                    continue
                if not info.isreg() or info.issparse():
                    raise DataError(
                        f"{path.name}: member {name!r} is a link, a device or a sparse file, not a regular file: "
                        "pack the archive without it"
                    )
                if info.size < 0:  # an older tarfile would walk backwards, for ever (CVE-2025-8194)
                    raise damaged(path.name, name, "its size is negative")
                yield Member(name, info.size, open=partial(tarfile.ExFileObject, archive, info))
        while plain.read(_CHUNK):  # a checksum stands at the end of what was packed
            pass


# --- zip -----------------------------------------------------------------------------------------------------------


def _zip_members(path: Path, encoding: str | None) -> Generator[Member, None, None]:
    """The members of a zip; the checksum of each is verified when it is read.

    Raises:
        DataError: one is encrypted, a link or a device, has an unsafe name, or overlaps another.
    """
    with zipfile.ZipFile(path) as archive:
        _refuse_overlap(path.name, archive.infolist())
        names = [_stored_name(path.name, info, encoding) for info in archive.infolist()]
        foreign = not any("/" in name for name in names)  # no slash anywhere: made on Windows by an older program
        for info, stored in zip(archive.infolist(), names, strict=True):
            windows = foreign or info.create_system == _MS_DOS
            name = safe_member(path.name, stored.replace("\\", "/") if windows else stored)
            if info.flag_bits & _ENCRYPTED_FLAGS:
                raise DataError(f"{path.name}: member {name!r} is encrypted: pack the archive again without a password")
            if stat.S_IFMT(info.external_attr >> 16) not in _REGULAR:
                raise DataError(
                    f"{path.name}: member {name!r} is a link or a device, not a regular file: "
                    "pack the archive without it"
                )
            if info.is_dir() or (windows and stored.endswith("\\")):
                yield Member(name)
            else:
                yield Member(name, info.file_size, info.compress_size, partial(archive.open, info))


def _stored_name(archive: str, info: zipfile.ZipInfo, encoding: str | None) -> str:
    """The name as stored; `ZipInfo.filename` ends at a NUL. UTF-8 without its flag, as macOS writes it, is read."""
    if info.flag_bits & _UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return foreign_name(archive, raw, encoding)


def _refuse_overlap(archive: str, entries: Iterable[zipfile.ZipInfo]) -> None:
    """Members that share packed bytes are how a small zip holds petabytes (Fifield, "A better zip bomb", 2019).

    Raises:
        DataError: two members overlap, or one lies before the archive's start.
    """
    ordered = sorted(entries, key=lambda info: info.header_offset)
    if ordered and ordered[0].header_offset < 0:
        raise damaged(archive, printable(ordered[0].filename), "its place lies before the archive's start")
    for info, following in pairwise(ordered):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > following.header_offset:
            raise DataError(
                f"{archive}: member {printable(following.filename)!r} overlaps another one: "
                "the archive is damaged or a bomb, get it again from a source you trust"
            )
