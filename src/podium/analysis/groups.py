"""Coarse classes (`dataset.groups`): how often is the group right, even where the class is wrong? Needs numpy only.

One model answers both questions: the probability of a group is the sum over its classes, which exclude each other.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from podium.analysis.predictions import Predictions


def coarse(predictions: Predictions, groups: Mapping[str, str]) -> Predictions | None:
    """The same predictions over groups: P(group | image) = sum of P(class | image) over the classes of the group.

    The most probable group need not be that of the most probable class: apple 0.4, leek 0.3 and onion 0.3 make an
    apple, and a vegetable.

    Args:
        predictions: N images over C classes.
        groups: group by class; a class that is missing or has none ("") is a group of its own.

    Returns:
        N images over the sorted groups, float32 (summed in float64); None where the groups tell nothing new: no class
        has one, all classes share one, or each class is one.
    """
    named = {label: groups.get(label, "") for label in predictions.classes}
    of_class = [group or label for label, group in named.items()]
    found = tuple(sorted(set(of_class)))
    if not any(named.values()) or not 1 < len(found) < len(predictions.classes):
        return None
    number = np.array([found.index(group) for group in of_class], dtype=np.int64)
    return Predictions(
        classes=found,
        index=predictions.index,
        labels=number[predictions.labels],
        probabilities=_summed(predictions.probabilities, number, len(found)),
    )


def _summed(probabilities: NDArray[np.float32], number: NDArray[np.int64], groups: int) -> NDArray[np.float32]:
    """Probabilities of groups.

    Args:
        probabilities: of classes, shape (N, classes).
        number: the group of each class.
        groups: how many there are.

    Returns:
        Shape (N, groups).
    """
    out = np.zeros((len(probabilities), groups), dtype=np.float64)
    for column, group in enumerate(number):
        out[:, group] += probabilities[:, column]
    return out.astype(np.float32)
