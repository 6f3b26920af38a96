from podium.config.validate import Ratio, Validate
from podium.curation.expectations import balance
from tests.evidence import evidence, judged, manifest

PARAMS = Validate(class_balance=Ratio(maximum=2.0), source_balance=Ratio(maximum=1.5))


def test_equal_classes_and_sources_are_balanced():
    assert judged(balance.class_balance(evidence(), PARAMS))[1] == "1 (귤 12 / lemon 12)"
    assert judged(balance.source_balance(evidence(), PARAMS))[0] == []


def test_the_images_of_a_class_that_is_too_small_are_named():
    frame = manifest().drop(index=range(7))

    broken, observed, images = judged(balance.class_balance(evidence(frame), PARAMS))

    assert broken
    assert observed == "2.4 (귤 12 / lemon 5)"
    assert images.paths == [*(f"lemon/test{n}.jpg" for n in range(4)), "lemon/val3.jpg"]


def test_the_images_of_a_source_that_is_too_small_are_named():
    frame = manifest()
    frame = frame[(frame["source"] == "a") | (frame.index < 4)]

    broken, observed, images = judged(balance.source_balance(evidence(frame), PARAMS))

    assert broken
    assert observed == "9 (a 18 / b 2)"
    assert images.paths == ["lemon/train1.jpg", "lemon/train3.jpg"]
