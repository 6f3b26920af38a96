"""A cheap classifier, cross-validated: what can be told of images that it was not fitted on.

Linear discriminant analysis with the shrinkage of Ledoit & Wolf (2004) has a closed form, so nothing is tuned and the
same features give the same numbers; it runs on one thread, because sums on several differ. Images of one group
(duplicates, crops of a photograph) are in the same fold. Depends on scikit-learn; import it at the point of use.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from podium.curation.features import Features

LEAST_PICTURES = 5
"""Different pictures that a class must have (or as many as there are folds) to be judged."""

_RIDGE = 1e-4  # of the variance of a feature over all images, which is 1


@dataclass(frozen=True)
class Judged:
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


def judge(
    features: Features,
    given: pd.Series,
    groups: pd.Series,
    *,
    folds: int,
    seed: int,
    mirrored: Features | None = None,
    equal_priors: bool = False,
) -> Judged | None:
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
            model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_Shrunk(), priors=priors)
            scale = StandardScaler()
            seen = scale.fit_transform(np.vstack([view[~held] for view in views]).astype(np.float64))
            model.fit(seen, np.tile(codes[~held], len(views)))
            for view in views:
                logarithms[held] += model.predict_log_proba(scale.transform(view[held])) / len(views)
        probabilities = _calibrated(logarithms, codes)
    return Judged(rows, names, codes, probabilities)


class _Shrunk:
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


def _calibrated(logarithms: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities at the temperature with the least log loss (Guo et al., On calibration of neural networks, 2017).

    Discriminant analysis takes features for normal and is far too sure of itself; one number for all images mends it.
    """

    def at(temperature: float) -> NDArray[np.float64]:
        """Probabilities at a temperature: float64, shape (N, classes)."""
        scaled = np.maximum(logarithms, -1e6) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        weights: NDArray[np.float64] = np.exp(scaled)
        shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def loss(exponent: float) -> float:
        """Mean log loss in nats at the temperature e ** exponent."""
        return float(-np.log(np.maximum(at(np.exp(exponent))[np.arange(len(codes)), codes], 1e-12)).mean())

    return at(float(np.exp(minimize_scalar(loss, bounds=(-3, 5), method="bounded").x)))
