"""The members of a 7z. It is packed as a whole, so all of it is unpacked to a scratch folder before the first comes."""

import lzma
import struct
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Final

import py7zr
from py7zr.exceptions import ArchiveError, DecompressionBombError, PasswordRequired
from py7zr.io import Py7zIO, WriterFactory

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.sources.members import Member, check_limits, damaged, most_bytes
from podium.sources.names import safe_member

# What py7zr was seen to raise on damaged files.
_DAMAGE: Final = (
    ArchiveError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    struct.error,
    lzma.LZMAError,
)


def read_seven_zip(path: Path, limits: Fetch, scratch: Path) -> Generator[Member, None, None]:
    """The members of a 7z; the checksum of each is verified when it is unpacked.

    Args:
        path: of the archive.
        limits: numbers of files, bytes and compression that are accepted.
        scratch: a folder with room for all of it for a while.

    Yields:
        Members under their safe names.

    Raises:
        DataError: it is damaged, encrypted or beyond a limit, or a member is a link or a device or has an unsafe name.
    """
    allowed, refusal = most_bytes(path, limits)
    with path.open("rb") as stream, TemporaryDirectory(dir=scratch, prefix=".podium-tmp-") as folder:
        try:
            # A file that is open keeps py7zr from reading with threads.
            with py7zr.SevenZipFile(stream, max_extract_size=allowed) as archive:
                members = _checked(path.name, archive.list(), limits)
                if sum(member.size for _, member in members) > allowed:
                    raise DataError(refusal)
                unpacked = _NumberedFiles(Path(folder))
                with closing(unpacked):
                    archive.extractall(path=folder, factory=unpacked)
        except PasswordRequired as error:
            raise DataError(f"{path.name} is encrypted: pack the archive again without a password") from error
        except DecompressionBombError as error:
            raise DataError(refusal) from error
        except _DAMAGE as error:
            raise damaged(path.name, "", one_line(error)) from error
        for place, member in members:
            file = unpacked.files.get((Path(folder) / place).as_posix())
            yield member if file is None else Member(member.name, member.size, open=_opener(file))


def _opener(file: Path) -> Callable[[], IO[bytes]]:
    return lambda: file.open("rb")


def _checked(archive: str, infos: list[py7zr.FileInfo], limits: Fetch) -> list[tuple[PurePosixPath, Member]]:
    """The members, files and folders, with the place py7zr would unpack each to.

    Raises:
        DataError: one is of another kind, is too large, or has an unsafe name or that of another.
    """
    found: dict[PurePosixPath, Member] = {}
    size = 0
    for count, info in enumerate(infos, 1):
        place = PurePosixPath(info.filename)
        member = Member(safe_member(archive, info.filename), 0 if info.is_directory else info.uncompressed)
        size += member.size
        check_limits(archive, member, count, size, limits)
        if not (info.is_file or info.is_directory):
            raise DataError(
                f"{archive}: member {member.name!r} is a link or a device, not a regular file: pack the archive "
                "without it"
            )
        if place in found:
            raise DataError(f"{archive} holds two members {member.name!r}: pack the archive again with one renamed")
        found[place] = member
    return list(found.items())


class _NumberedFiles(WriterFactory):  # type: ignore[misc]
    """Where py7zr writes: files by number, as the names of members are not to be trusted; `files` by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams: list[IO[bytes]] = []
        self.files: dict[str, Path] = {}

    def create(self, filename: str) -> Py7zIO:
        """The file of a member."""
        self.files[filename] = self._folder / str(len(self.files))
        self._streams.append(self.files[filename].open("xb"))
        return _File(self._streams[-1])

    def close(self) -> None:
        """Closes what py7zr left open when it gave up."""
        for stream in self._streams:
            stream.close()


class _File(Py7zIO):  # type: ignore[misc]
    """A file as py7zr writes to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._size = 0

    def write(self, s: bytes | bytearray) -> int:
        """Appends bytes."""
        self._size += len(s)
        return self._stream.write(s)

    def read(self, size: int | None = None) -> bytes:
        """Nothing: it is only written to."""
        del size
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Nothing: it is written from start to end."""
        del whence
        return offset

    def flush(self) -> None:
        """Hands on what was written."""
        self._stream.flush()

    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def close(self) -> None:
        """Called when the member is complete."""
        self._stream.close()
