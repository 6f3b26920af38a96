"""What more training images would bring."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.learning_curve import coverage
from podium.analysis.learning_curve import (
    SHARES,
    describe_curve,
    draw_rows,
    expected_accuracy,
    fit_curve,
    fitted_accuracies,
)
from podium.records.training import LearningPoint


def points(law, noise=0.0, draws=3, images=1000):
    """Accuracies on a power law."""
    scale, exponent, floor = law
    random = np.random.default_rng(0)
    return [
        LearningPoint(
            share=share,
            draw=draw,
            images=round(share * images),
            accuracy=1 - scale * share**-exponent - floor + float(random.normal(0, noise)),
        )
        for draw in range(draws)
        for share in SHARES
    ]


def fit(law, **given):
    return fit_curve("resnet18", "0" * 64, points(law, **given), images=1000, val_images=400, seed=0)


@pytest.mark.parametrize("law", [(0.1, 0.5, 0.02), (0.05, 1.0, 0.05), (0.2, 0.3, 0.0)])
def test_the_law_that_made_the_points_is_found(law):
    curve = fit(law)
    assert curve.doubling == pytest.approx(law[0] * (1 - 2 ** -law[1]), abs=5e-4)
    assert curve.low <= curve.doubling <= curve.high
    assert expected_accuracy(curve, 2.0) == pytest.approx(expected_accuracy(curve, 1.0) + curve.doubling)


def test_a_flat_curve_says_that_more_may_bring_nothing():
    curve = fit((0.0, 1.0, 0.1), noise=0.01)
    assert curve.low == 0
    assert "it may bring nothing" in describe_curve(curve)


def test_a_steep_curve_says_how_much():
    said = describe_curve(fit((0.15, 0.5, 0.0), noise=0.005))
    assert "Twice the 1,000 training images would bring about +4." in said
    assert "may bring nothing" not in said


def test_draws_that_all_agree_are_not_taken_for_certain():
    curve = fit((0.0, 1.0, 0.1))
    assert curve.high > 0


def test_the_curve_has_an_interval_at_every_size_and_a_wider_one_beyond_what_was_tried():
    curve = fit((0.1, 0.5, 0.02), noise=0.01)
    found = fitted_accuracies(curve, [0.125, 0.5, 1, 2, 4], 0)
    assert all(0 <= rate.low <= rate.value <= rate.high <= 1 for rate in found)
    assert [rate.value for rate in found] == [expected_accuracy(curve, share) for share in (0.125, 0.5, 1, 2, 4)]
    width = [rate.high - rate.low for rate in found]
    assert width[1] < width[2] < width[3] < width[4]
    assert found == fitted_accuracies(curve, [0.125, 0.5, 1, 2, 4], 0)


def test_the_interval_holds_the_truth():
    held, width = coverage((0.12, 0.5, 0.02), 0.02, times=60)
    assert held >= 0.88
    assert width < 0.08  # it says something


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80), st.integers(0, 5))
def test_a_draw_keeps_groups_whole_and_every_class_and_grows_with_the_share(images, draw):
    group = np.array([f"{label} {number}" for label, number in images], dtype=object)
    labels = np.array([label for label, _ in images])
    drawn = [set(draw_rows(labels, group, share, 7, draw).tolist()) for share in SHARES]
    assert drawn[-1] == set(range(len(images)))
    for rows, larger in zip(drawn, drawn[1:], strict=False):
        assert rows <= larger
    for rows in drawn:
        assert {group[row] for row in rows}.isdisjoint(group[row] for row in range(len(images)) if row not in rows)
        assert {labels[row] for row in rows} == set(labels)


def test_draws_differ():
    labels = np.zeros(80, np.int64)
    groups = np.array([str(number) for number in range(80)], dtype=object)
    one, other = (draw_rows(labels, groups, 0.125, 0, draw).tolist() for draw in range(2))
    assert len(one) == len(other) == 10
    assert one != other
