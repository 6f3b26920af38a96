"""How far classes lie apart in a network's features, and whether that tells which are taken for each other."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from podium.analysis.evaluation import ClassMoments, confused_pairs, distance_correlation
from podium.analysis.predictions import sort_predictions


def moments(features, labels, classes=3, parts=1):
    found = ClassMoments(classes)
    for rows in np.array_split(np.arange(len(labels)), parts):
        found.add(np.asarray(features, np.float32)[rows], np.asarray(labels)[rows])
    return found.distances()


def test_a_distance_is_that_of_the_means_over_the_sum_of_the_spreads():
    # means 1 and 7; both spreads sqrt((1 + 1) / 1) = 1.414: 6 / 2.828 = 2.121
    found = moments([[0], [2], [6], [8]], [0, 0, 1, 1])
    assert found[0, 1] == found[1, 0] == pytest.approx(6 / (2 * 2**0.5))
    assert np.isnan(found[2]).all()  # a class without images


def test_parts_units_and_the_origin_change_nothing():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = random.normal(size=(60, 5)) + 2 * labels[:, None]
    whole = moments(features, labels)
    assert moments(features, labels, parts=7) == pytest.approx(whole)
    assert moments(10 * features + 100, labels) == pytest.approx(whole, rel=1e-3)
    assert whole[0, 2] > whole[0, 1]


@pytest.mark.parametrize("features", [[[1.0], [1.0], [1.0], [1.0]], [[0.0], [1.0], [5.0], [9.0]]])
def test_without_spread_or_of_one_image_there_is_no_distance(features):
    labels = [0, 0, 1, 1] if features[0] == features[1] else [0, 0, 1, 2]
    assert np.isnan(moments(features, labels)[0, 1])


def near_classes_confused(classes=8):
    """Classes on a line, neighbours taken for each other."""
    place = np.arange(classes)
    distances = np.abs(place[:, None] - place).astype(float)
    counts = np.where(distances == 1, 5, 0) + np.where(distances == 2, 1, 0) + np.diag(np.full(classes, 20))
    return distances, counts


def test_near_classes_that_are_taken_for_each_other_are_found_and_shuffled_ones_are_not():
    distances, counts = near_classes_confused()
    found = distance_correlation(distances, counts, 0)
    upper = np.triu_indices(8, 1)
    share = (counts + counts.T) / (counts.sum(1)[:, None] + counts.sum(1))
    assert found.rho == pytest.approx(spearmanr(distances[upper], share[upper]).statistic)
    assert (found.pairs, found.p_value) == (28, pytest.approx(0.002))
    assert distance_correlation(distances, counts, 0) == found
    p = []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(8)
        p.append(distance_correlation(distances[np.ix_(order, order)], counts, seed).p_value)
    assert np.mean(np.array(p) < 0.05) <= 0.15


def test_where_nothing_is_confused_or_too_little_known_there_is_no_correlation():
    distances, counts = near_classes_confused()
    assert distance_correlation(distances, np.diag(np.diag(counts)), 0) is None
    assert distance_correlation(distances[:2, :2], counts[:2, :2], 0) is None
    distances[3] = distances[:, 3] = np.nan  # a class with one image: the others are left
    assert distance_correlation(distances, counts, 0).pairs == 21


def test_a_confused_pair_says_how_far_its_classes_lie_apart():
    import pandas as pd

    index = pd.DataFrame({"image_id": list("abc"), "path": list("abc"), "label": ["x", "x", "y"]})
    found = sort_predictions(("x", "y", "z"), index, np.array([0, 0, 1]), np.eye(3)[[0, 1, 1]])
    distances = np.array([[0, 0.5, 0.2], [0.5, 0, np.nan], [0.2, np.nan, 0]])
    (pair,) = confused_pairs(found, distances)
    assert (pair.actual, pair.predicted, pair.distance, pair.nearness) == ("x", "y", 0.5, 2)
