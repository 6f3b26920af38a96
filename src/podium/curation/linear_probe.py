"""A linear probe on a bounded draw of train and val images: what can be told of images it was not fitted on.

Rule: test images are refused. The draw takes the images of each class with the smallest ids (ids are hashes, so it is
as good as random) and is the same whatever order the rows come in. Linear discriminant analysis with the shrinkage of
Ledoit & Wolf (2004) has a closed form, so nothing is tuned and the same features give the same numbers; it runs on one
thread, because sums on several differ. Images of one group (duplicates, crops of a photograph) are in the same fold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from skimage.feature import hog
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from podium.core.errors import DataError
from podium.data.manifest import MEASURES
from podium.data.shards import PreparedSplit
from podium.records.base import ParquetTable

MOST_IMAGES = 20_000
"""Images in all, which bounds the time of everything fitted on them: some 20 s of features at 64 pixels."""

_COLUMNS = ["image_id", "path", "split", "label", "source", "split_group"]
_AT_ONCE = 256  # images read from the shards
_COLOUR_SIDE = 8  # pixels of the picture that stands for layout and colour
_SHAPE_SIDE = 32  # pixels of the picture whose gradients are counted
_HUES, _SATURATIONS = 12, 4  # bins of the colour histogram
_ALONG, _ACROSS = 16, 2  # cells of each side of the border
_ASPECTS = np.linspace(-np.log(4), np.log(4), 25)  # logarithms of the aspect ratios that others are held against

LEAST_PICTURES = 5
"""Different pictures that a class must have (or as many as there are folds) to be judged."""

_RIDGE = 1e-4  # of the variance of a feature over all images, which is 1

Features = NDArray[np.float32]


@dataclass(frozen=True)
class ProbeImages:
    """Some images of train and val, row i of everything being one image.

    Attributes:
        rows: `image_id path split label source split_group`, sorted by `image_id`.
        appearance: what the whole picture looks like, shape (N, D): colours of 8 x 8 cells, histogram of hue and
            saturation, histograms of oriented gradients (Dalal & Triggs, 2005), and its measures.
        mirrored: the same of the picture flipped left to right.
        borders: colours of the outermost pixels, shape (N, B).
        aspect: how near width / height of the original is to each of some values, shape (N, A).
        border: pixels of the border.
    """

    rows: pd.DataFrame
    appearance: Features
    mirrored: Features
    borders: Features
    aspect: Features
    border: int


def draw_images(
    splits: Sequence[PreparedSplit],
    manifest: pd.DataFrame | ParquetTable,
    measures: pd.DataFrame | ParquetTable,
    *,
    border: int = 8,
    images_per_class: int = 1000,
) -> ProbeImages:
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
    chosen = _choose(splits, images_per_class)
    known = manifest[["image_id", "source", "split_group", "width", "height"]]
    known = known[known["image_id"].isin(chosen["image_id"])]
    rows = chosen.merge(known, on="image_id", how="left", validate="one_to_one")
    there = measures[["image_id"]]["image_id"].isin(rows["image_id"])
    measured = pd.DataFrame({name: measures[[name]].loc[there, name] for name in ("image_id", *MEASURES)})
    numbers = rows[["image_id"]].merge(measured, on="image_id", how="left")
    if rows["split_group"].isna().any() or numbers["brightness"].isna().any():
        raise DataError("the splits hold images that the manifest or the measures lack: run `dvc repro -f preprocess`")
    border = min(border, splits[0].preprocessing.image_size // 2)
    appearance, mirrored, borders = [], [], []
    for picture in _pictures(splits, rows):
        appearance.append(describe(picture))
        mirrored.append(describe(np.ascontiguousarray(picture[:, ::-1])))
        borders.append(_border_colours(picture, border))
    values = numbers[list(MEASURES)].to_numpy(np.float32)
    return ProbeImages(
        rows=rows[_COLUMNS],
        appearance=np.hstack([np.stack(appearance), values]),
        mirrored=np.hstack([np.stack(mirrored), values]),
        borders=np.stack(borders),
        aspect=_aspect_bumps(rows["width"].to_numpy(np.float64) / rows["height"].to_numpy(np.float64)),
        border=border,
    )


def _choose(splits: Sequence[PreparedSplit], images_per_class: int) -> pd.DataFrame:
    """`image_id path label split at`, sorted by `image_id`; `at` is the row within the split."""
    parts = [
        split.index[["image_id", "path", "label"]].assign(split=split.name, at=np.arange(len(split)))
        for split in splits
    ]
    rows = pd.concat(parts).sort_values("image_id")
    most = max(1, min(images_per_class, MOST_IMAGES // max(1, rows["label"].nunique())))
    return rows.groupby("label", sort=False).head(most).reset_index(drop=True)


def _pictures(splits: Sequence[PreparedSplit], rows: pd.DataFrame) -> Iterator[NDArray[np.uint8]]:
    """Pixels of each row, in their order; read some at a time."""
    for start in range(0, len(rows), _AT_ONCE):
        part = rows.iloc[start : start + _AT_ONCE]
        read: dict[int, NDArray[np.uint8]] = {}
        for split in splits:
            mine = part.loc[part["split"] == split.name, "at"]
            read.update(zip(mine.index, split.images(mine.to_numpy(np.int64)), strict=True))
        yield from (read[row] for row in part.index)


def describe(picture: NDArray[np.uint8]) -> Features:
    """One picture as numbers: colours of coarse cells, statistics of colour, and its shape (HOG).

    Args:
        picture: RGB, uint8, shape (H, W, 3).
    """
    cells = cv2.resize(picture, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grey = cv2.resize(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (_SHAPE_SIDE, _SHAPE_SIDE), interpolation=cv2.INTER_AREA
    )
    shape = hog(grey, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    return np.concatenate([cells.ravel(), _colour_histogram(picture), shape.astype(np.float32)])


def _colour_histogram(pixels: NDArray[np.uint8]) -> Features:
    """Square roots of the shares of hues and saturations."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1], None, [_HUES, _SATURATIONS], [0, 180, 0, 256])
    shares: Features = np.sqrt(counts.ravel() / (pixels.shape[0] * pixels.shape[1])).astype(np.float32)
    return shares


