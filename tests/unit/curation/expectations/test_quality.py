import pytest

from podium.config.validate import Validate
from podium.curation.expectations import quality
from podium.curation.expectations.evidence import CannotCheck
from podium.records.profile import FlaggedImage, QualityFlag
from tests.evidence import evidence, judged


def flag(name, count, *paths):
    worst = [FlaggedImage(image_id=path, path=path, split="train", value=0.0) for path in paths]
    return QualityFlag(name=name, sentence="", threshold=0.1, count=count, worst=worst)


def test_the_worst_images_of_a_flag_raised_too_often_are_named():
    flags = [flag("dark", 30, "night.jpg", "lid.jpg"), flag("blurred", 1, "fog.jpg")]

    broken, observed, images = judged(quality.image_quality(evidence(quality=flags), Validate()))

    assert broken == ["dark"]
    assert observed == "blurred 1, dark 30 of 36"
    assert (images.paths, images.count) == (["night.jpg", "lid.jpg"], 30)


def test_without_a_flag_there_is_nothing_to_fail():
    assert judged(quality.image_quality(evidence(quality=[]), Validate()))[:2] == ([], "no flag is on")


def test_images_that_were_not_measured_cannot_be_judged():
    with pytest.raises(CannotCheck, match="not measured"):
        quality.image_quality(evidence(quality=None), Validate())
