import numpy as np
import pandas as pd
import pytest

from podium.config.validate import SplitDrift, Validate
from podium.curation.expectations import drift
from podium.curation.expectations.evidence import CannotCheck
from podium.records.profile import MEASURES
from tests.evidence import evidence, judged, manifest, measures

SETTINGS = SplitDrift(maximum=0.1, significance=0.01)
PARAMS = Validate(split_drift=SETTINGS)


def shifted(rows, shift, name="brightness"):
    frame = manifest(rows)
    taken = measures(frame)
    taken.loc[taken["split"] == "test", name] += shift
    return frame, taken


def test_splits_of_one_draw_do_not_drift():
    _, taken = shifted(200, 0.0)

    found = drift.compare(taken, SETTINGS)

    assert [one.measure for one in found] == list(MEASURES)
    assert not any(one.drifts for one in found)


def test_brighter_test_images_drift_and_the_brightest_are_named():
    frame, taken = shifted(100, 1.5)
    found = evidence(frame, measures=taken, drift=drift.compare(taken, SETTINGS))

    broken, observed, images = judged(drift.split_drift(found, PARAMS))

    assert broken == ["brightness"]
    assert observed.startswith("1 of 37 measures drift; largest distances: brightness 0.")
    test = taken[taken["split"] == "test"].sort_values("brightness", ascending=False)
    assert images.paths[:20] == frame.loc[test.index[:20], "path"].tolist()


def test_darker_test_images_drift_and_the_darkest_are_named():
    frame, taken = shifted(100, -1.5)
    found = evidence(frame, measures=taken, drift=drift.compare(taken, SETTINGS))

    _, _, images = judged(drift.split_drift(found, PARAMS))

    darkest = taken.loc[taken["split"] == "test", "brightness"].idxmin()
    assert images.paths[0] == frame.loc[darkest, "path"]


def test_a_trifle_does_not_drift_however_many_images_make_it_significant():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=60_000) for name in MEASURES}
    taken = pd.DataFrame({"split": ["train"] * 48_000 + ["test"] * 12_000, **values})
    taken.loc[taken["split"] == "test", "contrast"] += 0.1  # of a standard deviation: a distance of 0.04

    contrast = {one.measure: one for one in drift.compare(taken, SETTINGS)}["contrast"]

    assert contrast.p_value < 1e-10
    assert 0.03 < contrast.distance < 0.06
    assert not contrast.drifts


def test_a_large_distance_between_a_handful_of_images_may_be_an_accident():
    _, taken = shifted(1, 1.0)  # 3 images a split

    largest = max(drift.compare(taken, SETTINGS), key=lambda one: one.distance)

    assert largest.distance > 0.5
    assert not largest.drifts


def test_more_measures_make_an_accident_more_likely_which_is_allowed_for():
    _, taken = shifted(30, 0.0)
    alone = drift.compare(taken[["split", "contrast"]], SETTINGS)[0]
    among = {one.measure: one for one in drift.compare(taken, SETTINGS)}["contrast"]

    assert among.distance == alone.distance
    assert among.p_value >= alone.p_value


def test_nothing_to_compare_cannot_be_checked():
    _, taken = shifted(2, 0.0)
    train = taken[taken["split"] == "train"]

    assert drift.compare(train, SETTINGS) == []
    with pytest.raises(CannotCheck, match="not measured"):
        drift.split_drift(evidence(measures=train), PARAMS)
