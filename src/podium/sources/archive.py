"""Sources `archive` and `sample`: a zip, 7z or tar of class folders, here or at an address; and the embedded archive.

Both are unpacked, once, into a folder named after the digest. An archive is then read as a folder; the sample is
`sample/<class>/<number>.jpg` with the known truth in `sample/truth.csv`. An archive comes from strangers: every member
is checked before it is written, and nothing is kept of an archive that is refused.
"""

import csv
import errno
import shutil
import unicodedata
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from filelock import FileLock

from podium.config.dataset import ArchiveDataset, Fetch, SampleDataset
from podium.core.errors import DataError, one_line
from podium.core.files import replacing_folder, sha256_tree, write_text
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.download import get_file
from podium.sources.folder import read_folder
from podium.sources.locations import check_digest, unpacked_folder, watched_path
from podium.sources.members import DAMAGE, Member, check_limits, damaged, read_members
from podium.sources.names import collision_key, source_name
from podium.sources.source import FileSource, Listing, SourceImage

_TRUTH: Final = "sample/truth.csv"
_PREFIX: Final = "sample/"
_TYPES: Final[dict[str, type[str] | type[float] | type[int]]] = {
    **dict.fromkeys(("x0", "y0", "x1", "y1", "occlusion", "clutter"), float),
    "objects": int,
    **dict.fromkeys(("view", "other_label", "planted"), str),
}
"""Columns of the truth beside `path label group`: object box in pixels, occlusion and clutter in [0, 1], ..."""
_UNFIT_NAME: Final = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_SEVEN_ZIP: Final = b"7z\xbc\xaf\x27\x1c"


def open_archive(layout: Layout, dataset: ArchiveDataset, fetch: Fetch) -> FileSource:
    """Opens an archive of class folders, downloaded where it is an address.

    Args:
        layout: the project's paths.
        dataset: location, digest, layout, encoding of names.
        fetch: limits of downloading and unpacking.

    Returns:
        The source; its name is the file's without its ending.
    """
    path = get_file(layout, dataset, fetch)
    folder, digest = unpack(layout, path, dataset.sha256, fetch, dataset.encoding)
    return read_folder(folder, source_name(path.name), title=path.name, sha256=digest, layout=dataset.layout)


def open_sample(layout: Layout, dataset: SampleDataset, fetch: Fetch) -> FileSource:
    """Opens the sample below data/.

    Args:
        layout: the project's paths.
        dataset: location and digest.
        fetch: limits of unpacking.

    Returns:
        The source; paths are relative to `sample/`, and the truth's columns are extras of each image.

    Raises:
        DataError: the archive is missing, damaged or unsafe, or its images and its truth do not agree.
    """
    path = watched_path(layout, dataset.source, dataset.location)
    folder, digest = unpack(layout, path, dataset.sha256, fetch)
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    if _TRUTH not in found:
        raise DataError(f"{path.name} holds no {_TRUTH}: use dataset.source `archive` for an archive of class folders")
    images = _read_truth(path.name, found.pop(_TRUTH))
    known = {_PREFIX + image.path for image in images}
    missing = sorted(known - set(found))
    if missing:
        raise DataError(f"{path.name}: {_TRUTH} lists {missing[0]!r}, but the archive lacks it: get it again")
    others = [name.removeprefix(_PREFIX) for name in sorted(set(found) - known)]
    skipped = tuple(SkippedFile(path=name, reason="not in truth.csv", image=True) for name in others)
    files = {image.path: found[_PREFIX + image.path] for image in images}
    return FileSource(Listing(source_name(path.name), digest, images, skipped), files)


def _read_truth(archive: str, table: Path) -> tuple[SourceImage, ...]:
    """The images that the truth lists, sorted by path; the columns of `_TYPES` are their extras.

    Raises:
        DataError: it is damaged or empty.
    """
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            images = [
                SourceImage(
                    path=row["path"],
                    label=row["label"],
                    group=row["group"],
                    extras={name: convert(row[name]) for name, convert in _TYPES.items()},
                )
                for row in csv.DictReader(stream, strict=True)
            ]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{archive}: {_TRUTH} is damaged ({error!r}): get the archive again") from error
    if not images:
        raise DataError(f"{archive}: {_TRUTH} lists no images: get the archive again")
    return tuple(sorted(images, key=lambda image: image.path))


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
