"""Which images of a source are used, and under which labels: label maps, groups, and so many images a class.

Nothing is joined or left out by accident: a class that is listed but does not exist, and a name that two classes would
share without being listed together, are refused. A limit takes the same images every time.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Final, Literal

from podium.config.base import Split
from podium.config.dataset import ByColumn, ByPattern
from podium.config.problems import nearest
from podium.core.errors import DataError, ParamsError, first_few
from podium.sources.names import collision_key
from podium.sources.source import SourceImage

_SPACING = re.compile(r"[\s_\-]+")
_CHANGES: Final = (
    "copy|flip(?:ped)?|[hv]flip|flip(?:lr|tb|ud)|mirror(?:ed)?|rot(?:at(?:ed?|ion))?|turn(?:ed)?|crop(?:ped)?"
    "|aug(?:mented)?|nois[ey]|blur(?:red)?|bright(?:ness|er)?|dark(?:er)?|contrast|gr[ae]y(?:scale)?|scal(?:ed?|ing)|zoom(?:ed)?"
    "|shear(?:ed)?|shift(?:ed)?|jitter|orig(?:inal)?|[0-9]{1,3}deg|new[0-9]+deg(?:flip(?:lr|tb))?|newpixel"
)
_VERSION: Final = re.compile(
    r"([._](jpe?g|png|webp|bmp|tiff?)|\.rf\.[0-9a-f]{6,}|\s*\([0-9]+\)"
    rf"|[\s._-]+({_CHANGES})([\s._-]*([0-9]{{1,4}}|lr|tb|ud|h|v|horizontal(ly)?|vertical(ly)?|left|right))?)$",
    re.IGNORECASE,
)
"""What the name of a version of a file ends with, in the words of people, of Windows, Roboflow and PlantVillage."""
_SHOWN = 12
_MOST_VERSIONS = 50  # of one file


def map_labels(source: str, images: Sequence[SourceImage], labels: Mapping[str, Sequence[str]]) -> list[SourceImage]:
    """Gives images our labels.

    Args:
        source: name of the source, for messages.
        images: as the source labels them.
        labels: classes of the source by our label; classes that are not listed keep their name.

    Returns:
        The images in the order given; where a label changed, `source_label` holds the source's.

    Raises:
        DataError: a listed class does not exist, or one of our labels is also a class that is not listed under it.
    """
    if not labels:
        return list(images)
    theirs = {image.label for image in images}
    ours = {label: our for our, listed in labels.items() for label in listed}
    for label, our in ours.items():
        if label not in theirs:
            raise DataError(
                f"dataset.labels.{our} lists {label!r}, but {source} has no such class"
                f"{nearest(label, theirs)} ({_list_classes(theirs)}): correct the list"
            )
    for our in labels:
        if our in theirs and our not in ours:
            raise DataError(
                f"dataset.labels makes {labels[our][0]!r} of {source} {our!r}, which is another class of it: "
                f"list {our!r} under dataset.labels.{our} too if they are the same, or choose another name"
            )
    return [_rename(image, ours.get(image.label, image.label)) for image in images]


def assign_groups(images: Sequence[SourceImage], groups: Mapping[str, str]) -> list[SourceImage]:
    """Gives images the coarse class of their label.

    Args:
        images: under our labels.
        groups: coarse class by label; labels that are not listed keep what the source said.

    Returns:
        The images in the order given.

    Raises:
        DataError: a listed label has no images.
    """
    known = {image.label for image in images}
    for label in groups:
        if label not in known:
            raise DataError(
                f"dataset.groups lists {label!r}, but there is no such class{nearest(label, known)} "
                f"({_list_classes(known)}): correct the list"
            )
    return [replace(image, group=groups.get(image.label, image.group)) for image in images] if groups else list(images)


def keep_together(
    source: str, images: Sequence[SourceImage], rule: Literal["auto"] | ByColumn | ByPattern | None
) -> list[SourceImage]:
    """Gives images what they must not be separated from.

    Args:
        source: name of the source, for messages.
        images: of one source.
        rule: of `dataset.keep_together`; None leaves what the source says.

    Returns:
        The images in the order given.

    Raises:
        ParamsError: the source has no such column.
        DataError: paths do not match the pattern.
    """
    if rule is None or not images:
        return list(images)
    if isinstance(rule, ByPattern):
        return _by_pattern(source, images, rule.pattern)
    if rule == "auto":
        return _by_name(source, images)
    if all(image.keep_together for image in images):  # a table's own
        return list(images)
    if rule.column not in images[0].extras:
        known = f"its further columns: {', '.join(images[0].extras)}" if images[0].extras else "it has none"
        raise ParamsError(
            f"dataset.keep_together names column {rule.column!r}, but {source} has no such column ({known}): correct "
            "it, or give a pattern for the paths"
        )
    return [replace(image, keep_together=str(image.extras[rule.column])) for image in images]


def _by_name(source: str, images: Sequence[SourceImage]) -> list[SourceImage]:
    """Gives images the file they are a version of.

    Raises:
        DataError: that would be one file for very many: `daisy (1).jpg` to `daisy (300).jpg` are no versions.
    """
    behind = {image.path: file_behind(image.path) for image in images}
    file, count = Counter(behind.values()).most_common(1)[0]
    if count > _MOST_VERSIONS:
        raise DataError(
            f"dataset.keep_together: auto takes {count:,} images of {source} for versions of {file!r}, more than "
            f"{_MOST_VERSIONS}: their names only number them; give a pattern for the paths, or null"
        )
    return [replace(image, keep_together=behind[image.path]) for image in images]


def _by_pattern(source: str, images: Sequence[SourceImage], pattern: str) -> list[SourceImage]:
    """Gives images what a regular expression finds in their paths.

    Raises:
        DataError: it finds nothing in some.
    """
    expression = re.compile(pattern)
    found = {image.path: expression.search(image.path) for image in images}
    unmatched = sorted(path for path, match in found.items() if match is None)
    if unmatched:
        raise DataError(
            f"dataset.keep_together: {pattern!r} finds nothing in {len(unmatched):,} of {len(found):,} paths of "
            f"{source} (first: {unmatched[0]!r}): correct the pattern, or let it match them too"
        )
    text = {path: "/".join(part or "" for part in match.groups()) or match[0] for path, match in found.items() if match}
    return [replace(image, keep_together=text[image.path]) for image in images]


def file_behind(path: str) -> str:
    """The path of the file that a version was made of, without its ending: `a/x` for `a/x_flip_90deg (1).jpg`."""
    folder, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    while (shorter := _VERSION.sub("", stem)) != stem and shorter:
        stem = shorter
    return f"{folder}{slash}{stem}"


def refuse_similar_labels(labels_of: Mapping[str, Set[str]]) -> None:
    """Refuses classes that differ in case or spacing only; `_` and `-` count as spaces between two sources.

    Args:
        labels_of: labels by source.

    Raises:
        DataError: there are two; it names the key that makes one of them.
    """
    seen: dict[str, tuple[str, str]] = {}
    several = len(labels_of) > 1
    for source, labels in labels_of.items():
        for label in sorted(labels):
            key = collision_key(label.strip())
            twin, other = seen.setdefault(_SPACING.sub(" ", key) if several else key, (label, source))
            if twin != label:
                both = f"{twin!r} of {other} and {label!r} of {source}" if several else f"{twin!r} and {label!r}"
                joined = ", ".join([twin, label] if twin in labels else [label])
                raise DataError(
                    f"classes {both} differ in case or spacing only: make them one with "
                    f"`labels: {{{twin}: [{joined}]}}` in the section of {source}"
                )


def _rename(image: SourceImage, label: str) -> SourceImage:
    """The image under our label; what its source called it first is kept."""
    if label == image.label:
        return image
    return replace(image, label=label, source_label=image.source_label or image.label)


def _list_classes(labels: Iterable[str]) -> str:
    """`its classes: a, b, c and 3 more`."""
    return f"its classes: {first_few(sorted(labels), _SHOWN)}"


def limit_images(images: Sequence[SourceImage], limit: int | Mapping[Split, int] | None) -> list[SourceImage]:
    """Keeps at most so many images of each class in each split the source gave.

    Images are taken by ascending sha256 of their path, boxes of one photograph one after another, so a choice depends
    neither on their order nor on other images, and a larger limit keeps every image a smaller one kept.

    Args:
        images: of one source.
        limit: the same number for all, a number by split (other splits are kept whole), or None for all images.

    Returns:
        Those kept, in the order given.

    Raises:
        DataError: `limit` names a split that the source does not give.
    """
    if limit is None:
        return list(images)
    by_split: dict[str, int] = {}
    if isinstance(limit, Mapping):
        _check_splits(images, limit)
        by_split.update(limit.items())
    groups: dict[tuple[str, str], list[SourceImage]] = {}
    for image in images:
        groups.setdefault((image.split, image.label), []).append(image)
    kept: set[tuple[str, str]] = set()
    for (split, _), found in groups.items():
        number = limit if isinstance(limit, int) else by_split.get(split, len(found))
        kept.update(image.key for image in sorted(found, key=_sort_key)[:number])
    return [image for image in images if image.key in kept]


def _check_splits(images: Sequence[SourceImage], limit: Mapping[Split, int]) -> None:
    """Refuses a limit for a split the source does not give.

    Raises:
        DataError: there is one.
    """
    given = sorted({image.split for image in images if image.split})
    missing = [split for split in limit if split not in given]
    if missing:
        said = f"only {', '.join(given)}" if given else "no split: use one number"
        raise DataError(f"dataset.limit_per_class names split {missing[0]!r}, but the source gives {said}")


def _sort_key(image: SourceImage) -> tuple[str, str]:
    """Photographs by digest, so that the boxes of one are taken together and few have to be downloaded."""
    path, box = image.key
    return hashlib.sha256(path.encode()).hexdigest(), box
