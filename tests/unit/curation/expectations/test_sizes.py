import pytest

from podium.config.validate import ImageSide, Share, Validate
from podium.curation.expectations import sizes
from podium.curation.expectations.evidence import CannotCheck
from tests.evidence import evidence, judged, manifest

PARAMS = Validate(image_side=ImageSide(minimum=32), training_resolution=Share(maximum=0.1))


@pytest.mark.parametrize(("column", "value"), [("height", 31), ("width", 1)])
def test_the_shorter_side_of_every_image_counts(column, value):
    frame = manifest()
    frame.loc[0, column] = value

    broken, observed, images = judged(sizes.image_side(evidence(frame), PARAMS))

    assert broken
    assert observed == f"smallest: {value} pixels; 1 images below"
    assert images.paths == ["lemon/train0.jpg"]


def test_images_are_enlarged_where_their_longer_side_is_below_the_size_of_training():
    frame = manifest()  # 40 x 32
    frame.loc[:3, "width"] = 39

    assert judged(sizes.training_resolution(evidence(frame, image_size=39), PARAMS))[1] == "0 (0 of 36)"
    broken, observed, images = judged(sizes.training_resolution(evidence(frame, image_size=40), PARAMS))

    assert broken
    assert observed == "0.1111 (4 of 36)"
    assert images.paths == [f"lemon/train{n}.jpg" for n in range(4)]


def test_sizes_that_are_no_numbers_cannot_be_checked():
    frame = manifest().astype({"width": object})
    frame.loc[0, "width"] = "wide"

    with pytest.raises(CannotCheck, match="the column 'width' of the manifest holds values that are no numbers"):
        sizes.image_side(evidence(frame), PARAMS)
