"""What lies beside images and says more than a class each: boxes of Pascal VOC, COCO and YOLO, hierarchies of classes.

Read as class folders, they would become other classes without a word (`JPEGImages`, `images`, the upper level), so they
are refused by what they look like. Names decide, and the first bytes of a few JSON files.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from podium.core.errors import DataError
from podium.data.file_kinds import recognise
from podium.sources.names import IMAGE_SUFFIXES, folder_name
from podium.sources.source import SourceImage

_IMAGE_FOLDERS: Final = frozenset(("jpegimages", "images", "image", "imgs", "img", "photos", "pictures", "data"))
_MASKS: Final = frozenset(("segmentationclass", "segmentationobject", "masks", "labels", "annotations"))
_MOST_JSON: Final = 20  # files whose first bytes are looked at
_START: Final = 2**12
REMEDY: Final = "write a table with a row a box (dataset.source `csv`, columns.box)"
"""What to do with boxes."""
_SHOWN: Final = 2


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
