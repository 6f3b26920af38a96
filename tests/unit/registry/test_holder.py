"""The winner against the version at staging: three outcomes on the same images, a reason where these are others."""

from types import SimpleNamespace

import pandas as pd
import pytest

from podium.config.judging import Compare
from podium.core.layout import Layout
from podium.records.evaluation import Interval
from podium.registry.holder import compare_with_holder, describe_fall
from podium.registry.read_only import RegisteredModel, Version

CLASSES = ("pear", "apple", "fig")


def answers(images, wrong, first=0):
    """Of so many images from a number on, those at these places named wrongly."""
    ids = [f"{number:06}" for number in range(first, first + images)]
    labels = [CLASSES[int(image) % 3] for image in ids]
    wrong = set(wrong)
    predicted = [CLASSES[(int(i) + (at in wrong)) % 3] for at, i in enumerate(ids)]
    return pd.DataFrame({"image_id": ids, "label": labels, "predicted": predicted})


def accuracy(table):
    return float((table["label"] == table["predicted"]).mean())


@pytest.fixture
def versus(tmp_path, monkeypatch):
    """What is said of a winner `new` and a version `old` at staging with these answers."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    layout = Layout(tmp_path)

    def said(mine, theirs, fingerprint="theirs", **rules):
        place = tmp_path / "package"
        for table, folder in ((mine, layout.evaluation("new")), (theirs, place / "artifacts")):
            if table is not None:
                folder.mkdir(parents=True, exist_ok=True)
                table.to_parquet(folder / "predictions.parquet")
        tags = {"podium.model": "old", "podium.fingerprint": fingerprint}
        registered = RegisteredModel("name", {}, {"staging": "3"}, (Version("3", str(place), tags),))
        rate = 0.5 if mine is None else accuracy(mine)
        row = SimpleNamespace(model="new", fingerprint="mine", accuracy=Interval(value=rate, low=rate, high=rate))
        row.macro_f1 = row.accuracy
        board = SimpleNamespace(rows=[row])
        return compare_with_holder(layout, registered, board, "new", Compare(margin=0.02, **rules))

    return said


@pytest.mark.parametrize(
    ("mine", "theirs", "outcome", "said"),
    [
        (range(20), range(60), "better", "new is better than version 3 at staging (old): accuracy 95.0% against 85.0%"),
        (range(60), range(20), "better", "new is worse than version 3 at staging (old): accuracy 85.0% against 95.0%"),
        (range(20), range(1, 21), "equivalent", "new is equivalent to version 3 at staging (old): accuracy 95.0%"),
        (range(20), range(10, 36), "undecided", "It is undecided whether new is better than version 3 at staging"),
    ],
)
def test_two_models_of_the_same_test_images_get_one_of_three_outcomes(versus, mine, theirs, outcome, said):
    found = versus(answers(400, mine), answers(400, theirs))
    assert found.comparison.outcome == outcome
    assert found.said.startswith(said)
    assert "on the same 400 test images" in found.said
    assert (found.comparison.images_needed is not None) == (outcome == "undecided") == ("would decide it" in found.said)
    assert versus(answers(400, mine), answers(400, theirs)) == found  # as it was kept
    assert versus(answers(400, mine), answers(400, theirs), metric="macro_f1").said.count("macro F1") == 1


def test_what_was_kept_is_not_said_of_other_answers(versus):
    better = versus(answers(400, range(20)), answers(400, range(60)))
    assert versus(answers(400, range(60)), answers(400, range(60))).said != better.said
    assert versus(answers(400, range(20)), answers(400, range(60)), significance=1e-30).said != better.said


@pytest.mark.parametrize(
    ("mine", "theirs", "fingerprint", "said"),
    [
        (answers(9, []), answers(9, [], first=6), "theirs", "on other images (9 and 9, of which 3 are the same"),
        (answers(9, []), answers(9, []).assign(label="fig"), "theirs", "of which 3 are the same under the same label"),
        (None, answers(9, []), "theirs", "its predictions are not here; run `dvc repro`"),
        (answers(9, []), None, "theirs", "whose predictions cannot be read: "),
        (answers(9, []), answers(9, []), "mine", "new is version 3 at staging (old) itself."),
    ],
)
def test_it_says_why_two_models_are_not_compared(versus, mine, theirs, fingerprint, said):
    found = versus(mine, theirs, fingerprint)
    assert said in found.said
    assert found.comparison is None


def test_nothing_at_staging_is_nothing_to_compare_with(tmp_path):
    for registered in (None, RegisteredModel("name", {}, {"candidate": "1"}, (Version("1", "x", {}),))):
        assert compare_with_holder(Layout(tmp_path), registered, None, "new", Compare(margin=0.02)) is None


def test_a_candidate_far_below_the_holder_is_told():
    def fall(*rates):
        versions = [
            Version(str(number), "x", {"podium.accuracy": rate, "podium.test_images": digest})
            for number, (rate, digest) in enumerate(rates, start=1)
        ]
        return describe_fall(RegisteredModel("name", {}, {"staging": "1", "candidate": "2"}, tuple(versions)))

    assert fall(("0.9", "a"), ("0.86", "a")) is None
    assert "accuracy 31.1%, far below the 90.0% of version 1, which holds staging" in fall(("0.9", "a"), ("0.311", "a"))
    assert "(on other test images)" in fall(("0.9", "a"), ("0.311", "b"))
    assert fall(("0.9", "a"), ("?", "a")) is None
