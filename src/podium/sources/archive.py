"""Source `archive`: a zip or tar of class folders, here or at an address. It is unpacked, and then read as a folder.

The kind is judged by the first bytes, not by the name. An archive comes from strangers: unsafe names, links, devices
and bombs are refused, and nothing is kept of an archive that is refused.
"""

import errno
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from podium.config.dataset import ArchiveDataset, Fetch
from podium.core.errors import DataError
from podium.core.files import replacing_folder, sha256_file, sha256_tree, write_text
from podium.core.layout import Layout
from podium.sources.archive_members import Members
from podium.sources.download import get_file
from podium.sources.folder import read_folder
from podium.sources.locations import unpacked_folder
from podium.sources.source import FileSource
from podium.sources.tar_reader import compression, open_tar
from podium.sources.zip_reader import open_zip

_ENDINGS: Final = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip")
_TAR_MAGIC: Final = (257, b"ustar")
_UNFIT_NAME: Final = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def open_archive(layout: Layout, dataset: ArchiveDataset, fetch: Fetch) -> FileSource:
    """Opens an archive of class folders, downloaded where it is an address.

    Args:
        layout: the project's paths.
        dataset: location and digest.
        fetch: limits of downloading and unpacking.

    Returns:
        The source; its name is the file's without its ending.
    """
    return read_archive(get_file(layout, dataset, fetch), dataset.sha256, fetch, unpacked_folder(layout))


def read_archive(path: Path, sha256: str | None, limits: Fetch, unpacked: Path) -> FileSource:
    """Unpacks an archive of class folders, and reads it.

    Args:
        path: a zip or tar file.
        sha256: what its digest must be; None to accept any.
        limits: numbers of files, bytes and compression that are accepted.
        unpacked: where unpacked archives are kept.

    Returns:
        The source; its name is the file's without its ending.
    """
    digest = check_digest(path, sha256)
    return read_folder(unpack(path, digest, limits, unpacked), source_name(path.name), title=path.name, sha256=digest)


def unpack(path: Path, digest: str, limits: Fetch, unpacked: Path) -> Path:
    """The folder an archive is unpacked to, unless it is there already and still as it was.

    Args:
        path: a zip or tar file.
        digest: its sha256; the folder is named after it.
        limits: numbers of files, bytes and compression that are accepted.
        unpacked: where unpacked archives are kept; made if needed.

    Returns:
        The folder, with the archive's files under their names (Unicode NFC).

    Raises:
        DataError: the file is no archive, is damaged or unsafe, goes beyond a limit, holds a name that the disk cannot
            hold, or the disk is full.
    """
    target = unpacked / digest[:16]
    record = unpacked / f"{digest[:16]}.sha256"
    unpacked.mkdir(parents=True, exist_ok=True)
    with FileLock(unpacked / f"{digest[:16]}.lock"):  # experiments that run side by side want the same archive
        if not (target.is_dir() and record.is_file() and record.read_text() == sha256_tree([target], unpacked)):
            with _open_members(path, limits, unpacked) as members, replacing_folder(target) as temporary:
                _write_members(path.name, members, temporary)
            write_text(record, sha256_tree([target], unpacked))
    return target


def _write_members(archive: str, members: Members, folder: Path) -> None:
    """Writes every member of an archive below a folder.

    Raises:
        DataError: a member is damaged, or has a name that the disk or another member does not allow.
    """
    for name in (*members.folders, *members.files):
        path = folder / name
        try:
            if name in members.files:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as stream:
                    members.copy(name, stream)
            else:
                path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise DataError(
                f"{archive}: member {name!r} is a file and a folder at once: pack the archive again with one of them "
                "renamed"
            ) from error
        except OSError as error:
            if error.errno not in _UNFIT_NAME:
                raise
            raise DataError(
                f"{archive}: member {name!r} has a name that this disk cannot hold ({error.strerror}): pack the "
                "archive again with a shorter one"
            ) from error


def check_digest(path: Path, sha256: str | None) -> str:
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
def _open_members(path: Path, limits: Fetch, scratch: Path) -> Iterator[Members]:
    """Opens a zip or tar archive by its first bytes.

    Args:
        path: the file.
        limits: numbers of files, bytes and compression that are accepted.
        scratch: folder for the tar inside a compressed one.

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


def source_name(file_name: str) -> str:
    """`flowers` for `flowers.tar.gz`; Unicode NFC."""
    name = unicodedata.normalize("NFC", file_name)
    ending = next((e for e in _ENDINGS if name.casefold().endswith(e)), "")
    return name[: len(name) - len(ending)] or name
