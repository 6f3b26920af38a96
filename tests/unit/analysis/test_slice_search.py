"""The search of the worst slices: what is found on validation, what the test images confirm, and what is left out."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from podium.analysis import slice_search
from podium.analysis.slice_search import search_slices


def masks_of(images, **members):
    return {name: (f"those of {name}", np.isin(np.arange(images), rows)) for name, rows in members.items()}


def right_but(images, wrong):
    return ~np.isin(np.arange(images), wrong)


def names(search):
    return [one.slices for one in search.confirmed]


def test_a_worse_slice_by_hand():
    masks, correct = masks_of(20, mine=range(10)), right_but(20, range(5))
    found = search_slices(masks, correct, masks, correct)
    assert (found.looked_at, found.found, names(found)) == (1, 1, [["mine"]])
    (one,) = found.confirmed
    assert one.adjusted_p == pytest.approx(3003 / 184756)
    assert one.adjusted_p == pytest.approx(fisher_exact([[5, 5], [10, 0]], alternative="less").pvalue)
    assert (one.images, one.accuracy.value, one.rest.value, one.validation_accuracy.value) == (10, 0.5, 1.0, 0.5)
    assert one.accuracy.low < 0.5 < one.accuracy.high
    assert one.sentence == "those of mine"


def test_what_the_test_images_do_not_confirm_is_found_but_not_told():
    masks = masks_of(20, mine=range(10))
    found = search_slices(masks, right_but(20, range(5)), masks, right_but(20, [0, 15]))
    assert (found.looked_at, found.found, found.confirmed) == (1, 1, [])


def test_better_slices_and_small_ones_are_not_found():
    better = masks_of(40, better=range(20), small=range(31, 40))
    found = search_slices(better, right_but(40, range(20, 40)), better, right_but(40, range(20, 40)))
    assert (found.looked_at, found.found) == (1, 0)
    small = masks_of(40, mine=range(9))  # in the test split: too few to confirm
    large = masks_of(40, mine=range(20))
    found = search_slices(large, right_but(40, range(20)), small, right_but(40, range(9)))
    assert (found.found, found.confirmed) == (1, [])


def test_where_two_meet_is_found_beside_them_only_if_it_is_worse_than_either():
    crossed = masks_of(400, dark=range(200), hidden=range(100, 300))
    found = search_slices(*[crossed, right_but(400, range(100, 160))] * 2)
    assert (found.looked_at, names(found)[0]) == (3, ["dark", "hidden"])
    assert found.confirmed[0].sentence == "those of dark and those of hidden"
    assert (found.confirmed[0].images, found.confirmed[0].accuracy.value) == (100, 0.4)
    alike = search_slices(*[crossed, right_but(400, range(0, 200, 2))] * 2)  # dark alone explains it
    assert names(alike) == [["dark"]]


def test_the_same_images_under_several_names_are_found_once():
    masks = masks_of(100, one=range(20), same=range(20), inside=range(15), nothing=[])
    assert names(search_slices(*[masks, right_but(100, range(15))] * 2)) == [["inside"], ["one"]]


def test_no_slices_no_search():
    none = search_slices({}, right_but(20, []), {}, right_but(20, []))
    assert (none.looked_at, none.found, none.confirmed) == (0, 0, [])


def test_the_number_of_images_counted_together_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    masks = {f"s{i}": (f"slice {i}", rng.random(1000) < 0.3) for i in range(5)}
    correct = rng.random(1000) < 0.9 - 0.3 * masks["s3"][1]
    whole = search_slices(masks, correct, masks, correct)
    monkeypatch.setattr(slice_search, "_AT_ONCE", 64)
    assert search_slices(masks, correct, masks, correct) == whole
    assert ["s3"] in names(whole)
