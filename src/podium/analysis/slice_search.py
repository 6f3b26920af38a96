"""The worst slices, alone and where two meet: looked for on the validation split, confirmed on the test split.

Every slice and every two that meet (depth 2) are held against all other validation images by an exact one-sided test,
the lower tail of the hypergeometric distribution (Fisher, *Statistical Methods for Research Workers*, 5th edition,
1934, section 21.02). Of those that pass the false-discovery rate (Benjamini and Hochberg, *Journal of the Royal
Statistical Society* B 57(1), 1995) the same is asked of the test images, with Holm's correction for as many as those.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.analysis.paired import holm
from podium.analysis.slices import SIGNIFICANCE
from podium.analysis.statistics import wilson
from podium.records.evaluation import Interval, SliceSearch, WorstSlice

LEAST_IMAGES = 10
"""Of a slice and outside it, in either split; fewer are not looked at."""
_AT_ONCE = 65_536  # images whose masks are multiplied together; float32 counts as many without rounding

Mask = NDArray[np.bool_]
Masks = Mapping[str, tuple[str, Mask]]
"""Sentence and mask by name, as `slice_masks` gives them."""


def search_slices(
    validation: Masks, validation_correct: NDArray[np.bool_], test: Masks, test_correct: NDArray[np.bool_]
) -> SliceSearch:
    """Looks for slices, and pairs of them, on which the model is worse than on all other images.

    Two that meet are found only where the model is worse there than on the remainder of either. What holds the same
    validation images is found once.

    Args:
        validation: slices of the M validation images.
        validation_correct: which of them were named rightly, shape (M,).
        test: the same slices of the N test images.
        test_correct: shape (N,).

    Returns:
        How many were looked at and found, and those that the test images confirm, the least accurate first.
    """
    looked_at, found = _find(validation, validation_correct)
    images, right = len(test_correct), int(test_correct.sum())
    tested = []
    for pair, known in found.items():
        mask = _meet(test, pair)
        n, r = int(mask.sum()), int((mask & test_correct).sum())
        if min(n, images - n) >= LEAST_IMAGES:
            tested.append((pair, known, n, r))
    adjusted = holm([float(_lower_tail(r, n, right, images)) for _, _, n, r in tested])
    confirmed = [
        WorstSlice(
            slices=list(pair),
            sentence=" and ".join(test[name][0] for name in pair),
            images=n,
            accuracy=wilson(r, n),
            rest=wilson(right - r, images - n),
            validation_accuracy=known,
            adjusted_p=p,
        )
        for (pair, known, n, r), p in zip(tested, adjusted, strict=True)
        if p < SIGNIFICANCE
    ]
    confirmed.sort(key=lambda one: (one.accuracy.value, one.slices))
    return SliceSearch(looked_at=looked_at, found=len(found), confirmed=confirmed)


def _find(masks: Masks, correct: NDArray[np.bool_]) -> tuple[int, dict[tuple[str, ...], Interval]]:
    """How many slices and pairs are large enough, and the accuracy of those that are worse, by their names."""
    from scipy.stats import false_discovery_control

    names = sorted(masks)
    images, right = _count([masks[name][1] for name in names], correct)
    first, second = np.triu_indices(len(names))
    smaller = images[first, second] < np.minimum(images[first, first], images[second, second])
    size = np.minimum(images[first, second], len(correct) - images[first, second])
    kept = (size >= LEAST_IMAGES) & (smaller | (first == second))
    first, second = first[kept], second[kept]
    if not len(first):
        return 0, {}
    n, r = images[first, second], right[first, second]
    p = _lower_tail(r, n, int(correct.sum()), len(correct))
    within = np.maximum(*(_lower_tail(r, n, right[one, one], images[one, one]) for one in (first, second)))
    worse = (false_discovery_control(p) < SIGNIFICANCE) & ((first == second) | (within < SIGNIFICANCE))
    found: dict[tuple[str, ...], Interval] = {}
    seen: set[bytes] = set()
    for i in np.flatnonzero(worse):
        pair = tuple(dict.fromkeys((names[first[i]], names[second[i]])))
        members = np.packbits(_meet(masks, pair)).tobytes()
        if members not in seen:
            seen.add(members)
            found[pair] = wilson(int(r[i]), int(n[i]))
    return len(first), found


def _count(masks: Sequence[Mask], correct: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images in both of any two slices, and how many of these are named rightly, each of shape (S, S)."""
    images = np.zeros((len(masks), len(masks)), np.int64)
    right = np.zeros_like(images)
    for start in range(0, len(correct) if masks else 0, _AT_ONCE):
        part = np.array([mask[start : start + _AT_ONCE] for mask in masks], np.float32)
        images += (part @ part.T).astype(np.int64)
        right += ((part * correct[start : start + _AT_ONCE]) @ part.T).astype(np.int64)
    return images, right


def _meet(masks: Masks, pair: tuple[str, ...]) -> Mask:
    """The images that are in all of the slices named, shape (N,)."""
    both: Mask = np.logical_and.reduce([masks[name][1] for name in pair])
    return both


def _lower_tail(right: Any, images: Any, all_right: Any, all_images: Any) -> NDArray[np.float64]:
    """How probable it is that of so many images, drawn from all, no more are named rightly; numbers or arrays."""
    from scipy.stats import hypergeom

    tail: NDArray[np.float64] = np.minimum(hypergeom.cdf(right, all_images, all_right, images), 1.0)
    return tail
