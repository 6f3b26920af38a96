"""Wrong labels: about how many there are, and which.

Rule: a given label is the true one after some noise, p(given | image) = sum over true of p(true | image) T[true, given]
(Patrini et al., Making deep neural networks robust to label noise, CVPR 2017). What the linear probe says of images it
was not fitted on, sharpened, stands for p(true | image): fitted on wrong labels, it is less sure of everything. T is
noise at random, a share of labels drawn from all classes alike, unless one with a rate for each pair of classes tells
the given labels so much better that chance is no explanation. An image is a candidate where its label is more likely
wrong than right. All of it is for a person to look at; nothing is ever removed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, softmax

from podium.curation.linear_probe import LEAST_PICTURES, CrossValidated, ProbeImages, cross_validate
from podium.records.profile import LabelCandidate, LabelNoise

MOST_CANDIDATES = 100
_GAIN = 1.3
"""Log likelihood that each rate of a pair must bring. Akaike (1974) asks for 1, which the confusions of a weak probe
come to; the value was chosen on the sets of `benchmarks/label_noise.py`."""
_PRIOR = 40.0  # images of each class that noise at random is worth, where the rates of pairs are estimated
_SHARPENING = np.linspace(0.0, 1.5, 7)  # logarithms of the exponents tried with the rates of pairs
_ROUNDS = 30  # of expectation and maximisation


def find_label_noise(drawn: ProbeImages, *, folds: int = 5, seed: int = 0) -> LabelNoise:
    """Estimates the share of wrong labels and ranks the images whose label looks wrong.

    Args:
        drawn: images of train and val as features.
        folds: of the cross-validation.
        seed: of the folds.

    Returns:
        The share, and candidates, the most doubtful first.
    """
    rows = drawn.rows
    judged = cross_validate(
        drawn.appearance, rows["label"], rows["split_group"], folds=folds, seed=seed, mirrored=drawn.mirrored
    )
    if judged is None:
        note = f"not judged: fewer than two classes have {max(folds, LEAST_PICTURES)} different pictures"
        return LabelNoise(
            images=0, classes=0, folds=folds, accuracy=0, chance=0, count=0, share=0, candidates=[], note=note
        )
    true = true_labels(judged.probabilities, judged.codes)
    wrong = 1 - true[np.arange(len(true)), judged.codes]
    doubted = np.flatnonzero(wrong > 0.5)  # more likely wrong than right
    ranked = doubted[np.lexsort((doubted, -wrong[doubted].round(6)))]
    return LabelNoise(
        images=len(true),
        classes=len(judged.names),
        folds=folds,
        accuracy=round(float((judged.probabilities.argmax(axis=1) == judged.codes).mean()), 4),
        chance=round(float(np.bincount(judged.codes).max() / len(true)), 4),
        count=len(ranked),
        share=round(float(wrong.mean()), 4),
        candidates=[_candidate(rows, judged, int(at), true[at]) for at in ranked[:MOST_CANDIDATES]],
    )


def _candidate(rows: pd.DataFrame, judged: CrossValidated, at: int, true: NDArray[np.float64]) -> LabelCandidate:
    """An image, its label and the likeliest other one; `at` is its row in `judged`, `true` that of `true_labels`."""
    row, given = rows.iloc[int(judged.rows[at])], int(judged.codes[at])
    others = true.copy()
    others[given] = -1.0
    suggested = int(others.argmax())
    return LabelCandidate(
        image_id=row["image_id"],
        path=row["path"],
        split=row["split"],
        label=row["label"],
        suggested=judged.names[suggested],
        probability_label=round(float(true[given]), 4),
        probability_suggested=round(float(true[suggested]), 4),
    )


def true_labels(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """How likely each class is the true one of an image, knowing the image and the label it was given.

    Args:
        probabilities: of each class by a model that was not fitted on the image; shape (N, C), rows sum to 1.
        given: the label of each image, int64, shape (N,), each class at least once.

    Returns:
        Shape (N, C), rows sum to 1. One less the column of the given label is the chance that it is wrong; its mean is
        the share of wrong labels.
    """
    logarithms = np.log(np.maximum(probabilities, 1e-12))
    random, pairs = _noise_at_random(logarithms, given), _noise_by_pairs(logarithms, given)
    classes = probabilities.shape[1]
    best = pairs if pairs.told - random.told > _GAIN * classes * (classes - 1) else random
    return best.true


@dataclass(frozen=True)
class _Noise:
    """A noise model that was fitted: log likelihood of the given labels, and what `true_labels` returns."""

    told: float
    true: NDArray[np.float64]

    @classmethod
    def of(cls, seen: NDArray[np.float64], transition: NDArray[np.float64], given: NDArray[np.int64]) -> "_Noise":
        """From p(true | image), shape (N, C), and T[true, given], shape (C, C)."""
        joint = seen * transition[:, given].T
        total = joint.sum(axis=1, keepdims=True)
        return cls(float(np.log(total).sum()), joint / total)


def _at_random(share: float, classes: int) -> NDArray[np.float64]:
    """T where a share of labels is drawn from all classes alike."""
    return (1 - share) * np.eye(classes) + share / classes


def _noise_at_random(logarithms: NDArray[np.float64], given: NDArray[np.int64]) -> _Noise:
    """The likeliest exponent and share; of two starts the better one, since a likelihood may have two tops."""
    classes = logarithms.shape[1]

    def at(x: NDArray[np.float64]) -> _Noise:
        """At the logarithm of an exponent and the logit of a share."""
        return _Noise.of(softmax(logarithms * np.exp(x[0]), axis=1), _at_random(expit(x[1]), classes), given)

    starts = np.array([(0.0, -3.0), (1.0, -1.0)])
    found = [minimize(lambda x: -at(x).told / len(given), start, method="Nelder-Mead") for start in starts]
    return at(min(found, key=lambda one: float(one.fun)).x)


def _noise_by_pairs(logarithms: NDArray[np.float64], given: NDArray[np.int64]) -> _Noise:
    """A rate for every pair of classes, by expectation and maximisation; the best of some exponents."""
    classes = logarithms.shape[1]
    order = np.argsort(given, kind="stable")
    given_sorted, back = given[order], np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(given_sorted) > 0])
    found = []
    for exponent in np.exp(_SHARPENING):
        seen = softmax(logarithms[order] * exponent, axis=1)
        transition = _at_random(0.05, classes)
        for _ in range(_ROUNDS):
            true = _Noise.of(seen, transition, given_sorted).true
            counts = np.add.reduceat(true, starts, axis=0).T  # [true, given]
            wrong = 1 - np.trace(counts) / len(given)
            counts += _PRIOR * _at_random(wrong * classes / (classes - 1), classes)
            transition = counts / counts.sum(axis=1, keepdims=True)
        found.append(_Noise.of(seen, transition, given_sorted))
    best = max(found, key=lambda noise: noise.told)
    return _Noise(best.told, best.true[back])
