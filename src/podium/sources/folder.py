"""Source `folder`: class folders on disk, with or without train/val/test above them. It never leaves its folder.

Rules, in this order: one pass-through folder after another is opened (`flowers/daisy/...`); at the level found, folders
named train, val or test (or training, valid, validation, testing, in any case) that hold class folders are splits; the
folder below is the class, and everything nested in it belongs to it. Rules about names are in `names`.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from podium.config.dataset import Fetch, FolderDataset
from podium.core.errors import DataError, one_line
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.locations import watched_path
from podium.sources.names import is_litter, is_unicode, printable, reason_to_skip
from podium.sources.source import FileSource, Listing, SourceImage, Usable, in_order

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_NO_CLASS = "lies in no class folder"


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
        dataset: location.
        fetch: not used: nothing is downloaded.
    """
    del fetch
    folder = watched_path(layout, dataset.source, dataset.location)
    return read_folder(folder, unicodedata.normalize("NFC", folder.name), title=f"folder {folder.name}")


def read_folder(folder: Path, name: str, *, title: str, sha256: str | None = None) -> FileSource:
    """Reads class folders.

    Links to files of the same folder are followed. Links out of it and links to folders are left out with a reason: an
    image behind the latter is found where it really lies, and no loop is possible.

    Args:
        folder: absolute path; it may be a link.
        name: of the source: a folder's as given, so that a link has the same name everywhere.
        title: what messages call it.
        sha256: digest of the archive the folder came from; None for a folder of somebody's.

    Returns:
        The source.

    Raises:
        DataError: the folder is missing, or breaks a rule of `arrange`.
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
    arranged = arrange(title, found.files, found.folders, found.skipped)
    return FileSource(Listing(name, sha256, arranged.images, arranged.skipped), found.files)


def _look_into(folder: Path, root: Path, found: _Walk) -> list[Path]:
    """Notes what lies directly in a folder and returns the folders among it, sorted."""
    inside: list[Path] = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        path = unicodedata.normalize("NFC", Path(entry.path).relative_to(root).as_posix())
        if not is_unicode(path):
            found.skip(path, "its name is not UTF-8")
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
    """Why a symbolic link is not followed; empty for a link to a file inside `root`."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, up to Python 3.12
        return "a link that leads nowhere"
    if not target.is_relative_to(root):
        return "a link that leaves the folder"
    return "a link to a folder is not followed" if target.is_dir() else ""


# --- splits and classes, by names alone ------------------------------------------------------------------------------


class _Tree:
    """The folders that count and the images in them, by path; the top is the empty path."""

    def __init__(self, images: Iterable[str], other_files: Iterable[str], folders: Iterable[str]) -> None:
        self._children: dict[str, set[str]] = {}
        self._images: Counter[str] = Counter()
        self._other_files: Counter[str] = Counter()
        for folder in folders:
            if not _litter_in(folder):
                self._enter(folder)
        for files, counter in ((images, self._images), (other_files, self._other_files)):
            for path in files:
                if not _litter_in(path):
                    self._enter(_parent(path))
                    counter.update(_upwards(_parent(path)))

    def _enter(self, folder: str) -> None:
        """Makes a folder and those above it known."""
        while folder and folder not in self._children.setdefault(_parent(folder), set()):
            self._children[_parent(folder)].add(folder)
            folder = _parent(folder)

    def children(self, folder: str) -> list[str]:
        """Paths of the folders directly in a folder, sorted."""
        return sorted(self._children.get(folder, ()))

    def images_in(self, folder: str) -> int:
        """Images in a folder and below it."""
        return self._images[folder]

    def holds_only_other_files(self, folder: str) -> bool:
        """Whether there are files in a folder or below it, none of them an image."""
        return self._other_files[folder] > 0 and not self._images[folder]

    def holds_classes(self, folder: str) -> bool:
        """Whether folders with images lie directly in it."""
        return any(self.images_in(child) for child in self.children(folder))


