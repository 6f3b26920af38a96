"""Which folders are splits and which are classes, by names alone.

Rules, in this order: one pass-through folder after another is opened (`flowers/daisy/...`); at the level found, folders
called like a split (`names.split_word`) that hold class folders are splits; else those called so below every class are
(`daisy/train/...`). The class is the folder below a split, or the one at the level found, and all nested in it belongs
to it. Where folders look like splits that are not known, nothing is guessed: `dataset.layout` answers.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from podium.config.base import Split
from podium.config.dataset import LEFT_OUT, FolderLayout
from podium.core.errors import DataError, one_line
from podium.records.fetch import SkippedFile
from podium.sources.names import (
    SplitWord,
    folder_name,
    litter_in,
    looks_like_split,
    parent,
    reason_to_skip,
    split_word,
    upwards,
)
from podium.sources.source import SourceImage, Usable, in_order

_NO_CLASS = "lies in no class folder"
_OUTSIDE = "lies outside the folders of the splits"
_PLAIN = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))


class _Tree:
    """The folders that count and the images in them, by path; the top is the empty path."""

    def __init__(self, images: Iterable[str], other_files: Iterable[str], folders: Iterable[str]) -> None:
        self._children: dict[str, set[str]] = {}
        self._images: Counter[str] = Counter()
        self._other_files: Counter[str] = Counter()
        for folder in folders:
            if not litter_in(folder):
                self._enter(folder)
        for files, counter in ((images, self._images), (other_files, self._other_files)):
            for path in files:
                if not litter_in(path):
                    self._enter(parent(path))
                    counter.update(upwards(parent(path)))

    def _enter(self, folder: str) -> None:
        """Makes a folder and those above it known."""
        while folder and folder not in self._children.setdefault(parent(folder), set()):
            self._children[parent(folder)].add(folder)
            folder = parent(folder)

    def children(self, folder: str) -> list[str]:
        """Paths of the folders directly in a folder, sorted."""
        return sorted(self._children.get(folder, ()))

    def images_in(self, folder: str) -> int:
        """Images in a folder and below it."""
        return self._images[folder]

    def inhabited(self, folder: str) -> list[str]:
        """Paths of the folders directly in a folder that have images in them or below, sorted."""
        return [child for child in self.children(folder) if self.images_in(child)]

    def names(self) -> set[str]:
        """What folders are called."""
        return {folder_name(folder) for several in self._children.values() for folder in several}

    def holds_only_other_files(self, folder: str) -> bool:
        """Whether there are files in a folder or below it, none of them an image."""
        return self._other_files[folder] > 0 and not self._images[folder]


def arrange(
    source: str,
    files: Iterable[str],
    folders: Iterable[str],
    left_out: Iterable[SkippedFile] = (),
    layout: FolderLayout = "auto",
) -> Usable:
    """Sorts a source's files into classes and splits by their folders.

    Args:
        source: its name, for messages.
        files: paths of all its files, forward slashes, NFC.
        folders: paths of its folders; those of files may be left out. Empty class folders are found through them.
        left_out: what was found unusable before.
        layout: what the folders mean.

    Returns:
        The images with label and split, and the files left out, both sorted by path; notes say what was not plain.

    Raises:
        DataError: there are no images or no class folders, a class folder is empty, it is not clear what a folder
            means, or `layout` names none of the folders.
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
    reader = _Reader(source, tree, layout)
    reader.read()
    images = []
    for path in candidates:
        placed = reader.place(path)
        if isinstance(placed, SourceImage):
            images.append(placed)
        else:
            skipped.append(SkippedFile(path=path, reason=placed))  # a choice, no damage: it does not count as rejected
    reader.check_classes({image.label for image in images})
    return Usable(tuple(images), in_order(skipped), tuple(reader.notes))


@dataclass(frozen=True)
class _Meaning:
    """What a folder stands for: the split of what is below it, and its class; without one, the folders below are."""

    split: str = ""
    label: str = ""


