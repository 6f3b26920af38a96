import pytest

from podium.config.validate import MaximumShare, Validate
from podium.curation.expectations import completeness
from podium.curation.expectations.completeness import ImageSide, ShareRejected
from podium.curation.expectations.expectation import CannotCheck
from tests.evidence import evidence, judged, manifest

SIZES_PARAMS = Validate(image_side=ImageSide(minimum=32), training_resolution=MaximumShare(maximum=0.1))


@pytest.mark.parametrize(("column", "value"), [("height", 31), ("width", 1)])
def test_the_shorter_side_of_every_image_counts(column, value):
    frame = manifest()
    frame.loc[0, column] = value

    broken, observed, images = judged(completeness.image_side(evidence(frame), SIZES_PARAMS))

    assert broken
    assert observed == f"smallest: {value} pixels; 1 images below"
    assert images.paths == ["lemon/train0.jpg"]


def test_images_are_enlarged_where_their_longer_side_is_below_the_size_of_training():
    frame = manifest()  # 40 x 32
    frame.loc[:3, "width"] = 39

    assert judged(completeness.training_resolution(evidence(frame, image_size=39), SIZES_PARAMS))[1] == "0 (0 of 36)"
    broken, observed, images = judged(completeness.training_resolution(evidence(frame, image_size=40), SIZES_PARAMS))

    assert broken
    assert observed == "0.1111 (4 of 36)"
    assert images.paths == [f"lemon/train{n}.jpg" for n in range(4)]


def test_sizes_that_are_no_numbers_cannot_be_checked():
    frame = manifest().astype({"width": object})
    frame.loc[0, "width"] = "wide"

    with pytest.raises(CannotCheck, match="the column 'width' of the manifest holds values that are no numbers"):
        completeness.image_side(evidence(frame), SIZES_PARAMS)


READING_PARAMS = Validate(share_rejected=ShareRejected(maximum=0.1, because="a test"))


def test_too_many_rejected_images_are_told_with_their_paths():
    broken, observed, images = judged(completeness.share_rejected(evidence(rejected=6), READING_PARAMS))

    assert broken
    assert observed == "0.1429 (6 of 42)"
    assert images.paths == [f"bad{n}.jpg" for n in range(6)]


def test_a_few_are_accepted():
    assert judged(completeness.share_rejected(evidence(rejected=2), READING_PARAMS))[0] == []


@pytest.mark.parametrize("text", ["", " Unknown ", "N/A", None])
def test_images_without_a_licence_are_named(text):
    frame = manifest().astype({"licence": object})
    frame.loc[0, "licence"] = text

    broken, observed, images = judged(completeness.licence_known(evidence(frame), Validate()))

    assert broken
    assert observed == "1 of 36 without a licence; others: CC0-1.0 (35)"
    assert images.paths == ["lemon/train0.jpg"]


def test_known_licences_are_listed_the_most_frequent_first():
    frame = manifest()
    frame.loc[:2, "licence"] = "CC-BY-4.0"

    assert judged(completeness.licence_known(evidence(frame), Validate()))[:2] == (
        [],
        "0 of 36 without a licence; others: CC0-1.0 (33), CC-BY-4.0 (3)",
    )
