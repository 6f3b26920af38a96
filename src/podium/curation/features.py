"""A bounded draw of train and val images, as numbers that cheap models can be fitted on.

Rule: test images are refused. The draw takes the images of each class with the smallest ids (ids are hashes, so it is
as good as random) and is the same whatever order the rows come in. Depends on OpenCV and scikit-image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.feature import hog

from podium.core.errors import DataError
from podium.data.shards import PreparedSplit
from podium.records.profile import MEASURES

MOST_IMAGES = 20_000
"""Drawn in all, which bounds the time of everything fitted on them: some 20 s of features at 64 pixels."""

_COLUMNS = ["image_id", "path", "split", "label", "source", "split_group"]
_AT_ONCE = 256  # images read from the shards
_COLOUR_SIDE = 8  # pixels of the picture that stands for layout and colour
_SHAPE_SIDE = 32  # pixels of the picture whose gradients are counted
_HUES, _SATURATIONS = 12, 4  # bins of the colour histogram
_ALONG, _ACROSS = 16, 2  # cells of each side of the border
_ASPECTS = np.linspace(-np.log(4), np.log(4), 25)  # logarithms of the aspect ratios that others are held against

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Drawn:
    """Some images of train and val, row i of everything being one image.

    Attributes:
        rows: `image_id path split label source split_group`, sorted by `image_id`.
        looks: what the whole picture looks like, shape (N, D): colours of 8 x 8 cells, histogram of hue and
            saturation, histograms of oriented gradients (Dalal & Triggs, 2005), and its measures.
        mirrored: the same of the picture flipped left to right.
        borders: colours of the outermost pixels, shape (N, B).
        aspect: how near width / height of the original is to each of some values, shape (N, A).
        border: pixels of the border.
    """

    rows: pd.DataFrame
    looks: Features
    mirrored: Features
    borders: Features
    aspect: Features
    border: int


def draw(
    splits: Sequence[PreparedSplit],
    manifest: pd.DataFrame,
    measures: pd.DataFrame,
    *,
    border: int = 8,
    images_per_class: int = 1000,
) -> Drawn:
    """Draws images and turns them into features.

    Args:
        splits: train and val, opened for fitting.
        manifest: at least `image_id source split_group width height`.
        measures: `image_id` and a column per key of `MEASURES`.
        border: pixels, of the prepared image; at most half its side is used.
        images_per_class: the most images of one class; fewer where all classes together had more than `MOST_IMAGES`.

    Returns:
        The draw.

    Raises:
        DataError: a split is the test split, or an image is in a split but not in the manifest or the measures.
    """
    if any(split.name == "test" for split in splits):
        raise DataError("the test split is not open to probes: only train and val are")
    chosen = _chosen(splits, images_per_class)
    known = manifest[["image_id", "source", "split_group", "width", "height"]]
    rows = chosen.merge(known, on="image_id", how="left", validate="one_to_one")
    numbers = rows[["image_id"]].merge(measures[["image_id", *MEASURES]], on="image_id", how="left")
    if rows["split_group"].isna().any() or numbers["brightness"].isna().any():
        raise DataError("the splits hold images that the manifest or the measures lack: run `dvc repro -f preprocess`")
    border = min(border, splits[0].preprocessing.image_size // 2)
    looks, mirrored, borders = [], [], []
    for pixels in _pixels(splits, rows):
        for picture in pixels:
            flipped = np.ascontiguousarray(picture[:, ::-1])
            looks.append(_look(picture))
            mirrored.append(_look(flipped))
            borders.append(_border(picture, border))
    measured = numbers[list(MEASURES)].to_numpy(np.float32)
    return Drawn(
        rows=rows[_COLUMNS],
        looks=np.hstack([np.stack(looks), measured]),
        mirrored=np.hstack([np.stack(mirrored), measured]),
        borders=np.stack(borders),
        aspect=_aspect(rows["width"].to_numpy(np.float64) / rows["height"].to_numpy(np.float64)),
        border=border,
    )


def _chosen(splits: Sequence[PreparedSplit], images_per_class: int) -> pd.DataFrame:
    """`image_id path label split at`, sorted by `image_id`; `at` is the row within the split."""
    parts = [
        split.index[["image_id", "path", "label"]].assign(split=split.name, at=np.arange(len(split)))
        for split in splits
    ]
    rows = pd.concat(parts).sort_values("image_id")
    most = max(1, min(images_per_class, MOST_IMAGES // max(1, rows["label"].nunique())))
    return rows.groupby("label", sort=False).head(most).reset_index(drop=True)


def _pixels(splits: Sequence[PreparedSplit], rows: pd.DataFrame) -> Iterator[NDArray[np.uint8]]:
    """Pixels of the rows, some at a time, in their order."""
    for start in range(0, len(rows), _AT_ONCE):
        part = rows.iloc[start : start + _AT_ONCE]
        out: NDArray[np.uint8] | None = None
        for split in splits:
            mine = (part["split"] == split.name).to_numpy()
            if mine.any():
                pixels = split.images(part.loc[mine, "at"].to_numpy(np.int64))
                out = np.empty((len(part), *pixels.shape[1:]), np.uint8) if out is None else out
                out[mine] = pixels
        if out is not None:
            yield out


def _look(picture: NDArray[np.uint8]) -> Features:
    """One picture as numbers: colours of coarse cells, statistics of colour, and its shape (HOG)."""
    cells = cv2.resize(picture, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grey = cv2.resize(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (_SHAPE_SIDE, _SHAPE_SIDE), interpolation=cv2.INTER_AREA
    )
    shape = hog(grey, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    return np.concatenate([cells.ravel(), _colours(picture), shape.astype(np.float32)])


def _colours(pixels: NDArray[np.uint8]) -> Features:
    """Square roots of the shares of hues and saturations."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1], None, [_HUES, _SATURATIONS], [0, 180, 0, 256])
    shares: Features = np.sqrt(counts.ravel() / (pixels.shape[0] * pixels.shape[1])).astype(np.float32)
    return shares


def _border(picture: NDArray[np.uint8], width: int) -> Features:
    """Mean colours of cells along the four sides, and the colours of all of the border."""
    upright = np.ascontiguousarray(picture.transpose(1, 0, 2))
    strips = [side for way in (picture, upright) for side in (way[:width], way[-width:])]
    cells = [cv2.resize(strip, (_ALONG, _ACROSS), interpolation=cv2.INTER_AREA) for strip in strips]
    colours = _colours(np.ascontiguousarray(np.concatenate(strips)))
    return np.concatenate([np.concatenate(cells).ravel().astype(np.float32) / 255, colours])


def _aspect(ratio: NDArray[np.float64]) -> Features:
    """Gaussian bumps on the logarithm, so that a linear model can tell tall, square and wide classes apart."""
    width = _ASPECTS[1] - _ASPECTS[0]
    logarithm = np.clip(np.log(ratio), _ASPECTS[0], _ASPECTS[-1])
    bumps: Features = np.exp(-0.5 * ((logarithm[:, None] - _ASPECTS) / width) ** 2).astype(np.float32)
    return bumps