@dataclass
class _Reader:
    """What the folders of a source mean: those that images are placed by, and those left out, with the reason."""

    source: str
    tree: _Tree
    layout: FolderLayout
    meaning: dict[str, _Meaning] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _top: str = ""

    def read(self) -> None:
        """Finds the level of the splits or classes.

        Raises:
            DataError: it is not clear what a folder means.
        """
        if isinstance(self.layout, dict) and (unknown := sorted(self.layout.keys() - self.tree.names())):
            raise DataError(f"dataset.layout names {unknown[0]!r}, but {self.source} has no such folder: correct it")
        while True:
            children = [child for child in self.tree.children(self._top) if not self._leave_out(child)]
            named = {child: word for child in children if (word := self._word(child))}
            if (self.layout == "auto" or isinstance(self.layout, dict)) and any(
                self.tree.inhabited(folder) for folder in named
            ):
                return self._read_splits(named)
            inhabited = [c for c in children if not self.tree.holds_only_other_files(c)]  # annotations/, papers/, ...
            if len(inhabited) != 1 or not self.tree.inhabited(inhabited[0]):
                return self._read_classes(named)
            self._top = inhabited[0]

    def _said(self, folder: str) -> str | None:
        """What `layout` says of a folder, by its name."""
        return self.layout.get(folder_name(folder)) if isinstance(self.layout, dict) else None

    def _leave_out(self, folder: str) -> bool:
        """Whether `layout` leaves a folder out; it is noted."""
        if self._said(folder) == LEFT_OUT:
            self.left_out[folder] = "left out by dataset.layout"
        return folder in self.left_out

    def _word(self, folder: str) -> SplitWord | None:
        """The split a folder stands for, if `layout` or its name says one."""
        return split_word(self._said(folder) or folder_name(folder))

    def _count(self, folder: str) -> str:
        """`1 image`, `2 images`: those in a folder and below it."""
        return f"{self.tree.images_in(folder):,} image{'s' * (self.tree.images_in(folder) != 1)}"

    def _names_in(self, folder: str) -> set[str]:
        """What the folders with images directly in a folder are called."""
        return {folder_name(child) for child in self.tree.inhabited(folder)}

    def _shared(self, folders: Sequence[str]) -> set[str]:
        """Names of folders that lie in each of some folders; none where there are not several."""
        return set.intersection(*map(self._names_in, folders)) if len(folders) > 1 else set()

    def _read_splits(self, named: dict[str, SplitWord]) -> None:
        """The folders at the top are splits."""
        classes = {name for folder, word in named.items() if word.split == "train" for name in self._names_in(folder)}
        for folder, word in named.items():
            inside = self._names_in(folder)
            unknown = word.split != "train" and len(inside) == 1 and len(classes) > 1 and inside.isdisjoint(classes)
            if self.tree.images_in(folder) and (not inside or unknown):
                self._leave_unlabelled(folder, word.split)
            elif inside:
                self.meaning[folder] = _Meaning(word.split)
        self._refuse_two_words(named)
        others = [c for c in self.tree.inhabited(self._top) if c not in named and c not in self.left_out]
        self._read_others(others, classes)
        for folder in self.meaning:
            self._refuse_repeated(folder)
            if folder_name(folder).casefold() not in _PLAIN:
                self.notes.append(f"{folder}/ is taken for {self.meaning[folder].split}")

    def _leave_unlabelled(self, folder: str, split: Split) -> None:
        """Leaves out what has the name of a split, but no class folders."""
        self.left_out[folder] = f"has no label: {folder}/ has no class folders"
        drawn = "" if split == "train" else f", and {split} is drawn from the rest"
        self.notes.append(
            f"{folder}/ has no class folders, so what it holds ({self._count(folder)}) has no labels and is left out"
            f"{drawn} (where a table names the classes, use source `csv`)"
        )

    def _refuse_two_words(self, named: dict[str, SplitWord]) -> None:
        """Refuses `test` beside `holdout`: they may or may not mean the same.

        Raises:
            DataError: two folders with different words for one split lie side by side.
        """
        seen: dict[str, str] = {}
        for folder, meaning in self.meaning.items():
            other = seen.setdefault(meaning.split, folder)
            if named[other].word != named[folder].word:
                self._refuse(f"{other!r} and {folder!r} would both be {meaning.split}", folder, "test")

    def _read_others(self, others: Sequence[str], classes: set[str]) -> None:
        """Leaves out what lies beside the splits, unless it could be one of them.

        Raises:
            DataError: a folder holds the same classes, or all could be classes.
        """
        beside = next(iter(self.meaning), "")
        for folder in others:
            if same := classes & self._names_in(folder):
                said = f"{folder!r} lies beside {beside!r} and holds {min(same)!r} too, but is no split that is known"
                self._refuse(said, folder, "val")
        if others and len({meaning.split for meaning in self.meaning.values()}) == 1:
            said = f"folder {beside!r} could be a split or a class beside {others[0]!r}"
            self._refuse(said, others[0], LEFT_OUT)
        for folder in others:
            self.left_out[folder] = _OUTSIDE
            self.notes.append(
                f"{folder}/ ({self._count(folder)}) lies beside the folders of the splits and is left out"
            )

    def _read_classes(self, named: dict[str, SplitWord]) -> None:
        """The folders at the level found are classes, unless every one holds folders of splits."""
        classes = [folder for folder in self.tree.inhabited(self._top) if folder not in self.left_out]
        if self.layout == "any/classes":
            self.meaning = dict.fromkeys(classes, _Meaning())
        elif self.layout == "classes" or not self._read_splits_below(named, classes):
            self.meaning = {self._top: _Meaning()}

    def _read_splits_below(self, named: dict[str, SplitWord], classes: Sequence[str]) -> bool:
        """Whether every class holds folders of splits, which are noted.

        Raises:
            DataError: it is not clear what a folder means.
        """
        self._refuse_flat([c for c in classes if c in named], named, classes)
        several = {word.split for name in self._shared(classes) if (word := self._word(name))}
        if self.layout != "classes/splits" and len(several) < 2:
            for folder in classes:
                if looks_like_split(folder_name(folder)) and self.tree.inhabited(folder):
                    self._refuse(f"folder {folder!r} looks like a split, but none that is known", folder, "train")
                if self.layout == "auto" and len({split_word(name) for name in self._names_in(folder)} - {None}) > 1:
                    self._refuse(f"{folder!r} holds folders of splits, but not every class does", folder, LEFT_OUT)
            self._refuse_repeated(self._top)
            return False
        for label in classes:
            for folder in self.tree.inhabited(label):
                if word := self._word(folder):
                    self.meaning[folder] = _Meaning(word.split, folder_name(label))
                elif not self._leave_out(folder):
                    self._refuse(f"{folder!r} is no split that is known", folder, "val")
        return True

    def _refuse_flat(self, flat: Sequence[str], named: dict[str, SplitWord], classes: Sequence[str]) -> None:
        """Refuses images that lie directly in a folder of a split.

        Raises:
            DataError: they do in all folders, or `test` lies beside classes; `train` may be one, a vehicle.
        """
        if flat and len(flat) == len(classes):
            raise DataError(
                f"{self.source}: images lie directly in {flat[0]!r}: it needs a folder a class inside, or a table "
                "that names their classes (source `csv`)"
            )
        for folder in flat:
            if named[folder].split != "train":
                self._refuse(f"folder {folder!r} could be a split or a class beside its neighbours", folder, LEFT_OUT)

    def _refuse_repeated(self, top: str) -> None:
        """Refuses class folders that all hold the same folders: which of the two are the classes?

        Raises:
            DataError: two names or more repeat under every class.
        """
        classes = self.tree.inhabited(top)
        shared = sorted(self._shared(classes))
        if len(shared) > 1 and self.layout == "auto":
            raise DataError(
                f"{self.source}: folders {shared[0]!r} and {shared[1]!r} repeat under every class folder "
                f"({classes[0]!r}, {classes[1]!r}, ...): set dataset.layout to `classes` where they are parts of a "
                "class, to `any/classes` where they are the classes, or where they, or the folders above them, are "
                f"splits to `{{{shared[0]}: train, {shared[1]}: test}}` with the names of these"
            )

    def _refuse(self, said: str, folder: str, proposed: str) -> None:
        """Refuses to guess: raises a `DataError` that names `dataset.layout`."""
        raise DataError(
            f"{self.source}: {said}: say what it is with `dataset.layout: {{{folder_name(folder)}: {proposed}}}` "
            f"(train, val, test or {LEFT_OUT}), or with `dataset.layout: classes` where the folders here are classes"
        )

    def place(self, path: str) -> SourceImage | str:
        """The image with its label and split, or the reason why it has none."""
        for above in upwards(parent(path)):
            if above in self.left_out:
                return self.left_out[above]
            if above in self.meaning:
                meaning = self.meaning[above]
                if meaning.label:
                    return SourceImage(path=path, label=meaning.label, split=meaning.split)
                inside = path.removeprefix(f"{above}/") if above else path
                label, slash, _ = inside.partition("/")
                return SourceImage(path=path, label=label, split=meaning.split) if slash else _NO_CLASS
        return _OUTSIDE if any(meaning.split for meaning in self.meaning.values()) else _NO_CLASS

    def check_classes(self, labels: set[str]) -> None:
        """Refuses classes without images.

        Raises:
            DataError: class folders are empty, all are named, or no image lies in a class folder.
        """
        above = [folder for folder, meaning in self.meaning.items() if not meaning.label] or [self._top]
        empty = [c for folder in above for c in self.tree.children(folder) if not self.tree.images_in(c)]
        if empty:
            s, it = ("s", "them") if len(empty) > 1 else ("", "it")
            named = f"class folder{s} {', '.join(map(repr, empty))} hold{'' if s else 's'} no images"
            raise DataError(f"{self.source}: {named}: add some or remove {it}")
        if not labels:
            raise DataError(f"{self.source} holds images, but no class folder around them: it needs a folder a class")
