import pandas as pd
import pytest

from podium.config.preprocess import Preprocess
from podium.config.validate import MaximumShare, Validate
from podium.curation.expectations import manifest_rows
from podium.curation.expectations.expectation import NOBODY, CannotCheck
from podium.curation.expectations.manifest_rows import ImageSide, MinimumRows, Ratio, ShareRejected
from podium.curation.splits import assign_splits
from tests.dataset_facts import LABELS, facts, judged, manifest

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


@pytest.mark.parametrize(
    ("rows", "minimum", "told"),
    [
        (12, 5, "; preprocess.split_seed: 35 gives all of them 5"),
        (12, 9, "; none of the split_seeds tried does, but preprocess.split_seed: "),
    ],
)
def test_a_small_set_is_told_every_class_and_the_seed_that_helps(rows: int, minimum: int, told: str):
    frame = manifest(rows)
    drawn = frame.assign(split=assign_splits(frame, Preprocess(image_size=8)).split)
    settings = Validate(minimum_rows=MinimumRows(minimum=minimum))

    _, observed, _ = judged(manifest_rows.minimum_rows(facts(drawn, preprocess=Preprocess(image_size=8)), settings))

    assert told in observed
    assert minimum == 5 or all(f"{label} in val" in observed and f"{label} in test" in observed for label in LABELS[:2])
    seed = int(observed.split("split_seed: ")[1].split()[0])
    cells = pd.crosstab(frame["label"], assign_splits(frame, Preprocess(image_size=8, split_seed=seed)).split)
    assert cells.to_numpy().min() == int(observed.rsplit(" ", 1)[1])


def test_splits_that_the_source_gives_leave_no_seed_to_draw_with():
    frame = manifest(4).assign(source_split=lambda images: images["split"])

    _, observed, _ = judged(manifest_rows.minimum_rows(facts(frame, preprocess=Preprocess(image_size=8)), Validate()))

    assert observed.endswith("; no preprocess.split_seed that was tried gives more")


def test_an_empty_cell_counts_as_too_small():
    frame = manifest()
    frame = frame[(frame["label"] != "귤") | (frame["split"] != "val")]

    assert judged(manifest_rows.minimum_rows(facts(frame), SPLITS_PARAMS))[1] == "smallest: 0 (귤 in val); 1 of 9 below"


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