def arrange(source: str, files: Iterable[str], folders: Iterable[str], left_out: Iterable[SkippedFile] = ()) -> Usable:
    """Sorts a source's files into classes and splits by their folders.

    Args:
        source: its name, for messages.
        files: paths of all its files, forward slashes, NFC.
        folders: paths of its folders; those of files may be left out. Empty class folders are found through them.
        left_out: what was found unusable before.

    Returns:
        The images with label and split, and the files left out, both sorted by path.

    Raises:
        DataError: there are no images or no class folders, a class folder is empty, or a folder could be a split as
            well as a class.
    """
    skipped = list(left_out)
    candidates: list[str] = []
    for path in sorted(files):
        reason = reason_to_skip(path)
        if reason:
            skipped.append(SkippedFile(path=path, reason=reason))
        else:
            candidates.append(path)
    tree = _Tree(candidates, (s.path for s in skipped), folders)
    if not candidates:
        first = f"; the first, {skipped[0].path!r}: {one_line(skipped[0].reason)}" if skipped else ""
        raise DataError(
            f"{source} holds no images ({len(skipped)} other files{first}): it needs a folder a class with images in it"
        )
    splits = _splits(source, tree)
    images = []
    for path in candidates:
        placed = _place(path, splits)
        if isinstance(placed, SourceImage):
            images.append(placed)
        else:
            skipped.append(SkippedFile(path=path, reason=placed))  # a choice, no damage: it does not count as rejected
    _check_classes(source, tree, splits, {image.label for image in images})
    return Usable(tuple(images), in_order(skipped))


def _splits(source: str, tree: _Tree) -> dict[str, str]:
    """Folders that hold class folders, with the split each stands for (empty where there are none).

    Raises:
        DataError: images lie directly in the folders of the splits.
    """
    top = ""
    while True:
        children = tree.children(top)
        named = {c: SPLIT_FOLDERS[name] for c in children if (name := c.rpartition("/")[2].casefold()) in SPLIT_FOLDERS}
        splits = {folder: split for folder, split in named.items() if tree.holds_classes(folder)}
        if splits:
            _refuse_ambiguity(source, tree, [c for c in children if c not in named], splits)
            return splits
        inhabited = [c for c in children if not tree.holds_only_other_files(c)]  # annotations/, papers/, ...
        if len(inhabited) != 1 or not tree.holds_classes(inhabited[0]):
            if named and set(named) == {c for c in children if tree.images_in(c)}:
                raise DataError(
                    f"{source}: images lie directly in {next(iter(named))!r}: it needs a folder a class inside"
                )
            return {top: ""}
        top = inhabited[0]


def _refuse_ambiguity(source: str, tree: _Tree, others: list[str], splits: dict[str, str]) -> None:
    """Refuses folders of one split beside folders that look like classes.

    Raises:
        DataError: `train/` with classes inside lies beside `daisy/` with images: which of the two is a class?
    """
    beside = [c for c in others if tree.images_in(c)]
    if beside and len(set(splits.values())) == 1:
        folder = next(iter(splits))
        raise DataError(
            f"{source}: folder {folder!r} could be a split or a class beside {beside[0]!r}: rename or move one of them"
        )


def _place(path: str, splits: dict[str, str]) -> SourceImage | str:
    """The image with its label and split, or the reason why it has none."""
    for above in _upwards(_parent(path)):
        if above in splits:
            inside = path.removeprefix(f"{above}/") if above else path
            label, slash, _ = inside.partition("/")
            return SourceImage(path=path, label=label, split=splits[above]) if slash else _NO_CLASS
    return _NO_CLASS if "" in splits.values() else "lies outside the folders of the splits"


def _check_classes(source: str, tree: _Tree, splits: dict[str, str], labels: set[str]) -> None:
    """Refuses classes without images.

    Raises:
        DataError: a class folder is empty, or no image lies in a class folder.
    """
    for folder in splits:
        for class_folder in tree.children(folder):
            if not tree.images_in(class_folder):
                raise DataError(f"{source}: class folder {class_folder!r} holds no images: add some or remove it")
    if not labels:
        raise DataError(f"{source} holds images, but no class folder around them: it needs a folder a class")


def _parent(path: str) -> str:
    """The folder a path lies in; the top is the empty path."""
    return path.rpartition("/")[0]


def _litter_in(path: str) -> bool:
    """Whether a part of a path is hidden or left behind by an operating system (`__MACOSX`, ...)."""
    return any(is_litter(part) for part in path.split("/"))


def _upwards(folder: str) -> list[str]:
    """A folder and all above it, the top (empty) last."""
    found = [folder]
    while folder:
        folder = _parent(folder)
        found.append(folder)
    return found