def _border_colours(picture: NDArray[np.uint8], width: int) -> Features:
    """Mean colours of cells along the four sides, and the colours of all of the border."""
    upright = np.ascontiguousarray(picture.transpose(1, 0, 2))
    strips = [side for way in (picture, upright) for side in (way[:width], way[-width:])]
    cells = [cv2.resize(strip, (_ALONG, _ACROSS), interpolation=cv2.INTER_AREA) for strip in strips]
    colours = _colour_histogram(np.ascontiguousarray(np.concatenate(strips)))
    return np.concatenate([np.concatenate(cells).ravel().astype(np.float32) / 255, colours])


def _aspect_bumps(ratio: NDArray[np.float64]) -> Features:
    """Gaussian bumps on the logarithm, so that a linear model can tell tall, square and wide classes apart."""
    width = _ASPECTS[1] - _ASPECTS[0]
    logarithm = np.clip(np.log(ratio), _ASPECTS[0], _ASPECTS[-1])
    bumps: Features = np.exp(-0.5 * ((logarithm[:, None] - _ASPECTS) / width) ** 2).astype(np.float32)
    return bumps


@dataclass(frozen=True)
class CrossValidated:
    """What the classifier said of images it had not seen.

    Attributes:
        rows: which rows were judged, shape (N,).
        names: the classes, sorted.
        codes: the given class of each row, shape (N,).
        probabilities: shape (N, C), rows sum to 1.
    """

    rows: NDArray[np.int64]
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def cross_validate(
    features: Features,
    given: pd.Series,
    groups: pd.Series,
    *,
    folds: int,
    seed: int,
    mirrored: Features | None = None,
    equal_priors: bool = False,
) -> CrossValidated | None:
    """Predicts each image with a model fitted on the other folds.

    Args:
        features: shape (N, D).
        given: the class of each row.
        groups: rows of one group share a fold; the rows come in the order of their primary key.
        folds: how many.
        seed: of the folds.
        mirrored: features of the mirrored pictures: fitted on as well, and their predictions averaged in.
        equal_priors: whether each class is as likely as any other, whatever its number of images.

    Returns:
        What was predicted, with calibrated probabilities; nothing when fewer than two classes have enough pictures.
    """
    first = ~groups.duplicated()
    pictures = given[first].value_counts()
    names = tuple(sorted(pictures[pictures >= max(folds, LEAST_PICTURES)].index))
    if len(names) < 2:
        return None
    rows = np.flatnonzero(given.isin(names) & groups.isin(groups[first & given.isin(names)]))
    codes = given.iloc[rows].map({name: code for code, name in enumerate(names)}).to_numpy(np.int64)
    fold = _folds(codes, groups.iloc[rows].to_numpy(str), folds, seed)
    priors = np.full(len(names), 1 / len(names)) if equal_priors else None
    views = [features[rows]] if mirrored is None else [features[rows], mirrored[rows]]
    logarithms = np.zeros((len(rows), len(names)))
    with threadpool_limits(1):
        for number in range(folds):
            held = fold == number
            model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_Shrinkage(), priors=priors)
            scale = StandardScaler()
            seen = scale.fit_transform(np.vstack([view[~held] for view in views]).astype(np.float64))
            model.fit(seen, np.tile(codes[~held], len(views)))
            for view in views:
                logarithms[held] += model.predict_log_proba(scale.transform(view[held])) / len(views)
        probabilities = _calibrate(logarithms, codes)
    return CrossValidated(rows, names, codes, probabilities)


class _Shrinkage:
    """Ledoit & Wolf's covariance, of features on one scale as in scikit-learn's own shrinkage of this model.

    There is a little more on the diagonal, so that features which are constant in every class stay usable.
    """

    def fit(self, features: NDArray[np.float64]) -> Self:
        """Estimates the covariance, in the features' own units."""
        deviations = features.std(axis=0)
        scale = np.where(deviations > 0, deviations, 1.0)
        shrunk, _ = ledoit_wolf(features / scale)
        self.covariance_ = scale[:, None] * shrunk * scale + _RIDGE * np.eye(features.shape[1])
        return self


def _folds(codes: NDArray[np.int64], groups: NDArray[np.str_], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each row: stratified over the first of each group, which the others follow."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    of_group = np.empty(len(first), dtype=np.int64)
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(cut.split(first, codes[first])):
        of_group[held] = number
    chosen: NDArray[np.int64] = of_group[group]
    return chosen


def _calibrate(logarithms: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities at the temperature with the least log loss (Guo et al., On calibration of neural networks, 2017).

    Discriminant analysis takes features for normal and is far too sure of itself; one number for all images mends it.
    """

    def at(exponent: float) -> NDArray[np.float64]:
        """Probabilities at the temperature e ** exponent: float64, shape (N, classes)."""
        shares: NDArray[np.float64] = softmax(np.maximum(logarithms, -1e6) / np.exp(exponent), axis=1)
        return shares

    def loss(exponent: float) -> float:
        """Mean log loss in nats."""
        return float(-np.log(np.maximum(at(exponent)[np.arange(len(codes)), codes], 1e-12)).mean())

    return at(minimize_scalar(loss, bounds=(-3, 5), method="bounded").x)
