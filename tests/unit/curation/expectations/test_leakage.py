import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.validate import Validate
from podium.curation.expectations import leakage
from podium.curation.expectations.leakage import first_weights_unseen
from tests.dataset_facts import facts, judged, manifest


def test_images_that_own_weights_were_trained_on_are_named_with_those_of_their_group() -> None:
    frame = manifest()
    frame["photo_sha256"] = [f"{number:016x}" + "0" * 48 for number in range(len(frame))]
    rows = {split: frame.index[frame["split"] == split] for split in ("train", "val", "test")}
    frame.loc[rows["test"][1], "split_group"] = frame.loc[rows["test"][0], "split_group"]
    seen = frame.loc[[*rows["train"], rows["val"][2], rows["test"][0]], "photo_sha256"].str[:16].tolist()

    found = facts(frame, trained_on={"a": seen, "b": ["f" * 16]})
    broken, observed, images = judged(first_weights_unseen(found, Validate()))

    assert broken == ["images seen by the weights of a"]
    assert observed == "3 by the weights of a"
    assert images.paths == sorted(frame.loc[[rows["val"][2], rows["test"][0], rows["test"][1]], "path"])


def test_weights_that_saw_training_images_alone_and_weights_of_others_pass() -> None:
    frame = manifest()
    frame["photo_sha256"] = [f"{number:016x}" + "0" * 48 for number in range(len(frame))]
    train = frame.loc[frame["split"] == "train", "photo_sha256"].str[:16].tolist()
    for trained_on in ({}, {"a": train}, {"a": train, "b": ["f" * 16]}):
        assert judged(first_weights_unseen(facts(frame, trained_on=trained_on), Validate()))[0] == []


LEAKAGE_CHECKS = {
    "sha256": (leakage.image_in_one_split, "1 pictures in two or more splits"),
    "duplicate_group": (leakage.duplicates_in_one_split, "1 groups in two or more splits"),
    "photo_id": (leakage.photo_in_one_split, "1 photographs in two or more splits"),
    "photo_sha256": (leakage.photo_in_one_split, "1 files with the same bytes in two or more splits"),
    "split_group": (leakage.split_group_in_one_split, "1 groups in two or more splits"),
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

    _, observed, images = judged(leakage.photo_in_one_split(facts(frame), Validate()))

    assert observed.startswith(f"{(sides > 1).sum()} photographs in two or more splits")
    assert images.paths == sorted(frame.loc[there, "path"])
