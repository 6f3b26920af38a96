"""`dataset.limit_per_class`: the same images every time, and more of them with a larger limit."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.sources.listing import Box, SourceImage
from podium.sources.selection import limited


def images(splits: tuple[str, ...] = ("train", "test"), count: int = 30) -> list[SourceImage]:
    return [
        SourceImage(path=f"{split}/{label}/{i}.jpg", label=label, split=split)
        for split in splits
        for label in ("사과", "pear")
        for i in range(count)
    ]


def counts(kept: list[SourceImage]) -> Counter[tuple[str, str]]:
    return Counter((image.split, image.label) for image in kept)


def test_one_number_holds_for_each_class_in_each_split() -> None:
    assert set(counts(limited(images(), 7)).values()) == {7}
    assert set(counts(limited(images(splits=("",)), 7)).values()) == {7}
    assert limited(images(), None) == images()
    assert limited(images(), 1000) == images()


def test_numbers_by_split_leave_other_splits_whole() -> None:
    kept = counts(limited(images(("train", "val", "test")), {"train": 5, "test": 2}))
    assert {split: {n for (s, _), n in kept.items() if s == split} for split, _ in kept} == {
        "train": {5},
        "val": {30},
        "test": {2},
    }


def test_a_split_that_the_source_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="names split 'val', but the source gives only test, train"):
        limited(images(), {"train": 5, "val": 2})
    with pytest.raises(DataError, match="the source gives no split: use one number"):
        limited(images(("",)), {"train": 5})


@given(st.permutations(images(count=6)), st.integers(1, 7), st.integers(0, 3))
def test_the_choice_is_independent_of_order_and_grows_with_the_limit(
    shuffled: list[SourceImage], limit: int, more: int
) -> None:
    kept = {image.path for image in limited(shuffled, limit)}
    assert kept == {image.path for image in limited(images(count=6), limit)}
    assert kept <= {image.path for image in limited(shuffled, limit + more)}


def test_the_choice_is_pinned_for_all_versions() -> None:
    # Changing how images are chosen changes every limited experiment: this must be on purpose.
    assert [image.path for image in limited(images(("",)), 2)] == [
        "/사과/11.jpg",
        "/사과/15.jpg",
        "/pear/1.jpg",
        "/pear/2.jpg",
    ]


def test_boxes_are_counted_one_by_one_and_photographs_are_used_up_before_the_next() -> None:
    boxes = [Box(left, 0.0, left + 0.25, 1.0) for left in (0.0, 0.25, 0.5)]
    crops = [SourceImage(path=f"{i}.jpg", label="person", box=box) for i in range(4) for box in boxes]
    animals = [SourceImage(path=f"{i}.jpg", label="animal", box=Box(0.75)) for i in range(4)]
    kept = limited([*crops, *animals], 4)
    assert counts(kept) == {("", "person"): 4, ("", "animal"): 4}
    people = Counter(image.path for image in kept if image.label == "person")
    assert sorted(people.values()) == [1, 3]
    assert [i for i in limited([*crops, *animals], 1) if i.label == "animal"] == [
        *limited(animals, 1)
    ]  # what other labels a photograph has does not matter
