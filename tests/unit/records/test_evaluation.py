"""Floats in committed JSON."""

from podium.records.base import round_floats
from podium.records.evaluation import GroupMetrics, Interval


def test_ten_significant_digits_at_any_size_and_depth():
    rate = Interval(value=1 / 3, low=1e-20 / 3, high=1.0)
    record = GroupMetrics(accuracy=rate, macro_f1=rate, fine_mistakes=None, fine_by_chance=None, per_group={})
    assert round_floats(record).model_dump()["accuracy"] == {"value": 0.3333333333, "low": 3.333333333e-21, "high": 1.0}
