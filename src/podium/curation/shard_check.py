"""What the shards of train and val themselves say of splits and leaks, whatever the manifest says.

Rule: nothing that `preprocess` concluded is taken for granted. Who is in train and val is read from those folders,
pixels are hashed anew, groups are joined anew from the photographs and the digests, and near copies between train and
val are looked for by another measure than the one that formed the groups: how the fine detail of small grey pictures
correlates, under the eight symmetries of a square. Coarse shapes do not count, since pictures of one kind (digits on
black) share them. What has no detail to compare, being small, is not compared; of large splits an even sample is.
Of test, whose pixels only `evaluate` opens, the manifest's digests are compared.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.curation.splits import join_split_groups
from podium.data.shards import PreparedSplit

CHECKED_COLUMNS = (
    *("image_id", "photo_id", "photo_sha256", "path", "source", "label", "split", "keep_together"),
    *("sha256", "prepared_sha256", "width", "height", "duplicate_group", "split_group"),
)
"""What is looked at of the manifest."""
LARGEST_SAMPLE = 2000
"""Images of val that are looked for in train; of train at most ten times as many are looked at."""

_SIDE = 32  # pixels of the small pictures; of a smaller original they would show nothing finer than it has
_SIGMA = 2.0  # pixels of the blur that is taken away; what is left is detail
_LEAST_DETAIL = 3.0  # grey levels, standard deviation; a picture with less is like nothing
_LEAST = 0.97  # correlation; of different pictures at most 0.96 (digits), 0.90 (drawn), 0.80 (flowers), 0.75 (CIFAR-10)
_LEAST_CONTRAST = 4.0  # grey levels, standard deviation; below, a picture is flat and the same as others by chance
_AT_ONCE, _QUERIES = 64, 256  # images


@dataclass(frozen=True)
class ShardCheck:
    """Paths of images that are not what the manifest says, sorted, and pairs of near copies in train and val.

    Of val, `compared` images were looked for in train, and `without_detail` were too small or too plain for that.
    """

    other_split: list[str] = field(default_factory=list)
    other_pixels: list[str] = field(default_factory=list)
    other_label: list[str] = field(default_factory=list)
    other_group: list[str] = field(default_factory=list)
    same_pixels: list[str] = field(default_factory=list)
    near_copies: list[tuple[str, str]] = field(default_factory=list)
    compared: int = 0
    without_detail: int = 0


def check_shards(manifest: pd.DataFrame, splits: Sequence[PreparedSplit]) -> ShardCheck:
    """Reads train and val once and compares them with a manifest without holes.

    Args:
        manifest: `CHECKED_COLUMNS` of all splits.
        splits: train and val, opened for fitting.
    """
    known = manifest.set_index("image_id")
    path, digest, side = known["path"], known["prepared_sha256"].copy(), known["split"].copy()
    inside = {split.name: split.index["image_id"].astype(str) for split in splits}
    found = pd.Series({id: name for name, ids in inside.items() for id in ids}, dtype=object)
    absent = known.index[side.isin(list(inside)) & ~known.index.isin(found.index)]
    wrong = [id for id in found.index if side.get(id) != found[id]]
    large = known.index[known[["width", "height"]].min(axis=1) >= _SIDE]
    first, second = (_read(split, ids.isin(large)) for split, ids in zip(splits, inside.values(), strict=True))
    actual = pd.Series([*first.digests, *second.digests], found.index, dtype=object)
    both = found.index.intersection(known.index)
    swapped = both[(actual[both] != digest[both]).to_numpy()]
    labels = pd.Series([split.classes[code] for split in splits for code in split.labels], found.index, dtype=object)
    mislabelled = both[(labels[both] != known["label"][both]).to_numpy()]
    digest[both], side[both] = actual[both], found[both]
    twice = (side.groupby(digest).transform("nunique") > 1) & ~digest.isin(first.flat | second.flat)
    names = [_paths(ids, path) for ids in inside.values()]
    return ShardCheck(
        other_split=sorted({*_paths(wrong, path), *_paths(absent, path)}),
        other_pixels=sorted(_paths(swapped, path)),
        other_label=sorted(_paths(mislabelled, path)),
        other_group=sorted(_wrong_groups(manifest)),
        same_pixels=sorted(_paths(digest.index[twice], path)),
        near_copies=[(names[0][one], names[1][other]) for one, other in _near_copies(first, second)],
        compared=min(len(second.rows), LARGEST_SAMPLE) if len(first.rows) else 0,
        without_detail=len(names[1]) - len(second.rows),
    )


def _paths(ids: Iterable[str], path: pd.Series) -> list[str]:
    """Paths of images; an image that the manifest does not know is told by its key."""
    return [str(path.get(id, id)) for id in ids]


def _wrong_groups(manifest: pd.DataFrame) -> list[str]:
    """Images that photographs, files, pixels and duplicates join across split groups or across splits.

    The same pixels count as duplicates here whatever `duplicate_group` says. A group may hold more than is joined here:
    `duplicates: drop_from_train` leaves out the image that joined the others.
    """
    first_of_pixels = manifest.groupby("sha256")["image_id"].transform("min")
    photo = manifest.groupby(["source", "path"]).ngroup()
    wrong = pd.Series(data=False, index=manifest.index)
    for duplicates in (manifest["duplicate_group"], first_of_pixels):
        anew = join_split_groups(manifest.assign(photo_id=photo, duplicate_group=duplicates))
        for column in ("split_group", "split"):
            wrong |= manifest.groupby(anew)[column].transform("nunique") > 1
    return [str(one) for one in manifest.loc[wrong, "path"]]


@dataclass(frozen=True)
class _Read:
    """What was read of a split: the digest of every image, those of flat ones, and the images that have detail.

    `rows` are the numbers of the latter, `grey` their pictures, uint8, shape (N, _SIDE, _SIDE).
    """

    digests: list[str]
    flat: set[str]
    rows: NDArray[np.int64]
    grey: NDArray[np.uint8]


def _read(split: PreparedSplit, large: pd.Series) -> _Read:
    """Reads a split; only `large` originals, at a size that shows it, are said to have detail."""
    digests, flat, rows, grey = list[str](), set[str](), list[int](), [np.empty((0, _SIDE, _SIDE), np.uint8)]
    shown = large.to_numpy() & (split.preprocessing.image_size >= _SIDE)
    for start in range(0, len(split), _AT_ONCE):
        for row, image in enumerate(split.images(np.arange(start, min(start + _AT_ONCE, len(split)))), start):
            digests.append(hashlib.sha256(image.data).hexdigest())
            small = _shrink(image)
            if small.std() < _LEAST_CONTRAST:
                flat.add(digests[-1])
            if shown[row] and _detail(small).std() >= _LEAST_DETAIL:
                rows.append(row)
                grey.append(small[None])
    return _Read(digests, flat, np.array(rows, np.int64), np.concatenate(grey))


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey content of a square, without the even border that fills it up."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    other = grey != grey[0, 0]
    rows, columns = np.nonzero(other.any(1))[0], np.nonzero(other.any(0))[0]
    if len(rows):
        grey = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _detail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a blur takes away from a picture."""
    picture = grey.astype(np.float32)
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), _SIGMA), np.float32)


def _near_copies(train: _Read, val: _Read) -> list[tuple[int, int]]:
    """Row numbers in train and val of pictures that show the same."""
    of_train, of_val = (
        np.arange(0, len(read.rows), -(-max(len(read.rows), 1) // most))
        for read, most in ((train, 10 * LARGEST_SAMPLE), (val, LARGEST_SAMPLE))
    )
    columns = _unit(train.grey[of_train]).T
    found: set[tuple[int, int]] = set()
    for start in range(0, len(of_val), _QUERIES):
        some = of_val[start : start + _QUERIES]
        upright = val.grey[some]
        for picture in (upright, upright[:, :, ::-1]):
            for turns in range(4):
                alike = _unit(np.rot90(picture, turns, (1, 2))) @ columns
                for query, column in np.argwhere(alike >= _LEAST):
                    found.add((int(train.rows[of_train[column]]), int(val.rows[some[query]])))
    return sorted(found)


def _unit(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The detail of each as a row of length 1 without its mean: products of two are correlations."""
    rows = np.array([_detail(one).ravel() for one in pictures], np.float32).reshape(-1, _SIDE**2)
    rows -= rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
