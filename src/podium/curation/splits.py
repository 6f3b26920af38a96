"""Which image goes to train, val or test: groups stay whole, classes and sources keep their shares.

- A group is what must stay on one side: duplicates, the crops of one photograph or of files with the same bytes, and
  what these connect in turn. It counts as one of its most frequent label (and source), the first in alphabetical order
  of several.
- A split the source gives is kept. Where a source gives none, images are drawn by the shares of `params.yaml`. What a
  source's split lacks is drawn from its train images: val with val / (train + val), test with test / (train + test),
  both with the plain shares where it only has train.
- A group whose members were given different splits moves whole to the most protected: test before val before train.
- The draw is a pure function of (seed, group) and the numbers of images per class and source.

Rows are never looped over, only groups of several images are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from podium.config.base import SPLITS
from podium.config.preprocess import Preprocess
from podium.core.errors import DataError

_TRAIN, _VAL, _TEST = range(3)
_ALL = 0b111  # a set of splits as bits: 1 << _TRAIN and so on
_PROTECTION = {"": 0, "train": 1, "val": 2, "test": 3}

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _SplitGroups:
    """Groups in the order of their keys, all arrays of shape (G,).

    `label` and `source` are codes of the most frequent ones, `size` counts images, `open` is the set of splits a group
    may go to, as bits.
    """

    key: NDArray[np.object_]
    label: Integers
    source: Integers
    size: Integers
    open: Integers


def join_split_groups(images: pd.DataFrame) -> pd.Series:
    """Joins what must stay on one side.

    Takes the columns `image_id photo_id photo_sha256 duplicate_group`; gives per row, same index, the lowest `image_id`
    among the images that shared duplicates or photographs connect.
    """
    duplicate, duplicates = pd.factorize(images["duplicate_group"])
    starts, ends, nodes = [], [], len(duplicates)
    for key in ("photo_id", "photo_sha256"):
        codes, keys = pd.factorize(images[key])
        starts.append(duplicate)
        ends.append(codes + nodes)
        nodes += len(keys)
    edges = (np.ones(2 * len(images), np.int8), (np.concatenate(starts), np.concatenate(ends)))
    _, component = connected_components(coo_array(edges, shape=(nodes, nodes)), directed=False)
    ids = images["image_id"].to_numpy(object)
    return pd.Series(ids, images.index).groupby(component[duplicate]).transform("min").rename("split_group")


def assign_splits(images: pd.DataFrame, shares: Preprocess, seed: int) -> pd.Series:
    """Splits images.

    Args:
        images: columns `image_id source label source_split split_group`, one row an image.
        shares: fractions of images for train, val and test.
        seed: of the draw.

    Returns:
        `train`, `val` or `test` per row, same index.

    Raises:
        DataError: a source gives test or val images but no train images; a class has too few images for a split
            that is drawn.
    """
    of_row, groups = _join_rows(images)
    fractions = (shares.train, shares.val, shares.test)
    split = np.log2(groups.open & -groups.open).astype(np.int64)  # of groups with one open split
    drawn = np.nonzero(groups.open & (groups.open - 1))[0]
    drawn = drawn[
        np.lexsort((_ranks(groups.key[drawn], seed), groups.source[drawn], groups.open[drawn], groups.label[drawn]))
    ]
    stratum = groups.label[drawn] * (_ALL + 1) + groups.open[drawn]
    for members in np.split(drawn, np.nonzero(np.diff(stratum))[0] + 1):
        if len(members):
            split[members] = _draw(
                groups.size[members], groups.source[members], int(groups.open[members[0]]), fractions
            )
    _require_every_split(groups, split, np.unique(images["label"].to_numpy(object)))
    return pd.Series(np.array(SPLITS, dtype=object)[split[of_row]], images.index, name="split")


def _join_rows(images: pd.DataFrame) -> tuple[Integers, _SplitGroups]:
    """The group of each row, and the groups."""
    of_row, keys = pd.factorize(images["split_group"], sort=True)
    label, _ = pd.factorize(images["label"], sort=True)
    source, sources = pd.factorize(images["source"], sort=True)
    protection = images["source_split"].map(_PROTECTION).to_numpy(np.int64)
    given = np.zeros(len(sources), np.int64)  # splits a source gives, as bits
    np.bitwise_or.at(given, source, np.where(protection > 0, 1 << np.maximum(protection - 1, 0), 0))
    for code in np.nonzero((given > 0) & (given & 1 << _TRAIN == 0))[0]:
        said = " and ".join(sorted(name for number, name in enumerate(SPLITS) if given[code] >> number & 1))
        raise DataError(
            f"source {str(sources[int(code)])!r} gives {said} images but no train images: add a train "
            "folder, or remove the split folders so that a split is drawn"
        )
    count = len(keys)
    most_protected, given_to_any = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.maximum.at(most_protected, of_row, protection)
    np.bitwise_or.at(given_to_any, of_row, given[source])
    open_ = np.select(
        [most_protected == 0, most_protected == 1],
        [_ALL, (_ALL & ~given_to_any) | 1 << _TRAIN],
        1 << most_protected - 1,
    )
    size = np.bincount(of_row, minlength=count)
    return of_row, _SplitGroups(
        np.asarray(keys, object), _most_frequent(of_row, label), _most_frequent(of_row, source), size, open_
    )


def _most_frequent(group: Integers, code: Integers) -> Integers:
    """Per group its most frequent code, the lowest of several."""
    span = int(code.max()) + 1
    pair, count = np.unique(group * span + code, return_counts=True)
    of_group, of_code = np.divmod(pair, span)
    order = np.lexsort((of_code, -count, of_group))
    first = order[np.unique(of_group[order], return_index=True)[1]]
    return np.asarray(of_code[first])


def _draw(size: Integers, source: Integers, open_: int, fractions: Sequence[float]) -> Integers:
    """Draws one class.

    Groups of several images come first, the largest foremost, each to the split with most room, in its class and its
    source together. Single images then fill up test, val and train in this order, each source by its own, so that one
    image more moves few others. The last groups go to splits that have none yet.

    Args:
        size: images per group; groups come in the order of their sources, and drawn within these.
        source: code per group.
        open_: splits to choose from, as bits.
        fractions: of train, val and test.
    """
    splits = [s for s in (_TRAIN, _VAL, _TEST) if open_ >> s & 1]
    codes, of_source = np.unique(source, return_inverse=True)
    images = np.bincount(of_source, weights=size)
    quota = _quotas(int(size.sum()), [fractions[s] for s in splits])
    room = images[:, None] * (quota / quota.sum())  # per source; the columns sum to the quotas
    chosen = np.zeros(len(size), np.int64)
    several = np.nonzero(size > 1)[0]
    several = several[np.argsort(-size[several], kind="stable")]
    empty = set(range(len(splits)))
    total = room.sum(axis=0)
    for number, group in enumerate(several.tolist()):
        row = room[of_source[group]]
        must_fill = len(size) - number <= len(empty)
        split = max(sorted(empty) if must_fill else range(len(splits)), key=lambda s: total[s] + row[s])
        chosen[group] = split
        row[split] -= size[group]
        total[split] -= size[group]
        empty.discard(split)
    single = np.nonzero(size == 1)[0]
    counts = _apportion(room, np.bincount(of_source[single], minlength=len(codes)), empty)
    for code in range(len(codes)):
        mine = single[of_source[single] == code]
        chosen[mine] = np.repeat(np.arange(len(splits))[::-1], counts[code][::-1])
    return np.array(splits)[chosen]


def _apportion(room: NDArray[np.float64], singles: Integers, empty: set[int]) -> Integers:
    """Single images per source and split.

    Each source is rounded by largest remainders; what rounding gave or took is carried to the next source, so that the
    class as a whole keeps its quotas too. `room` are images wanted, shape (sources, splits), and `empty` splits that
    have no image of the class yet; like those of the result, rows of `room` sum to `singles`.
    """
    counts = np.zeros(room.shape, np.int64)
    carry = np.zeros(room.shape[1])
    for row, (wanted, count) in enumerate(zip(room, singles.tolist(), strict=True)):
        exact = wanted + carry
        counts[row] = _round_to(exact, count)
        carry = exact - counts[row]
    for split in sorted(empty):
        total = counts.sum(axis=0)
        if total[split] == 0 and total.max() > 1:
            rich = int(total.argmax())
            row = int(counts[:, rich].argmax())
            counts[row, rich] -= 1
            counts[row, split] += 1
    return counts


def _round_to(exact: NDArray[np.float64], count: int) -> Integers:
    """Whole numbers >= 0 that sum to `count`, close to numbers that do but may be negative or fractional."""
    level, above = 0.0, exact > 0
    while above.any():  # what is below 0 is taken from the others, evenly
        level = (exact[above].sum() - count) / above.sum()
        if (exact[above] > level).all():
            break
        above &= exact > level
    wanted = np.where(above, exact - level, 0.0)
    whole = np.floor(wanted + 1e-9).astype(np.int64)
    order = np.argsort(whole - wanted, kind="stable")
    rest = count - int(whole.sum())
    whole[order[:rest]] += 1
    return whole


def _quotas(count: int, fractions: Sequence[float]) -> Integers:
    """Images per split by the method of largest remainders, at least one each where there are enough."""
    exact = np.array(fractions) * (count / sum(fractions))
    quota = _round_to(exact, count)
    for split in range(len(quota)):
        if quota[split] == 0 and count >= len(quota):
            quota[int(quota.argmax())] -= 1
            quota[split] = 1
    return quota


def _ranks(keys: NDArray[np.object_], seed: int) -> NDArray[np.uint64]:
    """A number per group that looks random: the first 64 bits of a sha256 of seed and key."""
    start = f"{seed}\0".encode()
    digests = b"".join([hashlib.sha256(start + key.encode()).digest()[:8] for key in keys])
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _require_every_split(groups: _SplitGroups, split: Integers, labels: NDArray[np.object_]) -> None:
    """A class must reach every split that could be drawn for it."""
    missing = np.zeros((len(labels), len(SPLITS)), bool)
    for number in range(len(SPLITS)):
        may_go_there = (groups.open & (groups.open - 1) > 0) & (groups.open >> number & 1 > 0)
        missing[groups.label[may_go_there], number] = True
    missing[groups.label, split] = False
    for label, number in np.argwhere(missing):
        mine = groups.label == label
        count, distinct = int(groups.size[mine].sum()), int(mine.sum())
        raise DataError(
            f"class {labels[label]!r} has {count} image{'s' * (count != 1)} ({distinct} after grouping "
            f"duplicates), too few to give {SPLITS[number]} one: add images or remove the class"
        )
