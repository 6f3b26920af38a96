import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.validate import Validate
from podium.curation.expectations import leakage
from tests.evidence import evidence, judged, manifest

CHECKS = {
    "sha256": (leakage.image_in_one_split, "1 pictures in two or more splits"),
    "duplicate_group": (leakage.duplicates_in_one_split, "1 groups in two or more splits"),
    "photo_id": (leakage.photo_in_one_split, "1 photographs in two or more splits"),
    "photo_sha256": (leakage.photo_in_one_split, "1 files with the same bytes in two or more splits"),
    "split_group": (leakage.split_group_in_one_split, "1 groups in two or more splits"),
}


@pytest.mark.parametrize("column", CHECKS)
def test_a_key_on_two_sides_is_told_with_all_its_images(column):
    check, told = CHECKS[column]
    frame = manifest()
    frame.loc[[1, 4], column] = frame.loc[0, column]  # row 4 is in val; row 1, in train, would be allowed alone

    broken, observed, images = judged(check(evidence(frame), Validate()))

    assert broken
    assert observed == told
    assert images.paths == ["lemon/train0.jpg", "lemon/train1.jpg", "lemon/val0.jpg"]


@pytest.mark.parametrize("column", CHECKS)
def test_the_same_key_twice_on_one_side_is_fine(column):
    frame = manifest()
    frame.loc[1, column] = frame.loc[0, column]

    assert judged(CHECKS[column][0](evidence(frame), Validate()))[0] == []


@given(keys=st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=36, max_size=36))
def test_named_are_exactly_the_images_whose_key_is_on_two_sides(keys):
    frame = manifest().astype({"photo_id": object})
    frame["photo_id"] = [None if key is None else f"p{key}" for key in keys]
    if frame["photo_id"].isna().all():
        return
    sides = frame.groupby("photo_id")["split"].nunique()
    there = frame["photo_id"].map(sides).fillna(0) > 1

    _, observed, images = judged(leakage.photo_in_one_split(evidence(frame), Validate()))

    assert observed.startswith(f"{(sides > 1).sum()} photographs in two or more splits")
    assert images.paths == sorted(frame.loc[there, "path"])
