"""Source `folder`: class folders on disk, with or without the folders of splits. It never leaves its folder.

What the folders mean is in `class_folders`, rules about names are in `names`.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from podium.config.dataset import Fetch, FolderDataset, FolderLayout
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.annotations import REMEDY, annotations_in, refuse_misread
from podium.sources.class_folders import arrange
from podium.sources.locations import leads_out, watched_path
from podium.sources.names import is_unicode, printable, readings, reason_to_skip
from podium.sources.source import FileSource, Listing


@dataclass
class _Walk:
    """What a walk over the disk found: real files by NFC path, folders, and entries that are neither."""

    files: dict[str, Path] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)

    def skip(self, path: str, reason: str) -> None:
        """Notes an entry that is left out, and whether its name is that of an image."""
        image = not reason_to_skip(path)
        self.skipped.append(SkippedFile(path=printable(path), reason=reason, image=image))


def open_folder(layout: Layout, dataset: FolderDataset, fetch: Fetch) -> FileSource:
    """Opens a folder of class folders below data/; see `read_folder`.

    Args:
        layout: the project's paths.
        dataset: location and layout.
        fetch: not used: nothing is downloaded.
    """
    del fetch
    folder = watched_path(layout, dataset.source, dataset.location)
    name = unicodedata.normalize("NFC", folder.name)
    return read_folder(folder, name, title=f"folder {folder.name}", layout=dataset.layout)


def read_folder(
    folder: Path, name: str, *, title: str, sha256: str | None = None, layout: FolderLayout = "auto"
) -> FileSource:
    """Reads class folders.

    Links to files of the same folder and into DVC's cache are followed. Others, and links to folders, are left out with
    a reason: an image behind the latter is found where it really lies, and no loop is possible.

    Args:
        folder: absolute path; it may be a link.
        name: of the source: a folder's as given, so that a link has the same name everywhere.
        title: what messages call it.
        sha256: digest of the archive the folder came from; None for a folder of somebody's.
        layout: what its folders mean.

    Returns:
        The source.

    Raises:
        DataError: the folder is missing, holds a folder whose name is not UTF-8, or breaks a rule of `class_folders`.
    """
    if not folder.exists():
        raise DataError(f"folder {folder} does not exist: put the images there, or correct dataset.location")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder: set dataset.source to `archive`, or correct its location")
    root = folder.resolve()
    found = _Walk()
    waiting = [root]
    while waiting:
        waiting.extend(reversed(_look_into(waiting.pop(), root, found)))
    try:
        arranged = arrange(title, found.files, found.folders, found.skipped, layout)
    except DataError as error:
        if not (form := annotations_in(found.files)):
            raise
        raise DataError(f"{error}; {title} {form}: {REMEDY}") from error
    refuse_misread(title, found.files, arranged.images, folders_are_clear=layout != "auto")
    return FileSource(Listing(name, sha256, arranged.images, arranged.skipped, arranged.notes), found.files)


def _look_into(folder: Path, root: Path, found: _Walk) -> list[Path]:
    """Notes what lies directly in a folder and returns the folders among it, sorted."""
    inside: list[Path] = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        path = unicodedata.normalize("NFC", Path(entry.path).relative_to(root).as_posix())
        if not is_unicode(path):
            said = f"its name is not UTF-8 ({readings(os.fsencode(entry.name))}): rename it"
            if entry.is_dir():
                raise DataError(f"folder {printable(path)!r}: {said}")  # a class, perhaps
            found.skip(path, said)
        elif entry.is_symlink() and (reason := _link_refused(root, Path(entry.path))):
            found.skip(path, reason)
        elif entry.is_dir():
            found.folders.append(path)
            inside.append(Path(entry.path))
        elif not entry.is_file():
            found.skip(path, "not a regular file")
        elif path in found.files:
            found.skip(path, "another file has the same name in a different Unicode form")
        else:
            found.files[path] = Path(entry.path)
    return inside


def _link_refused(root: Path, link: Path) -> str:
    """Why a symbolic link is not followed; empty for one to a file inside `root`, or in DVC's cache."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, up to Python 3.12
        return "a link that leads nowhere"
    if leads_out(root, target):
        return "a link that leaves the folder"
    return "a link to a folder is not followed" if target.is_dir() else ""
