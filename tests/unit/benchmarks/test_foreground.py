"""Intersection over union has the values worked by hand."""

import numpy as np

from benchmarks.foreground import intersection_over_union, mean_interval


def test_intersection_over_union_and_its_mean():
    truth = np.zeros((3, 2, 3), bool)
    found = truth.copy()
    truth[0, 0], found[0, :, 0] = True, True  # three pixels and two, one of them in both: 1 / 4
    truth[1, 1, 1] = True
    values = intersection_over_union(found, truth)
    assert values.tolist() == [0.25, 0.0, 1.0]
    whole = mean_interval(values)
    assert whole.low < whole.value == values.mean() < whole.high
