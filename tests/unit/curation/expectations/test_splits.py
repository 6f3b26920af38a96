from podium.config.validate import MinimumRows, Validate
from podium.curation.expectations import splits
from podium.curation.expectations.evidence import NOBODY
from tests.evidence import evidence, judged, manifest

PARAMS = Validate(minimum_rows=MinimumRows(minimum=3, because="a test"))


def test_every_class_is_in_every_split_of_a_sound_set():
    assert judged(splits.classes_in_every_split(evidence(), PARAMS)) == ([], "3 classes", NOBODY)
    assert judged(splits.minimum_rows(evidence(), PARAMS))[0] == []


def test_a_class_that_lacks_a_split_is_named_with_its_images_elsewhere():
    frame = manifest()
    frame = frame[(frame["label"] != "귤") | (frame["split"] != "val")]

    broken, observed, images = judged(splits.classes_in_every_split(evidence(frame), PARAMS))

    assert broken == ["'귤' in val"]
    assert observed == "no image of '귤' in val"
    assert images.paths == [f"귤/{split}{n}.jpg" for split in ("test", "train") for n in range(4)]


def test_a_split_without_any_image_is_told_for_every_class():
    frame = manifest()

    _, observed, _ = judged(splits.classes_in_every_split(evidence(frame[frame["split"] != "test"]), PARAMS))

    assert observed == "no image of 'lemon' in test; no image of 'orange' in test; no image of '귤' in test"


def test_cells_with_too_few_images_are_counted_and_their_images_named():
    frame = manifest().drop(index=[0, 1])

    broken, observed, images = judged(splits.minimum_rows(evidence(frame), PARAMS))

    assert broken == ["'lemon' in train"]
    assert observed == "smallest: 2 (lemon in train); 1 of 9 below"
    assert images.paths == ["lemon/train2.jpg", "lemon/train3.jpg"]


def test_an_empty_cell_counts_as_too_small():
    frame = manifest()
    frame = frame[(frame["label"] != "귤") | (frame["split"] != "val")]

    assert judged(splits.minimum_rows(evidence(frame), PARAMS))[1] == "smallest: 0 (귤 in val); 1 of 9 below"
