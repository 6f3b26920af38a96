import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.validate import MaximumShare, Validate
from podium.curation.expectations import manifest_rows
from podium.curation.expectations.expectation import NOBODY, CannotCheck
from podium.curation.expectations.manifest_rows import ImageSide, MinimumRows, Ratio, ShareRejected
from tests.dataset_facts import facts, judged, manifest

SIZES_PARAMS = Validate(image_side=ImageSide(minimum=32), training_resolution=MaximumShare(maximum=0.1))


@pytest.mark.parametrize(("column", "value"), [("height", 31), ("width", 1)])
def test_the_shorter_side_of_every_image_counts(column, value):
    frame = manifest()
    frame.loc[0, column] = value

    broken, observed, images = judged(manifest_rows.image_side(facts(frame), SIZES_PARAMS))

    assert broken
    assert observed == f"smallest: {value} pixels; 1 images below"
    assert images.paths == ["lemon/train0.jpg"]


def test_images_are_enlarged_where_their_longer_side_is_below_the_size_of_training():
    frame = manifest()  # 40 x 32
    frame.loc[:3, "width"] = 39

    assert judged(manifest_rows.training_resolution(facts(frame, image_size=39), SIZES_PARAMS))[1] == "0 (0 of 36)"
    broken, observed, images = judged(manifest_rows.training_resolution(facts(frame, image_size=40), SIZES_PARAMS))

    assert broken
    assert observed == "0.1111 (4 of 36)"
    assert images.paths == [f"lemon/train{n}.jpg" for n in range(4)]


def test_sizes_that_are_no_numbers_cannot_be_checked():
    frame = manifest().astype({"width": object})
    frame.loc[0, "width"] = "wide"

    with pytest.raises(CannotCheck, match="the column 'width' of the manifest holds values that are no numbers"):
        manifest_rows.image_side(facts(frame), SIZES_PARAMS)


READING_PARAMS = Validate(share_rejected=ShareRejected(maximum=0.1, because="a test"))


def test_too_many_rejected_images_are_told_with_their_paths():
    broken, observed, images = judged(manifest_rows.share_rejected(facts(rejected=6), READING_PARAMS))

    assert broken
    assert observed == "0.1429 (6 of 42)"
    assert images.paths == [f"bad{n}.jpg" for n in range(6)]


def test_a_few_are_accepted():
    assert judged(manifest_rows.share_rejected(facts(rejected=2), READING_PARAMS))[0] == []


@pytest.mark.parametrize("text", ["", " Unknown ", "N/A", None])
def test_images_without_a_licence_are_named(text):
    frame = manifest().astype({"licence": object})
    frame.loc[0, "licence"] = text

    broken, observed, images = judged(manifest_rows.licence_known(facts(frame), Validate()))

    assert broken
    assert observed == "1 of 36 without a licence; others: CC0-1.0 (35)"
    assert images.paths == ["lemon/train0.jpg"]


def test_known_licences_are_listed_the_most_frequent_first():
    frame = manifest()
    frame.loc[:2, "licence"] = "CC-BY-4.0"

    assert judged(manifest_rows.licence_known(facts(frame), Validate()))[:2] == (
        [],
        "0 of 36 without a licence; others: CC0-1.0 (33), CC-BY-4.0 (3)",
    )


SPLITS_PARAMS = Validate(minimum_rows=MinimumRows(minimum=3, because="a test"))


def test_every_class_is_in_every_split_of_a_sound_set():
    assert judged(manifest_rows.classes_in_every_split(facts(), SPLITS_PARAMS)) == ([], "3 classes", NOBODY)
    assert judged(manifest_rows.minimum_rows(facts(), SPLITS_PARAMS))[0] == []


def test_a_class_that_lacks_a_split_is_named_with_its_images_elsewhere():
    frame = manifest()
    frame = frame[(frame["label"] != "귤") | (frame["split"] != "val")]

    broken, observed, images = judged(manifest_rows.classes_in_every_split(facts(frame), SPLITS_PARAMS))

    assert broken == ["'귤' in val"]
    assert observed == "no image of '귤' in val"
    assert images.paths == [f"귤/{split}{n}.jpg" for split in ("test", "train") for n in range(4)]


