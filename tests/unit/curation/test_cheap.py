"""The cheap classifier that probes rely on: honest folds, honest probabilities, the same numbers every time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from podium.curation.cheap import judge

RANDOM = np.random.default_rng(5)


def blobs(per_class: int, apart: float, classes: int = 3) -> tuple[np.ndarray, pd.Series]:
    """Clouds of points in ten dimensions."""
    codes = np.arange(per_class * classes) % classes
    centres = RANDOM.normal(0, apart, (classes, 10))
    features = (centres[codes] + RANDOM.normal(0, 1, (len(codes), 10))).astype(np.float32)
    return features, pd.Series([f"class {code}" for code in codes])


def alone(count: int) -> pd.Series:
    return pd.Series([f"{number:05d}" for number in range(count)])


def test_clouds_far_apart_are_told_apart_and_noise_is_not() -> None:
    features, given_ = blobs(60, 3.0)
    judged = judge(features, given_, alone(180), folds=5, seed=0)
    assert (judged.probabilities.argmax(axis=1) == judged.codes).mean() > 0.98

    features, given_ = blobs(60, 0.0)
    judged = judge(features, given_, alone(180), folds=5, seed=0)
    assert (judged.probabilities.argmax(axis=1) == judged.codes).mean() < 0.5
    assert judged.probabilities.max() < 0.7  # it knows that it does not know


def test_probabilities_mean_what_they_say() -> None:
    features, given_ = blobs(400, 0.7)
    features = np.hstack([features, features + RANDOM.normal(0, 0.1, features.shape)]).astype(np.float32)  # correlated
    judged = judge(features, given_, alone(1200), folds=5, seed=0)

    sure = judged.probabilities.max(axis=1)
    right = judged.probabilities.argmax(axis=1) == judged.codes
    assert sure.mean() == pytest.approx(right.mean(), abs=0.03)
    assert judged.probabilities.sum(axis=1) == pytest.approx(np.ones(1200))


def test_a_copy_in_the_same_group_is_no_help() -> None:
    features = RANDOM.normal(0, 1, (120, 40)).astype(np.float32)
    given_ = pd.Series([f"class {number % 2}" for number in range(60)] * 2)  # each point twice, labels are noise
    features[60:] = features[:60]
    together, apart = pd.concat([alone(60), alone(60)], ignore_index=True), alone(120)

    def accuracy(groups: pd.Series) -> float:
        judged = judge(features, given_, groups, folds=5, seed=0)
        return float((judged.probabilities.argmax(axis=1) == judged.codes).mean())

    assert accuracy(together) < 0.65 < accuracy(apart)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4))
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (200, 150)).astype(np.float32)
    given_ = pd.Series([f"class {number % 4}" for number in range(200)])
    first = judge(features, given_, alone(200), folds=3, seed=1)

    with threadpool_limits(threads):
        again = judge(features, given_, alone(200), folds=3, seed=1)

    assert np.array_equal(again.probabilities, first.probabilities)


def test_features_that_never_change_are_harmless() -> None:
    features, given_ = blobs(20, 3.0)
    features = np.hstack([features, np.ones((60, 3), dtype=np.float32)])
    judged = judge(features, given_, alone(60), folds=5, seed=0)

    assert (judged.probabilities.argmax(axis=1) == judged.codes).mean() > 0.9


def test_with_equal_priors_a_rare_class_is_not_drowned() -> None:
    features = RANDOM.normal(0, 1, (330, 2)).astype(np.float32)
    features[300:, 0] += 1.5
    given_ = pd.Series(["common"] * 300 + ["rare"] * 30)

    def recall(equal: bool) -> float:
        judged = judge(features, given_, alone(330), folds=5, seed=0, equal_priors=equal)
        return float((judged.probabilities.argmax(axis=1)[judged.codes == 1] == 1).mean())

    assert recall(equal=True) > recall(equal=False) + 0.2


def test_classes_without_enough_different_pictures_are_not_judged() -> None:
    features, given_ = blobs(20, 3.0)
    groups = alone(60)
    groups[(given_ == "class 2").to_numpy()] = "the same picture"

    judged = judge(features, given_, groups, folds=5, seed=0)

    assert judged.names == ("class 0", "class 1") and len(judged.rows) == 40
    assert judge(features[:6], given_[:6], groups[:6], folds=5, seed=0) is None
