"""Shortcuts: can a label or a source be told from what should not tell it?

The border of the prepared image is probed as the models see it, padding included. An image that is not square has a
padded border, which tells its aspect ratio; how far the aspect ratio alone gets is probed as well, so that a letterbox
is not taken for a background. Judged are train and val only. Depends on scikit-learn; import it at the point of use.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.curation.cheap import LEAST_PICTURES, Judged, judge
from podium.curation.features import Drawn, Features
from podium.records.profile import Probe, Shortcuts

MOST_GIVEAWAYS = 20
_Z = 1.959964  # of a 95 % interval


def shortcuts(drawn: Drawn, *, folds: int = 5, seed: int = 0) -> Shortcuts:
    """Runs all probes.

    Args:
        drawn: images of train and val as features.
        folds: of the cross-validation.
        seed: of the folds.

    Returns:
        Balanced accuracy of each probe against its chance. The chance of a label is 1 / classes. The chance of a source
        is what the label alone tells of it, since sources of different classes are told apart without any shortcut.
    """
    border = _Question("label", f"the outermost {drawn.border} pixels", drawn.borders)
    aspect = _Question("label", "the aspect ratio", drawn.aspect)
    whole = _Question("source", "the whole image", drawn.looks, drawn.mirrored)
    return Shortcuts(
        label_from_border=_probe(drawn, border, folds, seed),
        label_from_aspect=(
            _not_run(aspect, "all images have the same aspect ratio")
            if bool((drawn.aspect == drawn.aspect[0]).all())
            else _probe(drawn, aspect, folds, seed)
        ),
        source_from_image=_source(drawn, whole, folds, seed),
    )


@dataclass(frozen=True)
class _Question:
    """Which column is predicted, from what (in words), and its features."""

    predicted: str
    seen: str
    features: Features
    mirrored: Features | None = None


def _source(drawn: Drawn, question: _Question, folds: int, seed: int) -> Probe:
    """Probes for the source, where one class at least comes from two sources."""
    sources = drawn.rows["source"]
    if sources.nunique() < 2:
        return _not_run(question, "there is one source")
    if (pd.crosstab(drawn.rows["label"], sources) > 0).sum(axis=1).max() < 2:
        return _not_run(question, "every class comes from one source, so the class tells the source")
    return _probe(drawn, question, folds, seed)


def _probe(drawn: Drawn, question: _Question, folds: int, seed: int) -> Probe:
    """Asks a question of the drawn images.

    Returns:
        Balanced accuracy with its interval, and `excess`: 0 as good as chance, 1 always right. For a source, chance is
        what the label alone tells of it.
    """
    given, groups = drawn.rows[question.predicted], drawn.rows["split_group"]
    judged = judge(
        question.features, given, groups, folds=folds, seed=seed, mirrored=question.mirrored, equal_priors=True
    )
    if judged is None:
        least = max(folds, LEAST_PICTURES)
        return _not_run(question, f"fewer than two {question.predicted}s have {least} different pictures")
    classes = len(judged.names)
    chance = 1 / classes
    if question.predicted == "source":
        chance = max(chance, _from_label(drawn.rows["label"].iloc[judged.rows], judged))
    value, low, high = balanced_accuracy(judged.codes, judged.probabilities.argmax(axis=1), classes)
    return Probe(
        predicted=question.predicted,
        seen=question.seen,
        images=len(judged.rows),
        classes=classes,
        balanced_accuracy=round(value, 4),
        low=round(low, 4),
        high=round(high, 4),
        chance=round(chance, 4),
        excess=round((value - chance) / (1 - chance), 4) if chance < 1 else 0.0,
        giveaways=_giveaways(drawn, judged),
    )


def balanced_accuracy(
    given: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> tuple[float, float, float]:
    """Mean recall over classes, and its 95 % interval.

    The variance of the mean is the sum of the classes' binomial variances over classes², with the recalls adjusted as
    by Agresti & Coull (1998), so that an interval does not vanish where every image was right.

    Args:
        given: codes, shape (N,), each class at least once.
        predicted: codes, shape (N,).
        classes: how many.

    Returns:
        Value, lower and upper bound, in [0, 1].
    """
    total = np.bincount(given, minlength=classes)
    right = np.bincount(given[given == predicted], minlength=classes)
    adjusted = (right + _Z**2 / 2) / (total + _Z**2)
    spread = _Z * float(np.sqrt((adjusted * (1 - adjusted) / (total + _Z**2)).sum())) / classes
    value = float((right / total).mean())
    return value, max(0.0, value - spread), min(1.0, value + spread)


def _from_label(labels: pd.Series, judged: Judged) -> float:
    """Balanced accuracy of the best guess of the source that knows the label and nothing else."""
    shares = pd.crosstab(labels.to_numpy(), judged.codes, normalize="columns").to_numpy()
    return float(shares.max(axis=1).sum() / len(judged.names))


def _giveaways(drawn: Drawn, judged: Judged) -> list[str]:
    """Paths of the images that were told right with the most confidence."""
    own = judged.probabilities[np.arange(len(judged.codes)), judged.codes]
    right = judged.probabilities.argmax(axis=1) == judged.codes
    order = np.lexsort((np.arange(len(own)), -own.round(6)))
    return [str(drawn.rows["path"].iloc[int(judged.rows[at])]) for at in order[right[order]][:MOST_GIVEAWAYS]]


def _not_run(question: _Question, why: str) -> Probe:
    """A probe without numbers, and why."""
    return Probe(
        predicted=question.predicted,
        seen=question.seen,
        images=0,
        classes=0,
        balanced_accuracy=0,
        low=0,
        high=0,
        chance=0,
        excess=0,
        giveaways=[],
        note=f"not run: {why}",
    )
