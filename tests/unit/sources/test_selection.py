"""Which images are used under which labels: nothing is joined or left out by accident, limits take the same ones."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.dataset import ByColumn, ByPattern
from podium.core.errors import DataError, ParamsError
from podium.sources.selection import (
    assign_groups,
    file_behind,
    keep_together,
    limit_images,
    map_labels,
    refuse_similar_labels,
)
from podium.sources.source import Box, SourceImage


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
    assert set(counts(limit_images(images(), 7)).values()) == {7}
    assert set(counts(limit_images(images(splits=("",)), 7)).values()) == {7}
    assert limit_images(images(), None) == images()
    assert limit_images(images(), 1000) == images()


def test_numbers_by_split_leave_other_splits_whole() -> None:
    kept = counts(limit_images(images(("train", "val", "test")), {"train": 5, "test": 2}))
    assert {split: {n for (s, _), n in kept.items() if s == split} for split, _ in kept} == {
        "train": {5},
        "val": {30},
        "test": {2},
    }


def test_a_split_that_the_source_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="names split 'val', but the source gives only test, train"):
        limit_images(images(), {"train": 5, "val": 2})
    with pytest.raises(DataError, match="the source gives no split: use one number"):
        limit_images(images(("",)), {"train": 5})


@given(st.permutations(images(count=6)), st.integers(1, 7), st.integers(0, 3))
def test_the_choice_is_independent_of_order_and_grows_with_the_limit(
    shuffled: list[SourceImage], limit: int, more: int
) -> None:
    kept = {image.path for image in limit_images(shuffled, limit)}
    assert kept == {image.path for image in limit_images(images(count=6), limit)}
    assert kept <= {image.path for image in limit_images(shuffled, limit + more)}


def test_the_choice_is_pinned_for_all_versions() -> None:
    # Changing how images are chosen changes every limited experiment: this must be on purpose.
    assert [image.path for image in limit_images(images(("",)), 2)] == [
        "/사과/11.jpg",
        "/사과/15.jpg",
        "/pear/1.jpg",
        "/pear/2.jpg",
    ]


def test_boxes_are_counted_one_by_one_and_photographs_are_used_up_before_the_next() -> None:
    boxes = [Box(left, 0.0, left + 0.25, 1.0) for left in (0.0, 0.25, 0.5)]
    crops = [SourceImage(path=f"{i}.jpg", label="person", box=box) for i in range(4) for box in boxes]
    animals = [SourceImage(path=f"{i}.jpg", label="animal", box=Box(0.75)) for i in range(4)]
    kept = limit_images([*crops, *animals], 4)
    assert counts(kept) == {("", "person"): 4, ("", "animal"): 4}
    people = Counter(image.path for image in kept if image.label == "person")
    assert sorted(people.values()) == [1, 3]
    assert [i for i in limit_images([*crops, *animals], 1) if i.label == "animal"] == [
        *limit_images(animals, 1)
    ]  # what other labels a photograph has does not matter


# --- label maps and groups ------------------------------------------------------------------------------------------


def labelled(*labels: str) -> list[SourceImage]:
    return [SourceImage(path=f"{i}.jpg", label=label) for i, label in enumerate(labels)]


def test_listed_classes_become_ours_and_the_others_stay() -> None:
    found = map_labels("photos", labelled("Man", "Woman", "Dog"), {"person": ["Man", "Woman"]})
    assert [(i.label, i.source_label) for i in found] == [("person", "Man"), ("person", "Woman"), ("Dog", "")]


def test_a_class_keeps_its_name_when_it_is_listed_under_it() -> None:
    found = map_labels("photos", labelled("apple", "Apfel"), {"apple": ["apple", "Apfel"]})
    assert [(i.label, i.source_label) for i in found] == [("apple", ""), ("apple", "Apfel")]


def test_two_classes_may_swap_their_names() -> None:
    found = map_labels("photos", labelled("a", "b"), {"a": ["b"], "b": ["a"]})
    assert [(i.label, i.source_label) for i in found] == [("b", "a"), ("a", "b")]


def test_what_a_source_said_before_is_kept_through_a_second_map() -> None:
    once = map_labels("photos", labelled("Man", "cat"), {"person": ["Man"]})
    twice = map_labels("the merge", once, {"human": ["person"]})
    assert [(i.label, i.source_label) for i in twice] == [("human", "Man"), ("cat", "")]


def test_a_listed_class_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        DataError, match=r"labels.person lists 'Womann', but photos has no such class; did you mean 'Woman'"
    ):
        map_labels("photos", labelled("Man", "Woman"), {"person": ["Man", "Womann"]})


def test_a_name_that_is_another_class_is_refused_unless_it_is_listed_too() -> None:
    with pytest.raises(DataError, match=r"makes 'Apfel' of photos 'apple', which is another class of it: list 'apple'"):
        map_labels("photos", labelled("apple", "Apfel"), {"apple": ["Apfel"]})


def test_groups_are_of_our_labels() -> None:
    found = assign_groups(labelled("leek", "plum"), {"leek": "vegetable"})
    assert [i.group for i in found] == ["vegetable", ""]
    with pytest.raises(DataError, match=r"dataset.groups lists 'leak'.*did you mean 'leek'"):
        assign_groups(labelled("leek", "plum"), {"leak": "vegetable"})


def test_twins_of_one_source_are_named_with_the_key_that_joins_them() -> None:
    with pytest.raises(DataError, match=r"'Cat' and 'cat' differ in case .*`labels: {Cat: \[Cat, cat\]}` .*of photos"):
        refuse_similar_labels({"photos": {"Cat", "cat", "dog"}})
    with pytest.raises(DataError, match="differ in case or spacing only"):
        refuse_similar_labels({"photos": {"cat ", "cat"}})
    refuse_similar_labels({"photos": {"bell pepper", "bell_pepper"}})  # one source means them as two


def test_twins_of_two_sources_are_named_with_both_and_the_key_that_joins_them() -> None:
    with pytest.raises(
        DataError,
        match=r"'bell_pepper' of a and 'Bell Pepper' of b .*`labels: {bell_pepper: \[Bell Pepper\]}` in .* of b$",
    ):
        refuse_similar_labels({"a": {"bell_pepper", "leek"}, "b": {"Bell Pepper"}})
    refuse_similar_labels({"a": {"leek"}, "b": {"leek"}})  # the same class in two sources is what a merge is for


names = st.text("abA ", min_size=1, max_size=3)


@given(
    st.lists(names, min_size=1, max_size=8), st.dictionaries(names, st.lists(names, min_size=1, max_size=3), max_size=3)
)
def test_any_map_renames_what_it_lists_and_nothing_else_or_is_refused(
    labels: list[str], wanted: dict[str, list[str]]
) -> None:
    before = labelled(*labels)
    try:
        after = map_labels("it", before, wanted)
    except DataError as refused:
        assert "\n" not in str(refused)
        return
    ours = {label: our for our, listed in wanted.items() for label in listed}
    for old, new in zip(before, after, strict=True):
        assert (new.path, new.label) == (old.path, ours.get(old.label, old.label))
        assert (new.source_label or new.label) == old.label
    joined = {(new.label, old.label) for old, new in zip(before, after, strict=True)}
    for our in {label for label, _ in joined}:  # no two classes share a name but those listed together
        assert {old for label, old in joined if label == our} <= {our, *wanted.get(our, [])}
        assert our not in set(labels) or our in wanted.get(our, [our]) or our in ours


VERSIONS = {
    "a/x.jpg": "a/x",
    "a/x.rf.0123abcd9f.jpg": "a/x",  # Roboflow
    "a/x_jpg.rf.ffee0011.jpg": "a/x",
    "a/x_90deg.JPG": "a/x",  # PlantVillage
    "a/x_flipLR.JPG": "a/x",
    "a/x_new30degFlipTB.JPG": "a/x",
    "a/x_newPixel25.JPG": "a/x",
    "a/x_flip.jpg": "a/x",
    "a/x-rotated-270.png": "a/x",
    "a/x_aug_3.png": "a/x",
    "a/x (1).jpg": "a/x",
    "a/x(12).jpg": "a/x",
    "a/x - Copy (2).jpg": "a/x",  # Windows
    "a/x_vflip_crop2 copy.jpg": "a/x",
    "b/x.jpg": "b/x",  # another folder
    "a/x_90.jpg": "a/x_90",  # a number may be anything
    "a/IMG_2001.jpg": "a/IMG_2001",
    "a/flip.jpg": "a/flip",
    "a/backflip.jpg": "a/backflip",
    "noise/1.jpg": "noise/1",
}


@pytest.mark.parametrize(("path", "file"), VERSIONS.items())
def test_versions_of_a_file_are_known_by_their_names(path: str, file: str) -> None:
    assert file_behind(path) == file
    (kept,) = keep_together("it", [SourceImage(path=path, label="a")], "auto")
    assert kept.keep_together == file


def test_a_pattern_or_a_column_says_what_stays_together() -> None:
    some = [SourceImage(path=f"a/p{n // 2}-{n}.jpg", label="a", extras={"patient": n // 3, "age": 4}) for n in range(4)]

    def kept(rule: ByColumn | ByPattern | None) -> list[str]:
        return [image.keep_together for image in keep_together("it", some, rule)]

    assert kept(ByPattern(pattern=r"p(\d+)-")) == ["0", "0", "1", "1"]
    assert kept(ByPattern(pattern=r"p\d+")) == ["p0", "p0", "p1", "p1"]
    assert kept(ByPattern(pattern=r"(a)/p(\d)")) == ["a/0", "a/0", "a/1", "a/1"]
    assert kept(ByColumn(column="patient")) == ["0", "0", "0", "1"]
    assert kept(None) == [""] * 4
    with pytest.raises(ParamsError, match=r"names column 'pat', but it has no such column .*patient, age"):
        kept(ByColumn(column="pat"))
    with pytest.raises(DataError, match=r"'p0' finds nothing in 2 of 4 paths of it \(first: 'a/p1-2.jpg'\)"):
        kept(ByPattern(pattern="p0"))


def test_numbered_files_are_no_versions_of_one() -> None:
    numbered = [SourceImage(path=f"daisy ({n}).jpg", label="daisy") for n in range(300)]
    with pytest.raises(DataError, match=r"auto takes 300 images of it for versions of 'daisy'.* give a pattern"):
        keep_together("it", numbered, "auto")
