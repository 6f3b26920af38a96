"""Members of a zip archive, all of them checked before one is read: an unsafe archive is refused as a whole."""

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.sources.archive_members import Limits, Members, damaged
from podium.sources.names import printable, safe_member

_UTF8_FLAG = 0x800
_ENCRYPTED_FLAGS = 0x1 | 0x40
_LOCAL_HEADER = 30  # bytes before the name
# What zipfile lets through from the libraries below it when a field makes no sense (a name that is not UTF-8, ...).
_DAMAGE = (zipfile.BadZipFile, EOFError, ValueError, OverflowError, struct.error, zlib.error, lzma.LZMAError)
_REGULAR = (0, stat.S_IFREG, stat.S_IFDIR)


class ZipMembers(Members):
    """An opened zip archive."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, limits: Fetch) -> None:
        super().__init__()
        self._path = path
        self._zip = archive
        self._infos: dict[str, zipfile.ZipInfo] = {}
        check = Limits(path.name, limits)
        entries = archive.infolist()
        check.count(len(entries))
        for info in entries:
            name = safe_member(path.name, _stored_name(info))
            _refuse_unsafe(path.name, name, info)
            if info.is_dir():
                self.folders.append(name)
                continue
            check.member(name, info.file_size, info.compress_size)
            self.add_file(path.name, name, info.file_size)
            self._infos[name] = info
        _refuse_overlap(path.name, entries)

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Writes the bytes of one member; its checksum is verified.

        Raises:
            DataError: they are damaged, or packed in a way that is not supported.
        """
        try:
            with self._zip.open(self._infos[name]) as packed:
                shutil.copyfileobj(packed, target)
        except _DAMAGE as error:
            raise damaged(self._path.name, name, one_line(error)) from error
        except NotImplementedError as error:
            raise DataError(
                f"{self._path.name}: member {name!r} uses a compression that is not supported ({one_line(error)}): "
                "pack the archive again with deflate"
            ) from error
        except OSError as error:
            if error.errno is None:  # bz2 reports damaged data as an OSError without a number
                raise damaged(self._path.name, name, one_line(error)) from error
            raise


@contextmanager
def open_zip(path: Path, limits: Fetch) -> Iterator[ZipMembers]:
    """Opens a zip archive and checks every member's name, kind and size.

    Args:
        path: the archive.
        limits: numbers of files, bytes and compression that are accepted.

    Yields:
        Its members.

    Raises:
        DataError: the archive is damaged, unsafe, encrypted or beyond a limit; the member is named.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, NotImplementedError) as error:
        raise damaged(path.name, "", one_line(error)) from error
    with archive:
        yield ZipMembers(path, archive, limits)


def _stored_name(info: zipfile.ZipInfo) -> str:
    """The name as stored; `ZipInfo.filename` ends at a NUL. UTF-8 without its flag, as macOS writes it, is read."""
    if info.flag_bits & _UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeDecodeError:
        return info.orig_filename


def _refuse_unsafe(archive: str, name: str, info: zipfile.ZipInfo) -> None:
    """Refuses what cannot be read as a regular file.

    Raises:
        DataError: the member is encrypted, a link or a device.
    """
    if info.flag_bits & _ENCRYPTED_FLAGS:
        raise DataError(f"{archive}: member {name!r} is encrypted: pack the archive again without a password")
    if stat.S_IFMT(info.external_attr >> 16) not in _REGULAR:
        raise DataError(
            f"{archive}: member {name!r} is a link or a device, not a regular file: pack the archive without it"
        )


def _refuse_overlap(archive: str, entries: list[zipfile.ZipInfo]) -> None:
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
