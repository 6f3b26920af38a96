"""Source `folder`: class folders on disk, with or without the folders of splits. It never leaves its folder.

What the folders mean is in `class_folders`, rules about names are in `names`. Folders that are no classes (beside boxes
of Pascal VOC, COCO and YOLO, or in a hierarchy of classes) would become other classes without a word, so they are
refused by what they look like. Names decide, and the first bytes of a few JSON files.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from podium.config.dataset import Fetch, FolderDataset, FolderLayout
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.data.file_kinds import recognise
from podium.records.fetch import SkippedFile
from podium.sources.class_folders import arrange
from podium.sources.locations import leads_out, watched_path
from podium.sources.names import (
    IMAGE_SUFFIXES,
    folder_name,
    is_unicode,
    printable,
    readings,
    reason_to_skip,
    split_word,
)
from podium.sources.source import FileSource, Listing, SourceImage

_IMAGE_FOLDERS: Final = frozenset(("jpegimages", "images", "image", "imgs", "img", "photos", "pictures", "data"))
_MASKS: Final = frozenset(("segmentationclass", "segmentationobject", "masks", "labels", "annotations"))
_MOST_JSON: Final = 20  # files whose first bytes are looked at
_START: Final = 2**12
REMEDY: Final = "write a table with a row a box (dataset.source `csv`, columns.box)"
"""What to do with boxes."""
_SHOWN: Final = 2


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
    notes = (*arranged.notes, *_told_apart_by_case(arranged.images))
    return FileSource(Listing(name, sha256, arranged.images, arranged.skipped, notes), found.files)


def _told_apart_by_case(images: Iterable[SourceImage]) -> Iterator[str]:
    """A note for each class whose name differs from that of another in case only."""
    seen: dict[str, str] = {}
    for label in sorted({image.label for image in images}):
        if (other := seen.setdefault(label.casefold(), label)) != label:
            yield (
                f"{other!r} and {label!r} are two classes, though they differ in case only: if they are one, say "
                f"dataset.labels: {{{label}: [{other}, {label}]}}"
            )


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


def refuse_misread(
    title: str, files: Mapping[str, Path], images: Iterable[SourceImage], folders_are_clear: bool
) -> None:
    """Refuses class folders that are none.

    Args:
        title: what messages call the source.
        files: all of its files by path.
        images: as its folders were understood.
        folders_are_clear: whether a person said what they mean.

    Raises:
        DataError: the folders hold the images of an annotated dataset, or a hierarchy of classes.
    """
    chosen = list(images)
    labels = {image.label.casefold() for image in chosen}
    if folders_are_clear:
        return
    if labels & _IMAGE_FOLDERS and labels <= _IMAGE_FOLDERS | _MASKS and (found := annotations_in(files)):
        raise DataError(f"{title} {found}, so its folders are no classes: {REMEDY}")
    _refuse_hierarchy(title, chosen)


def annotations_in(files: Mapping[str, Path]) -> str:
    """What a source looks like by the files beside its images; empty where it looks like nothing but images."""
    stems = {_stem(path) for path in files if _suffix(path) in IMAGE_SUFFIXES}
    beside: dict[str, list[str]] = defaultdict(list)
    for path in files:
        beside[_suffix(path)].append(path)
    for path in sorted(beside["json"])[:_MOST_JSON]:
        with files[path].open("rb") as stream:
            kind = recognise(stream.read(_START))
        if kind and "COCO" in kind.name:
            return f"looks like COCO ({path!r} holds boxes)"
    for suffix, form in (("xml", "Pascal VOC"), ("txt", "YOLO")):
        same = sorted(path for path in beside[suffix] if _stem(path) in stems)
        if same and len(same) >= len(stems) / 2:
            return f"looks like {form} ({same[0]!r} beside an image of that name)"
    return ""


def _refuse_hierarchy(title: str, images: list[SourceImage]) -> None:
    """Refuses two levels of classes, of which the upper would be taken.

    Raises:
        DataError: every class holds several folders and no image itself; folders with numbers in their names (of
            patients, days, videos) are no classes.
    """
    inside: dict[str, set[str]] = defaultdict(set)
    for image in images:
        below_class = f"/{image.path}".partition(f"/{image.label}/")[2]
        inside[image.label].add(below_class.partition("/")[0] if "/" in below_class else "")
    below = set().union(*inside.values())
    if len(inside) < 2 or "" in below or any(len(names) < 2 for names in inside.values()):
        return
    if all(map(split_word, below)):  # daisy/train/1.jpg
        return
    if sum(any(character.isdigit() for character in name) for name in below) * 2 > len(below):
        return
    label = min(inside)
    told = ", ".join(map(repr, sorted(inside[label])[:_SHOWN]))
    given = any(image.split for image in images)
    upper = "{train: train, test: test}" if given else "classes"
    lower = "move its folders up" if given else "any/classes"
    raise DataError(
        f"{title} looks like a hierarchy of classes: {label!r} holds folders ({told}, ...) and no images itself, and "
        f"so do all beside it: set dataset.layout: {upper} for the upper level, or {lower} for the lower one"
    )


def _stem(path: str) -> str:
    return folder_name(path).rpartition(".")[0]


def _suffix(path: str) -> str:
    return folder_name(path).rpartition(".")[2].casefold()
