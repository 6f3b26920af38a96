"""An archive is unpacked once, into a folder named after its digest, and is that folder from then on.

An archive comes from strangers: every member is checked before it is written, and nothing is kept of an archive that is
refused.
"""

import errno
import shutil
import unicodedata
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from filelock import FileLock

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.core.files import replacing_folder, sha256_tree, write_text
from podium.core.layout import Layout
from podium.sources.locations import check_digest, unpacked_folder
from podium.sources.members import DAMAGE, Member, check_limits, damaged, read_members
from podium.sources.names import collision_key

_UNFIT_NAME: Final = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_SEVEN_ZIP: Final = b"7z\xbc\xaf\x27\x1c"


def unpack(
    layout: Layout, path: Path, sha256: str | None, limits: Fetch, encoding: str | None = None
) -> tuple[Path, str]:
    """The folder an archive is unpacked to, unless it is there already and still as it was.

    Args:
        layout: the project's paths.
        path: a zip, 7z or tar (.gz, .bz2, .xz, .zst) file.
        sha256: what its digest must be; None to accept any.
        limits: numbers of files, bytes and compression that are accepted.
        encoding: of the names that are not UTF-8; None refuses these.

    Returns:
        The folder, with the archive's files under their names (Unicode NFC), and the archive's digest.
    """
    digest = check_digest(path, sha256)
    unpacked = unpacked_folder(layout)
    key = f"{digest[:16]}-{encoding}" if encoding else digest[:16]
    target, record = unpacked / key, unpacked / f"{key}.sha256"
    unpacked.mkdir(parents=True, exist_ok=True)
    with FileLock(unpacked / f"{key}.lock"):  # experiments that run side by side want the same archive
        if not (target.is_dir() and record.is_file() and record.read_text() == sha256_tree([target], unpacked)):
            members = _members(path, limits, encoding, unpacked)
            with replacing_folder(target) as temporary, closing(members):
                _write_members(path.name, members, temporary, limits)
            write_text(record, sha256_tree([target], unpacked))
    return target, digest


def _members(path: Path, limits: Fetch, encoding: str | None, scratch: Path) -> Generator[Member, None, None]:
    """The members of an archive, by its kind."""
    with path.open("rb") as stream:
        if stream.read(len(_SEVEN_ZIP)) == _SEVEN_ZIP:
            from podium.sources.seven_zip import read_seven_zip

            return read_seven_zip(path, limits, scratch)
    return read_members(path, limits, encoding)


def _write_members(archive: str, members: Iterable[Member], folder: Path, limits: Fetch) -> None:
    """Writes every member below a folder.

    Raises:
        DataError: the archive is damaged or beyond a limit, or has a name that the disk or another member does not
            allow.
    """
    taken: dict[str, str] = {}
    ignores_case = _ignores_case(folder)
    count = size = 0
    name = ""
    try:
        for member in members:
            count, size, name = count + 1, size + member.size, member.name
            check_limits(archive, member, count, size, limits)
            if member.open is None:
                (folder / name).mkdir(parents=True, exist_ok=True)
            else:
                _check_name(archive, name, taken, ignores_case)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with (folder / name).open("xb") as target, member.open() as source:
                    shutil.copyfileobj(source, target)
            name = ""
    except DAMAGE as error:
        raise damaged(archive, name, one_line(error)) from error
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
            raise damaged(archive, name, one_line(error)) from error
        if error.errno not in _UNFIT_NAME:
            raise
        raise DataError(
            f"{archive}: member {name!r} has a name that this disk cannot hold ({error.strerror}): pack the "
            "archive again with a shorter one"
        ) from error


def _ignores_case(folder: Path) -> bool:
    """Whether a disk takes `a` and `A` for one name."""
    probe = folder / ".podium-case"
    probe.touch()
    found = probe.with_name(".PODIUM-CASE").exists()
    probe.unlink()
    return found


def _check_name(archive: str, name: str, taken: dict[str, str], ignores_case: bool) -> None:
    """Notes a file's name, and those of the folders it lies in where the disk ignores case.

    Raises:
        DataError: it is empty, or the disk takes it for another one of the archive.
    """
    if not name:
        raise DataError(f"{archive} holds a file without a name: pack the archive again")
    parts = name.split("/")
    for end in range(1, len(parts) + 1) if ignores_case else (len(parts),):
        part = "/".join(parts[:end])
        key = collision_key(part) if ignores_case else unicodedata.normalize("NFC", part)
        if key in taken and (end == len(parts) or taken[key] != part):
            raise DataError(
                f"{archive}: members {taken[key]!r} and {part!r} have the same name up to Unicode form, or up to case "
                "on a disk that ignores it: pack the archive again with one of them renamed"
            )
        taken[key] = part
