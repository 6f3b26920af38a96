import numpy as np
import pandas as pd
import pytest

from podium.config.validate import MaximumShare, Validate
from podium.curation import findings
from podium.curation.expectations import pixels
from podium.curation.expectations.expectation import CannotCheck
from podium.curation.expectations.pixels import Shortcut, SplitDrift
from podium.data.manifest import MEASURES
from podium.records.profile import FlaggedImage, QualityFlag, Shortcuts
from tests import dataset_facts as made
from tests.dataset_facts import facts, judged, manifest, measures, noise


def flag(name, count, *paths):
    worst = [FlaggedImage(image_id=path, path=path, split="train", value=0.0) for path in paths]
    return QualityFlag(name=name, sentence="", threshold=0.1, count=count, worst=worst)


def test_the_worst_images_of_a_flag_raised_too_often_are_named():
    flags = [flag("dark", 30, "night.jpg", "lid.jpg"), flag("blurred", 1, "fog.jpg")]

    broken, observed, images = judged(pixels.image_quality(facts(quality=flags), Validate()))

    assert broken == ["dark"]
    assert observed == "blurred 1, dark 30 of 36"
    assert (images.paths, images.count) == (["night.jpg", "lid.jpg"], 30)


def test_without_a_flag_there_is_nothing_to_fail():
    assert judged(pixels.image_quality(facts(quality=[]), Validate()))[:2] == ([], "no flag is on")


def test_images_that_were_not_measured_cannot_be_judged():
    with pytest.raises(CannotCheck, match="not measured"):
        pixels.image_quality(facts(quality=None), Validate())


LABELS_PARAMS = Validate(label_noise=MaximumShare(maximum=0.1))


def test_doubtful_labels_are_named_in_the_order_of_doubt():
    broken, observed, images = judged(pixels.label_noise(facts(label_noise=noise(3)), LABELS_PARAMS))

    assert broken
    assert observed == "0.125 (3 of 24 images are named; the model that doubts them has accuracy 0.8)"
    assert (images.paths, images.count) == ([f"lemon/train{n}.jpg" for n in (2, 1, 0)], 3)


def test_a_few_candidates_are_accepted():
    assert judged(pixels.label_noise(facts(label_noise=noise(2)), LABELS_PARAMS))[0] == []


def test_a_search_that_was_not_run_says_why():
    with pytest.raises(CannotCheck, match="fewer than 5 images"):
        pixels.label_noise(facts(label_noise=noise(note="fewer than 5 images of a class")), LABELS_PARAMS)


DRIFT_SETTINGS = SplitDrift(maximum=0.1, significance=0.01)
DRIFT_PARAMS = Validate(split_drift=DRIFT_SETTINGS)


def compared(taken):
    return findings.compare_splits(taken, DRIFT_SETTINGS.maximum, DRIFT_SETTINGS.significance)


def shifted(rows, shift, name="brightness"):
    frame = manifest(rows)
    taken = measures(frame)
    taken.loc[taken["split"] == "test", name] += shift
    return frame, taken


def test_splits_of_one_draw_do_not_drift():
    _, taken = shifted(200, 0.0)

    found = compared(taken)

    assert [one.measure for one in found] == list(MEASURES)
    assert not any(one.drifts for one in found)


def test_brighter_test_images_drift_and_the_brightest_are_named():
    frame, taken = shifted(100, 1.5)
    found = facts(frame, measures=taken, drift=compared(taken))

    broken, observed, images = judged(pixels.split_drift(found, DRIFT_PARAMS))

    assert broken == ["brightness"]
    assert observed.startswith("1 of 37 measures drift; largest distances: brightness 0.")
    test = taken[taken["split"] == "test"].sort_values("brightness", ascending=False)
    assert images.paths[:20] == frame.loc[test.index[:20], "path"].tolist()