def test_a_split_without_any_image_is_told_for_every_class():
    frame = manifest()

    _, observed, _ = judged(manifest_rows.classes_in_every_split(facts(frame[frame["split"] != "test"]), SPLITS_PARAMS))

    assert observed == "no image of 'lemon' in test; no image of 'orange' in test; no image of '귤' in test"


def test_cells_with_too_few_images_are_counted_and_their_images_named():
    frame = manifest().drop(index=[0, 1])

    broken, observed, images = judged(manifest_rows.minimum_rows(facts(frame), SPLITS_PARAMS))

    assert broken == ["'lemon' in train"]
    assert observed == "smallest: 2 (lemon in train); 1 of 9 below"
    assert images.paths == ["lemon/train2.jpg", "lemon/train3.jpg"]


def test_an_empty_cell_counts_as_too_small():
    frame = manifest()
    frame = frame[(frame["label"] != "귤") | (frame["split"] != "val")]

    assert judged(manifest_rows.minimum_rows(facts(frame), SPLITS_PARAMS))[1] == "smallest: 0 (귤 in val); 1 of 9 below"


LEAKAGE_CHECKS = {
    "sha256": (manifest_rows.image_in_one_split, "1 pictures in two or more splits"),
    "duplicate_group": (manifest_rows.duplicates_in_one_split, "1 groups in two or more splits"),
    "photo_id": (manifest_rows.photo_in_one_split, "1 photographs in two or more splits"),
    "photo_sha256": (manifest_rows.photo_in_one_split, "1 files with the same bytes in two or more splits"),
    "split_group": (manifest_rows.split_group_in_one_split, "1 groups in two or more splits"),
}


@pytest.mark.parametrize("column", LEAKAGE_CHECKS)
def test_a_key_on_two_sides_is_told_with_all_its_images(column):
    check, told = LEAKAGE_CHECKS[column]
    frame = manifest()
    frame.loc[[1, 4], column] = frame.loc[0, column]  # row 4 is in val; row 1, in train, would be allowed alone

    broken, observed, images = judged(check(facts(frame), Validate()))

    assert broken
    assert observed == told
    assert images.paths == ["lemon/train0.jpg", "lemon/train1.jpg", "lemon/val0.jpg"]


@pytest.mark.parametrize("column", LEAKAGE_CHECKS)
def test_the_same_key_twice_on_one_side_is_fine(column):
    frame = manifest()
    frame.loc[1, column] = frame.loc[0, column]

    assert judged(LEAKAGE_CHECKS[column][0](facts(frame), Validate()))[0] == []


@given(keys=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=36, max_size=36))
def test_named_are_exactly_the_images_whose_key_is_on_two_sides(keys):
    frame = manifest().astype({"photo_id": object})
    frame["photo_id"] = [None if key is None else f"p{key}" for key in keys]
    if frame["photo_id"].isna().all():
        return
    sides = frame.groupby("photo_id")["split"].nunique()
    there = frame["photo_id"].map(sides).fillna(0) > 1

    _, observed, images = judged(manifest_rows.photo_in_one_split(facts(frame), Validate()))

    assert observed.startswith(f"{(sides > 1).sum()} photographs in two or more splits")
    assert images.paths == sorted(frame.loc[there, "path"])


BALANCE_PARAMS = Validate(class_balance=Ratio(maximum=2.0), source_balance=Ratio(maximum=1.5))


def test_equal_classes_and_sources_are_balanced():
    assert judged(manifest_rows.class_balance(facts(), BALANCE_PARAMS))[1] == "1 (귤 12 / lemon 12)"
    assert judged(manifest_rows.source_balance(facts(), BALANCE_PARAMS))[0] == []


def test_the_images_of_a_class_that_is_too_small_are_named():
    frame = manifest().drop(index=range(7))

    broken, observed, images = judged(manifest_rows.class_balance(facts(frame), BALANCE_PARAMS))

    assert broken
    assert observed == "2.4 (귤 12 / lemon 5)"
    assert images.paths == [*(f"lemon/test{n}.jpg" for n in range(4)), "lemon/val3.jpg"]


def test_the_images_of_a_source_that_is_too_small_are_named():
    frame = manifest()
    frame = frame[(frame["source"] == "a") | (frame.index < 4)]

    broken, observed, images = judged(manifest_rows.source_balance(facts(frame), BALANCE_PARAMS))

    assert broken
    assert observed == "9 (a 18 / b 2)"
    assert images.paths == ["lemon/train1.jpg", "lemon/train3.jpg"]
