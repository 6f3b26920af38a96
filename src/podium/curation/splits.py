"""Which image goes to train, val or test: groups of duplicates stay whole, classes keep their shares.

Rules:
- A split the source gives is kept. Where a source gives none, images are drawn by the shares of `params.yaml`. What a
  source's split lacks is drawn from its train images: val with val / (train + val), test with test / (train + test),
  both with the plain shares where it only has train.
- A duplicate group whose members were given different splits moves whole to the most protected of them: test before
  val before train.
- The draw is a pure function of (seed, duplicate group) and the class's numbers; no generator state, no row order.

Depends on pandas.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from podium.core.config.preprocess import Preprocess
from podium.core.errors import DataError

_PROTECTION = ("test", "val", "train", "")
_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class _Group:
    """A duplicate group: what is known before the draw. `open` are the splits it may go to."""

    key: str
    label: str
    size: int
    open: tuple[str, ...]


def assign(images: pd.DataFrame, shares: Preprocess, seed: int) -> pd.Series:
    """Splits images.

    Args:
        images: columns `image_id source label source_split duplicate_group`, one row an image.
        shares: fractions of images for train, val and test.
        seed: of the draw.

    Returns:
        `train`, `val` or `test` per row, same index.

    Raises:
        DataError: a source gives test or val images but no train images; a class has too few images for a split
            that is drawn.
    """
    groups = _groups(images)
    fraction = {"train": shares.train, "val": shares.val, "test": shares.test}
    chosen = {group.key: group.open[0] for group in groups if len(group.open) == 1}
    drawn = sorted((g for g in groups if len(g.open) > 1), key=lambda g: (g.label, g.open))
    for _, stratum in groupby(drawn, key=lambda g: (g.label, g.open)):
        chosen.update(_draw(list(stratum), fraction, seed))
    _require_every_split(drawn, groups, chosen)
    return images["duplicate_group"].map(chosen).rename("split")


def _groups(images: pd.DataFrame) -> list[_Group]:
    """Duplicate groups in the order of their keys; label and source are those of the first member."""
    given = {
        str(source): set(splits) - {""} for source, splits in images.groupby("source")["source_split"].unique().items()
    }
    for source, splits in given.items():
        if splits and "train" not in splits:
            raise DataError(
                f"source {source!r} gives {' and '.join(sorted(splits))} images but no train images: add a train "
                "folder, or remove the split folders so that a split is drawn"
            )
    columns = ["duplicate_group", "image_id", "label", "source", "source_split"]
    ordered = images[columns].sort_values(["duplicate_group", "image_id"]).itertuples(index=False, name=None)
    groups = []
    for key, rows in groupby(ordered, key=lambda row: row[0]):
        members = list(rows)
        _, _, label, source, _ = members[0]
        splits = {split for *_, split in members}
        most_protected = next(split for split in _PROTECTION if split in splits)
        match most_protected:
            case "":
                open_: tuple[str, ...] = _ORDER
            case "train":
                open_ = ("train", *(split for split in ("val", "test") if split not in given[source]))
            case _:
                open_ = (most_protected,)
        groups.append(_Group(key, label, len(members), open_))
    return groups


def _draw(groups: list[_Group], fraction: dict[str, float], seed: int) -> dict[str, str]:
    """Draws one class.

    Large groups come first, each to the split with most room left. Single images then fill up test, val and train in
    this order, so that one image more moves few others. The last groups go to splits that have none yet.
    """
    open_ = groups[0].open
    room = _quotas(sum(group.size for group in groups), open_, fraction)
    empty = set(open_)
    chosen = {}
    ordered = sorted(groups, key=lambda g: (-g.size, _rank(seed, g.key)))
    for number, group in enumerate(ordered):
        candidates = [s for s in open_ if s in empty] if len(groups) - number <= len(empty) else list(open_)
        with_room = [s for s in reversed(candidates) if room[s] > 0]
        split = with_room[0] if group.size == 1 and with_room else max(candidates, key=lambda s: room[s])
        chosen[group.key] = split
        room[split] -= group.size
        empty.discard(split)
    return chosen


def _quotas(count: int, open_: tuple[str, ...], fraction: dict[str, float]) -> dict[str, int]:
    """Images per split by the method of largest remainders, at least one each where there are enough."""
    total = sum(fraction[split] for split in open_)
    exact = {split: count * fraction[split] / total for split in open_}
    quota = {split: int(exact[split] + 1e-9) for split in open_}
    by_remainder = sorted(open_, key=lambda s: (quota[s] - exact[s], open_.index(s)))
    for split in by_remainder[: count - sum(quota.values())]:
        quota[split] += 1
    for split in open_:
        if quota[split] == 0 and count >= len(open_):
            largest = max(open_, key=lambda s: quota[s])
            quota[split], quota[largest] = 1, quota[largest] - 1
    return quota


def _rank(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}\0{key}".encode()).hexdigest()


def _require_every_split(drawn: Iterable[_Group], groups: list[_Group], chosen: dict[str, str]) -> None:
    """A class must reach every split that could be drawn for it."""
    reached = {(group.label, chosen[group.key]) for group in groups}
    for group in drawn:
        for split in group.open:
            if (group.label, split) not in reached:
                count = sum(g.size for g in groups if g.label == group.label)
                distinct = sum(g.label == group.label for g in groups)
                raise DataError(
                    f"class {group.label!r} has {count} image{'s' * (count != 1)} ({distinct} after grouping "
                    f"duplicates), too few to give {split} one: add images or remove the class"
                )
