"""Drift is found where there is some, and hardly ever where there is none."""

import numpy as np
import pandas as pd
import pytest

from podium.analysis.drift import CLASSES, CONFIDENCE, Profiled, class_shares, find_drift, smallest_distance

LIMITS = (0.1, 0.01)
NAMES = [f"measure_{number}" for number in range(14)]


def a_draw(seed, images, **changes):
    """Correlated measures, confidences and classes of one population; of another where something is changed."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(images, 1))
    table = pd.DataFrame(0.8 * common + rng.normal(size=(images, len(NAMES))), columns=NAMES).astype("float32")
    table["aspect"] = rng.choice([1.0, 4 / 3, 1.5], images, p=[0.1, 0.7, 0.2]).astype("float32")
    confidence = rng.beta(5 * changes.get("sure", 1.0), 1, images)
    shares = changes.get("shares", [0.3, 0.3, 0.2, 0.1, 0.09, 0.01])
    predicted = rng.choice(list("abcdef"), images, p=shares)
    table[NAMES[0]] += np.float32(changes.get("shift", 0.0))
    return Profiled(table, confidence, predicted, confidence < 0.5)


def drifted(before, now):
    return {one.measure for one in find_drift(before, now, *LIMITS) if one.drifts}


def test_a_fresh_draw_of_the_same_population_drifts_in_less_than_one_of_twenty():
    found = {}
    for seed, (before, now) in enumerate([(2000, 60), (2000, 300), (300, 300), (40, 25)]):
        draws = [drifted(a_draw([seed, n, 0], before), a_draw([seed, n, 1], now)) for n in range(60)]
        found[before, now] = sum(map(bool, draws))
    assert max(found.values()) <= 3, found  # of 60


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"shift": 0.8}, NAMES[0]),
        ({"sure": 0.4}, CONFIDENCE),
        ({"shares": [0.1, 0.1, 0.2, 0.3, 0.2, 0.1]}, CLASSES),
    ],
)
def test_what_changed_drifts_and_nothing_else(changes, name):
    found = [drifted(a_draw([n, 0], 1000), a_draw([n, 1], 300, **changes)) for n in range(20)]
    assert sum(one == {name} for one in found) >= 19


def test_a_change_that_is_significant_but_small_is_none():
    before, now = a_draw(0, 50_000), a_draw(1, 50_000, shift=0.1)
    (one,) = [one for one in find_drift(before, now, *LIMITS) if one.measure == NAMES[0]]
    assert one.p_value < 0.01 and one.distance < 0.1 and not one.drifts


def test_shares_of_classes_are_told_by_what_would_have_to_be_named_otherwise():
    def named(text):
        return Profiled(pd.DataFrame({"x": np.zeros(len(text))}), np.ones(len(text)), np.array(list(text)), np.zeros(1))

    before, now = named("aabb" * 50), named("abbb" * 50 + "bbbc")
    (one,) = [one for one in find_drift(before, now, *LIMITS) if one.measure == CLASSES]
    assert one.distance == pytest.approx(0.5 - 50 / 204) and one.drifts
    shares = class_shares(before, now)
    assert [s.label for s in shares] == ["a", "b", "c"] and (shares[2].test, shares[2].now) == (0, 1 / 204)
    assert find_drift(before, now, *LIMITS) == find_drift(before, now, *LIMITS)


def test_few_images_tell_great_distances_alone():
    """By hand: two samples of 100, one test: 1.628 (Kolmogorov's 1 % point) x sqrt(200 / 10,000)."""
    assert smallest_distance(100, 100, 1, 0.01) == pytest.approx(1.6276 * np.sqrt(0.02), rel=1e-3)
    assert smallest_distance(10_000, 10, 18, 0.01) > smallest_distance(10_000, 1000, 18, 0.01)
    assert smallest_distance(2, 2, 18, 0.01) == 1.0
