"""A smaller experiment on the same data: so many images a class, the same ones every time. Stands on `core` only."""

import hashlib
from collections.abc import Mapping, Sequence

from podium.config.base import Split
from podium.core.errors import DataError
from podium.sources.listing import SourceImage


def limited(images: Sequence[SourceImage], limit: int | Mapping[Split, int] | None) -> list[SourceImage]:
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
        kept.update(image.key for image in sorted(found, key=_order)[:number])
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


def _order(image: SourceImage) -> tuple[str, str]:
    """Photographs by digest, so that the boxes of one are taken together and few have to be downloaded."""
    path, box = image.key
    return hashlib.sha256(path.encode()).hexdigest(), box
