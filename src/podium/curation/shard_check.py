"""What the shards themselves say of splits and leaks, whatever the manifest says.

Rule: nothing that `preprocess` concluded is taken for granted. Who is in train and val is read from those folders,
pixels are hashed anew, groups are joined anew from the photographs and the digests, and near copies between train and
val are looked for by another measure than the one that formed the groups: the correlation of small grey pictures under
the eight symmetries of a square, and their structural similarity (Wang and others, "Image quality assessment", IEEE TIP
2004). Of large splits, an even sample is looked for. Of test, whose pixels only `evaluate` opens, the manifest's
digests are compared.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.curation.splits import join_split_groups
from podium.data.shards import PreparedSplit

LARGEST_SAMPLE = 2000
"""Images of val that are looked for in train; of train at most ten times as many are looked at."""

_SIDE = 32  # pixels of the small pictures
_COARSE = 16  # pixels of those that are compared under all symmetries
_LEAST_COARSE, _LEAST = 0.96, 0.985  # correlation; of 8,000 pairs of different drawn pictures the best has 0.969
_LEAST_STRUCTURE = 0.8
_LEAST_DEVIATION = 4.0  # grey levels; below, a picture is flat and like nothing
_AT_ONCE = 64  # images
_QUERIES = 256


@dataclass(frozen=True)
class ShardCheck:
    """Paths of images that are not what the manifest says, sorted, and pairs of near copies in train and val."""

    other_split: list[str] = field(default_factory=list)
    other_pixels: list[str] = field(default_factory=list)
    other_group: list[str] = field(default_factory=list)
    same_pixels: list[str] = field(default_factory=list)
    near_copies: list[tuple[str, str]] = field(default_factory=list)
    compared: int = 0


def check_shards(manifest: pd.DataFrame, splits: Sequence[PreparedSplit]) -> ShardCheck:
    """Reads train and val once and compares them with a manifest without holes.

    Args:
        manifest: of all splits.
        splits: train and val, opened for fitting.
    """
    known = manifest.set_index("image_id")
    path, said = known["path"], known["prepared_sha256"]
    inside = {split.name: split.index["image_id"].astype(str) for split in splits}
    found = pd.Series({id: name for name, ids in inside.items() for id in ids}, dtype=object)
    wrong = [id for id in found.index if id not in known.index or known["split"][id] != found[id]]
    absent = known.index[known["split"].isin(list(inside)) & ~known.index.isin(found.index)]
    digests, small = _read(splits)
    actual = pd.Series(digests, found.index, dtype=object)
    both = found.index.intersection(known.index)
    swapped = both[(actual[both] != said[both]).to_numpy()]
    everywhere = said.copy()
    everywhere[both] = actual[both]
    sides = known["split"].copy()
    sides[both] = found[both]
    flat = set(actual[small.std((1, 2)) < _LEAST_DEVIATION])
    twice = everywhere[(sides.groupby(everywhere).transform("nunique") > 1) & ~everywhere.isin(flat)].index
    first, second = (small[found.to_numpy() == split.name] for split in splits)
    copies, compared = _near_copies(first, second)
    names = [_paths(inside[split.name], path) for split in splits]
    return ShardCheck(
        other_split=sorted({*_paths(wrong, path), *_paths(absent, path)}),
        other_pixels=sorted(_paths(swapped, path)),
        other_group=sorted(_wrong_groups(manifest)),
        same_pixels=sorted(_paths(twice, path)),
        near_copies=sorted((names[0][one], names[1][other]) for one, other in copies),
        compared=compared,
    )


def _paths(ids: Sequence[str] | pd.Series | pd.Index, path: pd.Series) -> list[str]:
    """Paths of images; an image that the manifest does not know is told by its key."""
    return [str(path.get(id, id)) for id in ids]


def _wrong_groups(manifest: pd.DataFrame) -> list[str]:
    """Images that photographs, files, pixels and duplicates join across split groups or across splits.

    The same pixels count as duplicates here whatever `duplicate_group` says. A group may hold more than is joined here:
    `duplicates: drop_from_train` leaves out the image that joined the others.
    """
    first_of_pixels = manifest.groupby("sha256")["image_id"].transform("min")
    joined = (
        pd.Series(np.arange(len(manifest)), manifest.index)
        .groupby([manifest["source"], manifest["path"]])
        .transform("min")
    )
    wrong = pd.Series(data=False, index=manifest.index)
    for duplicates in (manifest["duplicate_group"], first_of_pixels):
        anew = join_split_groups(manifest.assign(photo_id=joined, duplicate_group=duplicates))
        for column in ("split_group", "split"):
            wrong |= manifest.groupby(anew)[column].transform("nunique") > 1
    return [str(one) for one in manifest.loc[wrong, "path"]]


def _read(splits: Sequence[PreparedSplit]) -> tuple[list[str], NDArray[np.float32]]:
    """Digest and small grey picture of every image: float32, shape (N, _SIDE, _SIDE), in the order of the splits."""
    digests, small = list[str](), list[NDArray[np.float32]]()
    for split in splits:
        for images in _batches(split):
            digests += [hashlib.sha256(image.data).hexdigest() for image in images]
            small += [_shrink(image) for image in images]
    return digests, np.stack(small) if small else np.empty((0, _SIDE, _SIDE), np.float32)


def _batches(split: PreparedSplit) -> Iterator[NDArray[np.uint8]]:
    """The images of a split in their order."""
    for start in range(0, len(split), _AT_ONCE):
        yield split.images(np.arange(start, min(start + _AT_ONCE, len(split))))


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The grey content of a square, without the even border that fills it up."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    other = grey != grey[0, 0]
    rows, columns = np.nonzero(other.any(1))[0], np.nonzero(other.any(0))[0]
    if len(rows):
        grey = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _near_copies(train: NDArray[np.float32], val: NDArray[np.float32]) -> tuple[list[tuple[int, int]], int]:
    """Rows of train and val that show the same, and how many of val were looked at."""
    of_val = np.arange(0, len(val), -(-max(len(val), 1) // LARGEST_SAMPLE))
    of_train = np.arange(0, len(train), -(-max(len(train), 1) // (10 * LARGEST_SAMPLE)))
    if not len(of_val) or not len(of_train):
        return [], 0
    columns = _unit(_halve(train[of_train])).T
    found: set[tuple[int, int]] = set()
    for start in range(0, len(of_val), _QUERIES):
        rows = of_val[start : start + _QUERIES]
        for turn in range(8):
            queries = np.rot90(val[rows], turn % 4, (1, 2))
            queries = queries[:, :, ::-1] if turn > 3 else queries
            alike = _unit(_halve(queries)) @ columns
            for query, column in np.argwhere(alike >= _LEAST_COARSE):
                if _is_copy(train[of_train[column]], queries[query]):
                    found.add((int(of_train[column]), int(rows[query])))
    return sorted(found), len(of_val)


def _halve(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels."""
    return np.asarray(pictures.reshape(-1, _COARSE, 2, _COARSE, 2).mean((2, 4)))


def _unit(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each as a row without its mean, of length 1, or 0 where it is flat."""
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = length < _LEAST_DEVIATION * rows.shape[1] ** 0.5
    return np.where(flat, 0, rows / np.maximum(length, 1)).astype(np.float32)


def _is_copy(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two small pictures are the same but for their files."""
    from skimage.metrics import structural_similarity

    correlation = float((_unit(one[None]) * _unit(other[None])).sum())
    return correlation >= _LEAST and structural_similarity(one, other, data_range=255) >= _LEAST_STRUCTURE
