"""Source `archive`: a zip or tar file, here or at an address, with class folders inside. Members are read in place.

The kind is judged by the first bytes, not by the name. What is refused stands in `names`, `members`, `zips`, `tars`.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.core.files import sha256_file
from podium.sources.classfolders import arrange
from podium.sources.listing import Listing
from podium.sources.members import Members
from podium.sources.tars import compression, open_tar
from podium.sources.zips import open_zip

_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip")
_TAR_MAGIC = (257, b"ustar")


class ArchiveSource:
    """An opened archive with class folders, or with whatever else made its listing."""

    def __init__(self, listing: Listing, members: Members, prefix: str = "") -> None:
        self.listing = listing
        self._members = members
        self._prefix = prefix

    def read(self, path: str) -> bytes:
        """The bytes of one image."""
        return self._members.read(self._prefix + path)


@contextmanager
def open_archive(path: Path, sha256: str | None, limits: Fetch, scratch: Path) -> Iterator[ArchiveSource]:
    """Opens an archive of class folders.

    Args:
        path: a zip or tar file.
        sha256: what its digest must be; None to accept any.
        limits: numbers of files, bytes and compression that are accepted.
        scratch: folder for an unpacked tar.

    Yields:
        The source; its name is the file's without its ending.

    Raises:
        DataError: the file is missing, has another digest, is damaged or unsafe, or breaks a rule of
            `classfolders.arrange`.
    """
    digest = checked_digest(path, sha256)
    with open_members(path, limits, scratch) as members:
        arranged = arrange(path.name, members.files, members.folders)
        yield ArchiveSource(Listing(name_of(path.name), digest, arranged.images, arranged.skipped), members)


def checked_digest(path: Path, sha256: str | None) -> str:
    """The sha256 of a local archive.

    Args:
        path: the file.
        sha256: what it must be; None to accept any.

    Returns:
        64 hex digits.

    Raises:
        DataError: the file is missing or a folder, or its digest is another one.
    """
    if not path.exists():
        raise DataError(
            f"archive {path} does not exist: put it there (`dvc pull data.dvc` brings what belongs into data/), "
            "or correct dataset.location"
        )
    if path.is_dir():
        raise DataError(f"{path} is a folder, not an archive: set dataset.source to `folder`, or correct its location")
    digest = sha256_file(path)
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"{path.name} has sha256 {digest}, but dataset.sha256 asks for {sha256}: "
            "get the right file, or correct the key if you trust this one"
        )
    return digest


@contextmanager
def open_members(path: Path, limits: Fetch, scratch: Path) -> Iterator[Members]:
    """Opens a zip or tar archive by its first bytes.

    Args:
        path: the file.
        limits: numbers of files, bytes and compression that are accepted.
        scratch: folder for an unpacked tar.

    Yields:
        Its members, all of them safe.

    Raises:
        DataError: the file is no such archive, is damaged, or is unsafe.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(b"PK"):
        with open_zip(path, limits) as zip_members:
            yield zip_members
    elif compression(path) is not None or start[_TAR_MAGIC[0] :].startswith(_TAR_MAGIC[1]):
        with open_tar(path, limits, scratch) as tar_members:
            yield tar_members
    else:
        raise DataError(f"{path.name} is neither a zip nor a tar archive (.gz, .bz2, .xz): pack the images as one")


def name_of(file_name: str) -> str:
    """`flowers` for `flowers.tar.gz`; Unicode NFC."""
    name = unicodedata.normalize("NFC", file_name)
    ending = next((e for e in _ENDINGS if name.casefold().endswith(e)), "")
    return name[: len(name) - len(ending)] or name
