"""Which image goes to train, val or test: groups stay whole, and what was held out once stays so.

- A group is what must stay on one side: duplicates, the crops of one photograph or of files with the same bytes, what
  `dataset.keep_together` joins, and what these connect in turn.
- Every image draws its split by itself, as a pure function of its content and `split_seed`: of the bytes of its
  photograph, or of the value that keeps it together with others. A group takes the most protected split that one of its
  images drew or was given: test before val before train. So nothing that is added moves a test image elsewhere, and
  what an image, a folder or a source is called does not count.
- A split the source gives is kept. What a source lacks is drawn from its train images: val with val / (train + val),
  test with test / (train + test), both with the plain shares where it only has train, or none.

The price: shares hold on average. With a share t for test, n t of n images come to test, give or take the square root
of n t (1 - t), and a group of k photographs with 1 - (1 - t)^k instead of t. No rule without memory keeps images where
they are and gives each class a fixed number too. So a class that a split would be without gets what drew nearest to it,
which is said, since that may change when images come.

Rows are never looped over, and groups only in classes that fill a split.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from podium.config.base import SPLITS, Split
from podium.config.preprocess import Preprocess
from podium.core.errors import DataError

_TRAIN, _VAL, _TEST = range(3)  # in the order of protection, and of SPLITS
_ALL = 0b111  # a set of splits as bits: 1 << _TRAIN and so on
_GIVEN = {"": -1, "train": _TRAIN, "val": _VAL, "test": _TEST}
_SEEDS_TRIED, _ROWS_TRIED = 500, 20_000_000  # at most, to propose one

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Assignment:
    """Where images go, per row with the index of the images.

    Attributes:
        split: `train`, `val` or `test`.
        left_out: copies of held-out images that `duplicates: drop_from_train` leaves out.
        filled: by class, the splits that no image of it had drawn, so that the nearest ones were taken.
    """

    split: pd.Series
    left_out: pd.Series
    filled: dict[str, list[Split]]


def join_split_groups(images: pd.DataFrame) -> pd.Series:
    """Joins what must stay on one side.

    Takes the columns `image_id photo_id photo_sha256 duplicate_group source keep_together`, of which the last holds
    within a source, where it is not empty; gives per row, same index, the lowest `image_id` among the images that
    these connect.
    """
    group, count = _codes(images["duplicate_group"])
    some = images["keep_together"] != ""
    kept = (images.loc[some, "source"] + "\0" + images.loc[some, "keep_together"]).reindex(images.index)
    for column in (images["photo_id"], images["photo_sha256"], kept):  # one at a time: of millions, codes are large too
        codes, keys = _codes(column)
        known = codes >= 0  # elsewhere there is nothing to keep together
        edges = (group[known], codes[known] + count)
        graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(count + keys, count + keys))
        _, component = connected_components(graph, directed=False)
        group = component[group]
        count += keys  # not more than that are left
    ids = images["image_id"]
    order = np.arange(len(ids)) if ids.is_monotonic_increasing else np.asarray(ids.argsort())
    first = np.full(count, len(ids))
    np.minimum.at(first, group[order], np.arange(len(ids)))
    return ids.take(order[first[group]]).set_axis(images.index).rename("split_group")


def _codes(column: pd.Series) -> tuple[NDArray[np.int32], int]:
    """A number for each distinct value, -1 for none, and how many there are."""
    codes, keys = pd.factorize(column)
    return codes.astype(np.int32), len(keys)


def assign_splits(images: pd.DataFrame, preprocess: Preprocess) -> Assignment:
    """Splits images.

    Args:
        images: columns `image_id source label source_split split_group photo_sha256 keep_together`, one row an image.
        preprocess: shares of images for train, val and test, the seed of the draw, what becomes of duplicates.

    Raises:
        DataError: a source gives test or val images but no train images; classes have too few images for a split
            that is drawn.
    """
    dataset = _Dataset.of(images, preprocess)
    position = dataset.position(preprocess.split_seed)
    split = dataset.draw(position)
    filled = _fill(dataset, split, position)
    of_row = split[dataset.group]
    left_out = dataset.published & (dataset.given != of_row)
    return Assignment(
        pd.Series(np.array(SPLITS, dtype=object)[of_row], images.index, name="split"),
        pd.Series(left_out, images.index, name="left_out"),
        filled,
    )


def propose_seed(images: pd.DataFrame, preprocess: Preprocess) -> tuple[list[str], int | None]:
    """Classes with less than half of their share of a split that was drawn, and a seed with which there are none.

    Args:
        images: as `assign_splits` takes them.
        preprocess: as there.

    Returns:
        The classes, sorted; and the first seed after `split_seed` that leaves no class so short, None where none of
        the next few hundred does.
    """
    dataset = _Dataset.of(images, preprocess)

    def short(seed: int) -> NDArray[np.bool_]:
        """Which classes are."""
        return dataset.falls_short(dataset.draw(dataset.position(seed)))

    now = short(preprocess.split_seed)
    if not now.any():
        return [], None
    better = next((seed for seed in _other_seeds(images, preprocess) if not short(seed).any()), None)
    return [str(label) for label in dataset.labels[now]], better


def propose_seed_for(minimum: int, images: pd.DataFrame, preprocess: Preprocess) -> tuple[int, int]:
    """A seed with which the smallest class has many images in every split.

    Args:
        minimum: images that are enough.
        images: as `assign_splits` takes them.
        preprocess: as there.

    Returns:
        The first seed after `split_seed` that gives every class so many images in every split, or the best of the next
        few hundred; and how many it gives at least.
    """
    dataset = _Dataset.of(images, preprocess)
    best = (preprocess.split_seed, 0)
    for seed in _other_seeds(images, preprocess):
        least = int(dataset.count(dataset.draw(dataset.position(seed))).min())
        if least > best[1]:
            best = (seed, least)
        if least >= minimum:
            break
    return best


def _other_seeds(images: pd.DataFrame, preprocess: Preprocess) -> range:
    """Seeds to try, fewer for many images."""
    first = preprocess.split_seed + 1
    return range(first, first + min(_SEEDS_TRIED, _ROWS_TRIED // len(images) + 1))


@dataclass(frozen=True)
class _Dataset:
    """What a draw is made of: codes per row (`group`, `label`, `given`, `open`, `state`, `published`), and per group.

    `given` is -1 where the source gives no split, `open` the splits a row may go to, as bits; of a group, those that
    all of its rows may go to. `state` are 64 bits of what a row draws with. `published` marks the rows of groups whose
    held-out images stay where the source put them.
    """

    group: Integers
    label: Integers
    given: Integers
    open: Integers
    state: NDArray[np.uint64]
    published: NDArray[np.bool_]
    fractions: NDArray[np.float64]
    labels: NDArray[np.object_]
    label_of: Integers
    size_of: Integers
    open_of: Integers

    @classmethod
    def of(cls, images: pd.DataFrame, preprocess: Preprocess) -> "_Dataset":
        """From the rows; see `assign_splits`."""
        group, keys = pd.factorize(images["split_group"])
        if not pd.Index(keys).is_monotonic_increasing:  # of images in order it is, since a group is named by its first
            group, keys = pd.factorize(images["split_group"], sort=True)
        label, labels = pd.factorize(images["label"], sort=True)
        given = np.asarray(images["source_split"].map(_GIVEN), np.int64)
        open_: Integers = _open_splits(images["source"], given)
        strongest = np.full(len(keys), -1, np.int64)
        np.maximum.at(strongest, group, given)
        published = (strongest[group] > _TRAIN) & (preprocess.duplicates == "drop_from_train")
        open_ = np.where(published, 1 << np.maximum(strongest[group], 0), open_)
        together, drawn_with = images["keep_together"] != "", images["photo_sha256"]
        if together.any():  # else it would be a copy
            drawn_with = drawn_with.mask(together, images["keep_together"])
        open_of = np.full(len(keys), _ALL, np.int64)
        np.bitwise_and.at(open_of, group, open_)
        return cls(
            group=group,
            label=np.asarray(label, np.int64),
            given=given,
            open=open_,
            state=_states(drawn_with),
            published=published,
            fractions=np.array([preprocess.train, preprocess.val, preprocess.test]),
            labels=np.asarray(labels, object),
            label_of=_most_frequent(group, label),
            size_of=np.bincount(group, minlength=len(keys)),
            open_of=open_of,
        )

    def position(self, seed: int) -> NDArray[np.float64]:
        """What each row draws, even over [0, 1): the lower, the more protected."""
        return _mix(self.state, seed)

    def draw(self, position: NDArray[np.float64]) -> Integers:
        """The split of each group: the most protected of its rows' own."""
        own = np.zeros(len(position), np.int64)
        for open_ in np.unique(self.open).tolist():
            splits = [split for split in (_TEST, _VAL, _TRAIN) if open_ >> split & 1]
            ends = np.cumsum(self.fractions[splits])
            rows = self.open == open_
            own[rows] = np.array(splits)[np.searchsorted(ends[:-1] / ends[-1], position[rows], side="right")]
        split_of = np.zeros(len(self.size_of), np.int64)
        np.maximum.at(split_of, self.group, own)
        return split_of

    @property
    def drawn(self) -> NDArray[np.bool_]:
        """Whether a split was drawn for a group, shape (groups, 3)."""
        several = self.open_of & (self.open_of - 1) > 0
        return np.asarray(several[:, None] & (self.open_of[:, None] >> np.arange(3) & 1 > 0))

    def count(self, split: Integers) -> Integers:
        """Images by class and split, shape (classes, 3)."""
        cells = np.bincount(self.label * 3 + split[self.group], minlength=3 * len(self.labels))
        return cells.reshape(-1, 3)

    def falls_short(self, split: Integers) -> NDArray[np.bool_]:
        """Whether a class has less than half of its share of a split that was drawn, and should have more than one."""
        expected = np.zeros((len(self.labels), 3))
        shares = self.drawn * self.fractions
        np.add.at(
            expected, self.label_of, shares / np.maximum(shares.sum(axis=1), 1e-9)[:, None] * self.size_of[:, None]
        )
        return np.asarray((np.maximum(self.count(split), 1) < expected / 2 - 1e-6).any(axis=1))


