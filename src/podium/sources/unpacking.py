"""An archive is unpacked once, into a folder named after its digest, and is that folder from then on.

The kind is judged by the first bytes, not by the name. An archive comes from strangers: every member is checked before
it is written, and nothing is kept of an archive that is refused.
"""

import bz2
import errno
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Final, Self

from filelock import FileLock

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.core.files import replacing_folder, sha256_tree, write_text
from podium.core.layout import Layout
from podium.sources.locations import check_digest, unpacked_folder
from podium.sources.names import collision_key, printable, safe_member

_CHUNK: Final = 2**20
_STREAM_BUFFER: Final = 2**16
_TAR_MAGIC: Final = (257, b"ustar")
_Opener = Callable[[Path], io.BufferedIOBase]
_COMPRESSIONS: Final[dict[bytes, _Opener]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_UNFIT_NAME: Final = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
# What the libraries raise when a field makes no sense (a name that is not UTF-8, ...); some raise an OSError without a
# number too.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
_UTF8_FLAG: Final = 0x800
_ENCRYPTED_FLAGS: Final = 0x1 | 0x40
_LOCAL_HEADER: Final = 30  # bytes before the name
_REGULAR: Final = (0, stat.S_IFREG, stat.S_IFDIR)


def unpack(layout: Layout, path: Path, sha256: str | None, limits: Fetch) -> tuple[Path, str]:
    """The folder an archive is unpacked to, unless it is there already and still as it was.

    Args:
        layout: the project's paths.
        path: a zip or tar (.gz, .bz2, .xz) file.
        sha256: what its digest must be; None to accept any.
        limits: numbers of files, bytes and compression that are accepted.

    Returns:
        The folder, with the archive's files under their names (Unicode NFC), and the archive's digest.
    """
    digest = check_digest(path, sha256)
    unpacked = unpacked_folder(layout)
    target, record = unpacked / digest[:16], unpacked / f"{digest[:16]}.sha256"
    unpacked.mkdir(parents=True, exist_ok=True)
    with FileLock(unpacked / f"{digest[:16]}.lock"):  # experiments that run side by side want the same archive
        if not (target.is_dir() and record.is_file() and record.read_text() == sha256_tree([target], unpacked)):
            with replacing_folder(target) as temporary:
                _write_members(path.name, _members(path, limits), temporary, limits)
            write_text(record, sha256_tree([target], unpacked))
    return target, digest


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive under its safe name.

    `packed` is its size in the archive, None where members are not packed one by one; `open` is None for a folder.
    """

    name: str
    size: int = 0
    packed: int | None = None
    open: Callable[[], AbstractContextManager[IO[bytes]]] | None = None


def _write_members(archive: str, members: Iterable[_Member], folder: Path, limits: Fetch) -> None:
    """Writes every member below a folder.

    Raises:
        DataError: the archive is damaged or beyond a limit, or has a name that the disk or another member does not
            allow.
    """
    files: dict[str, str] = {}
    count = size = 0
    name = ""
    try:
        for member in members:
            count, size, name = count + 1, size + member.size, member.name
            _check_limits(archive, member, count, size, limits)
            if member.open is None:
                (folder / name).mkdir(parents=True, exist_ok=True)
            else:
                _check_name(archive, name, files)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with (folder / name).open("xb") as target, member.open() as source:
                    shutil.copyfileobj(source, target)
            name = ""
    except _DAMAGE as error:
        raise _damaged(archive, name, one_line(error)) from error
    except NotImplementedError as error:
        raise DataError(
            f"{archive}: member {name!r} uses a compression that is not supported ({one_line(error)}): "
            "pack the archive again with deflate"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(
            f"{archive}: member {name!r} is a file and a folder at once: pack the archive again with one of them "
            "renamed"
        ) from error
    except OSError as error:
        if error.errno is None:
            raise _damaged(archive, name, one_line(error)) from error
        if error.errno not in _UNFIT_NAME:
            raise
        raise DataError(
            f"{archive}: member {name!r} has a name that this disk cannot hold ({error.strerror}): pack the "
            "archive again with a shorter one"
        ) from error


def _check_limits(archive: str, member: _Member, count: int, size: int, limits: Fetch) -> None:
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


def _check_name(archive: str, name: str, files: dict[str, str]) -> None:
    """Notes a file's name.

    Raises:
        DataError: it is empty, or another file has the same one up to case and Unicode form.
    """
    if not name:
        raise DataError(f"{archive} holds a file without a name: pack the archive again")
    key = collision_key(name)
    if key in files:
        raise DataError(
            f"{archive}: members {files[key]!r} and {name!r} have the same name up to case or Unicode form: "
            "pack the archive again with one of them renamed"
        )
    files[key] = name


def _members(path: Path, limits: Fetch) -> Iterator[_Member]:
    """The members of a zip or tar, told apart by the first bytes.

    Raises:
        DataError: the file is no such archive.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(b"PK"):
        return _zip_members(path)
    for magic, opener in _COMPRESSIONS.items():
        if start.startswith(magic):
            return _tar_members(path, opener, limits)
    if start[_TAR_MAGIC[0] :].startswith(_TAR_MAGIC[1]):
        return _tar_members(path, lambda plain: plain.open("rb"), limits)
    raise DataError(f"{path.name} is neither a zip nor a tar archive (.gz, .bz2, .xz): pack the images as one")


def _damaged(archive: str, member: str, reason: str) -> DataError:
    """The error for an archive that cannot be read to its end; `member` is empty where it is not known."""
    at = f" at member {member!r}" if member else ""
    return DataError(f"{archive} is truncated or damaged{at} ({reason}): get the archive again")


# --- tar -----------------------------------------------------------------------------------------------------------


class _Limited(io.BufferedIOBase):
    """The plain tar inside a file, which is read no further than the limits allow: a tar does not say its size."""

    def __init__(self, path: Path, stream: io.BufferedIOBase, limits: Fetch) -> None:
        packed = path.stat().st_size
        # Headers and padding are no member's bytes: some blocks a member, and a chunk so that tiny archives pass.
        headers = limits.max_files * 4 * tarfile.BLOCKSIZE
        self._allowed = min(limits.max_bytes + headers, int(limits.max_ratio * packed)) + _CHUNK
        self._stream = stream
        self._read = 0
        self._refusal = (
            f"{path.name} unpacks to more than {self._allowed:,} bytes (fetch.max_bytes, fetch.max_ratio times its "
            f"{packed:,} bytes): raise the limit if you trust the archive"
        )

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


def _tar_members(path: Path, opener: _Opener, limits: Fetch) -> Iterator[_Member]:
    """The members of a tar, each to be read before the next is asked for.

    Raises:
        DataError: one is no regular file, its name is unsafe, or its size is none.
    """
    with opener(path) as stream, _Limited(path, stream, limits) as plain:
        with tarfile.open(fileobj=plain, mode="r|", bufsize=_STREAM_BUFFER, tarinfo=_Header) as archive:
            for info in archive:
                name = safe_member(path.name, info.name)
                if info.isdir():
                    yield _Member(name)
                    continue
                if not info.isreg() or info.issparse():
                    raise DataError(
                        f"{path.name}: member {name!r} is a link, a device or a sparse file, not a regular file: "
                        "pack the archive without it"
                    )
                if info.size < 0:  # an older tarfile would walk backwards, for ever (CVE-2025-8194)
                    raise _damaged(path.name, name, "its size is negative")
                yield _Member(name, info.size, open=partial(tarfile.ExFileObject, archive, info))
        while plain.read(_CHUNK):  # a checksum stands at the end of what was packed
            pass


# --- zip -----------------------------------------------------------------------------------------------------------


def _zip_members(path: Path) -> Iterator[_Member]:
    """The members of a zip; the checksum of each is verified when it is read.

    Raises:
        DataError: one is encrypted, a link or a device, has an unsafe name, or overlaps another.
    """
    with zipfile.ZipFile(path) as archive:
        _refuse_overlap(path.name, archive.infolist())
        for info in archive.infolist():
            name = safe_member(path.name, _stored_name(info))
            if info.flag_bits & _ENCRYPTED_FLAGS:
                raise DataError(f"{path.name}: member {name!r} is encrypted: pack the archive again without a password")
            if stat.S_IFMT(info.external_attr >> 16) not in _REGULAR:
                raise DataError(
                    f"{path.name}: member {name!r} is a link or a device, not a regular file: "
                    "pack the archive without it"
                )
            if info.is_dir():
                yield _Member(name)
            else:
                yield _Member(name, info.file_size, info.compress_size, partial(archive.open, info))


def _stored_name(info: zipfile.ZipInfo) -> str:
    """The name as stored; `ZipInfo.filename` ends at a NUL. UTF-8 without its flag, as macOS writes it, is read."""
    if info.flag_bits & _UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeDecodeError:
        return info.orig_filename


def _refuse_overlap(archive: str, entries: Iterable[zipfile.ZipInfo]) -> None:
    """Members that share packed bytes are how a small zip holds petabytes (Fifield, "A better zip bomb", 2019).

    Raises:
        DataError: two members overlap, or one lies before the archive's start.
    """
    ordered = sorted(entries, key=lambda info: info.header_offset)
    if ordered and ordered[0].header_offset < 0:
        raise _damaged(archive, printable(ordered[0].filename), "its place lies before the archive's start")
    for info, following in pairwise(ordered):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > following.header_offset:
            raise DataError(
                f"{archive}: member {printable(following.filename)!r} overlaps another one: "
                "the archive is damaged or a bomb, get it again from a source you trust"
            )
