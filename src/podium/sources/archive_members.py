"""What the readers of zip and tar archives share: a safe list of members, and limits on what an archive may hold."""

from abc import ABC, abstractmethod
from typing import IO

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.names import collision_key


class Members(ABC):
    """The members of an opened archive under safe names: folders, and regular files with their sizes in bytes."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.folders: list[str] = []
        self._seen: dict[str, str] = {}

    def add_file(self, archive: str, name: str, size: int) -> None:
        """Notes a file.

        Raises:
            DataError: its name is empty, or another file has the same one up to case and Unicode form.
        """
        if not name:
            raise DataError(f"{archive} holds a file without a name: pack the archive again")
        twin = self._seen.setdefault(collision_key(name), name)
        if len(self._seen) == len(self.files):
            raise DataError(
                f"{archive}: members {twin!r} and {name!r} have the same name up to case or Unicode form: "
                "pack the archive again with one of them renamed"
            )
        self.files[name] = size

    @abstractmethod
    def copy(self, name: str, target: IO[bytes]) -> None:
        """Writes the bytes of one of `files`.

        Raises:
            DataError: they are damaged.
        """


class Limits:
    """Refuses an archive that would unpack to more than `fetch` allows, before it is unpacked."""

    def __init__(self, archive: str, limits: Fetch) -> None:
        self._archive = archive
        self._limits = limits
        self._bytes = 0

    def count(self, files: int) -> None:
        """Refuses an archive of too many members.

        Raises:
            DataError: there are more than `fetch.max_files`.
        """
        if files > self._limits.max_files:
            raise DataError(
                f"{self._archive} holds more than {self._limits.max_files:,} members (fetch.max_files): "
                "raise the limit if you trust the archive"
            )

    def member(self, name: str, unpacked: int, packed: int | None = None) -> None:
        """Counts one member.

        Args:
            name: of the member.
            unpacked: its size in bytes once unpacked.
            packed: its size in the archive; None where members are not packed one by one.

        Raises:
            DataError: the total is above `fetch.max_bytes`, or unpacked / packed is above `fetch.max_ratio`.
        """
        self._bytes += unpacked
        if self._bytes > self._limits.max_bytes:
            raise DataError(
                f"{self._archive}: member {name!r} brings the unpacked size above {self._limits.max_bytes:,} bytes "
                "(fetch.max_bytes): raise the limit if you trust the archive"
            )
        if packed is not None and unpacked > self._limits.max_ratio * max(packed, 1):
            raise DataError(
                f"{self._archive}: member {name!r} unpacks to {unpacked / max(packed, 1):,.0f} times its size, "
                f"more than {self._limits.max_ratio:g} (fetch.max_ratio): raise the limit if you trust the archive"
            )


def damaged(archive: str, member: str, reason: str) -> DataError:
    """The error for an archive that cannot be read to its end.

    Args:
        archive: its name.
        member: where it broke; empty where that is not known.
        reason: what the library said, one line.
    """
    at = f" at member {member!r}" if member else ""
    return DataError(f"{archive} is truncated or damaged{at} ({reason}): get the archive again")