def _open_splits(sources: pd.Series, given: Integers) -> Integers:
    """The splits each row may go to, as bits.

    Raises:
        DataError: a source gives test or val images but no train images.
    """
    source, names = pd.factorize(sources, sort=True)
    gives = np.zeros(len(names), np.int64)
    np.bitwise_or.at(gives, source, np.where(given >= 0, 1 << np.maximum(given, 0), 0))
    for code in np.nonzero((gives > 0) & (gives & 1 << _TRAIN == 0))[0]:
        said = " and ".join(sorted(name for number, name in enumerate(SPLITS) if gives[code] >> number & 1))
        raise DataError(
            f"source {str(names[int(code)])!r} gives {said} images but no train images: add a train "
            "folder, or set dataset.splits to draw, so that all splits are drawn"
        )
    carved = (_ALL & ~gives[source]) | 1 << _TRAIN
    return np.asarray(np.select([given < 0, given == _TRAIN], [_ALL, carved], 1 << np.maximum(given, 0)))


def _states(keys: pd.Series) -> NDArray[np.uint64]:
    """The first 64 bits of a sha256 of each text."""
    digests = (hashlib.sha256(str(key).encode()).digest() for key in keys)
    return np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), np.uint64, len(keys))


def _mix(state: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """Numbers even over [0, 1), of 64-bit states and a seed: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    word = state + np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    return np.asarray((word >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _most_frequent(group: Integers, code: Integers) -> Integers:
    """Per group its most frequent code, the lowest of several."""
    span = int(code.max()) + 1
    pair, count = np.unique(group * span + code, return_counts=True)
    of_group, of_code = np.divmod(pair, span)
    order = np.lexsort((of_code, -count, of_group))
    first = order[np.unique(of_group[order], return_index=True)[1]]
    return np.asarray(of_code[first])


def _fill(dataset: _Dataset, split: Integers, position: NDArray[np.float64]) -> dict[str, list[Split]]:
    """Gives each class an image of every split that could be drawn for it: the group that drew nearest to it.

    `split` is changed; gives the splits that were filled, by class.

    Raises:
        DataError: classes have fewer groups than splits; all are named.
    """
    cells, may = np.zeros((2, len(dataset.labels), 3), np.int64)
    np.add.at(cells, (dataset.label_of, split), 1)
    np.add.at(may, dataset.label_of, dataset.drawn)
    missing = (may > 0) & (cells == 0)
    nearest = np.ones(len(split))
    np.minimum.at(nearest, dataset.group, position)
    filled: dict[str, list[Split]] = {}
    too_few: list[str] = []
    for label in np.nonzero(missing.any(axis=1))[0].tolist():
        mine = np.nonzero(dataset.label_of == label)[0]
        for number in (_TEST, _VAL, _TRAIN):
            free = mine[dataset.drawn[mine, number] & (cells[label, split[mine]] > 1)]
            if missing[label, number] and not len(free):
                count = int(dataset.size_of[mine].sum())
                images = f"{count} image{'s' * (count != 1)} ({len(mine)} after grouping duplicates)"
                too_few.append(
                    f"class {str(dataset.labels[label])!r} has {images}, too few to give {SPLITS[number]} one"
                )
                break
            if missing[label, number]:
                below = free[split[free] < number]
                chosen = below[nearest[below].argmin()] if len(below) else free[nearest[free].argmax()]
                cells[label, split[chosen]] -= 1
                cells[label, number] += 1
                split[chosen] = number
                filled.setdefault(str(dataset.labels[label]), []).append(SPLITS[number])
    if too_few:
        those = "class" if len(too_few) == 1 else "classes"
        raise DataError(f"{'; '.join(too_few)}: add images or remove the {those}")
    return filled