def test_darker_test_images_drift_and_the_darkest_are_named():
    frame, taken = shifted(100, -1.5)
    found = facts(frame, measures=taken, drift=compared(taken))

    _, _, images = judged(pixels.split_drift(found, DRIFT_PARAMS))

    darkest = taken.loc[taken["split"] == "test", "brightness"].idxmin()
    assert images.paths[0] == frame.loc[darkest, "path"]


def test_a_trifle_does_not_drift_however_many_images_make_it_significant():
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=60_000) for name in MEASURES}
    taken = pd.DataFrame({"split": ["train"] * 48_000 + ["test"] * 12_000, **values})
    taken.loc[taken["split"] == "test", "contrast"] += 0.1  # of a standard deviation: a distance of 0.04

    contrast = {one.measure: one for one in compared(taken)}["contrast"]

    assert contrast.p_value < 1e-10
    assert 0.03 < contrast.distance < 0.06
    assert not contrast.drifts


def test_a_large_distance_between_a_handful_of_images_may_be_an_accident():
    _, taken = shifted(1, 1.0)  # 3 images a split

    largest = max(compared(taken), key=lambda one: one.distance)

    assert largest.distance > 0.5
    assert not largest.drifts


def test_more_measures_make_an_accident_more_likely_which_is_allowed_for():
    _, taken = shifted(30, 0.0)
    alone = compared(taken[["split", "contrast"]])[0]
    among = {one.measure: one for one in compared(taken)}["contrast"]

    assert among.distance == alone.distance
    assert among.p_value >= alone.p_value


def test_nothing_to_compare_cannot_be_checked():
    _, taken = shifted(2, 0.0)
    train = taken[taken["split"] == "train"]

    assert compared(train) == []
    with pytest.raises(CannotCheck, match="not measured"):
        pixels.split_drift(facts(measures=train), DRIFT_PARAMS)


SHORTCUTS_PARAMS = Validate(border_shortcut=Shortcut(maximum=0.5), source_shortcut=Shortcut(maximum=0.5))


def test_a_border_that_gives_the_label_away_is_told_with_its_numbers_and_images():
    found = made.facts(shortcuts=made.shortcuts(made.probe(0.9, ("b.jpg", "a.jpg"))))

    broken, observed, images = made.judged(pixels.border_shortcut(found, SHORTCUTS_PARAMS))

    assert broken
    assert observed == "0.9 (balanced accuracy 0.9333, 95 % interval 0.2 to 0.6, chance 0.3333, 24 images)"
    assert images.paths == ["b.jpg", "a.jpg"]


def test_what_the_aspect_ratio_alone_tells_stands_beside_the_border():
    probes = Shortcuts(
        label_from_border=made.probe(0.6), label_from_aspect=made.probe(0.55), source_from_image=made.probe(0)
    )

    _, observed, _ = made.judged(pixels.border_shortcut(made.facts(shortcuts=probes), SHORTCUTS_PARAMS))

    assert observed.endswith("; the aspect ratio alone comes to 0.55, which padding shows in the border")


def test_sources_that_look_different_are_told():
    found = made.facts(shortcuts=made.shortcuts(source=made.probe(0.8, ("c.jpg",))))

    broken, observed, images = made.judged(pixels.source_shortcut(found, SHORTCUTS_PARAMS))

    assert broken
    assert observed.startswith("0.8 (balanced accuracy 0.8667")
    assert images.paths == ["c.jpg"]


def test_one_source_has_nothing_to_be_told_apart():
    found = made.facts(made.manifest().assign(source="only"), shortcuts=None)

    assert made.judged(pixels.source_shortcut(found, SHORTCUTS_PARAMS))[:2] == (
        [],
        "one source, nothing to tell apart",
    )


def test_a_probe_that_was_not_run_says_why():
    found = made.facts(shortcuts=made.shortcuts(made.probe(0, note="not run: one class")))

    with pytest.raises(CannotCheck, match="not run: one class"):
        pixels.border_shortcut(found, SHORTCUTS_PARAMS)
