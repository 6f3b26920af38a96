"""Label maps and groups: nothing is joined, renamed or left out by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.sources.labels import grouped, mapped, refuse_twins
from podium.sources.listing import SourceImage


def images(*labels: str) -> list[SourceImage]:
    return [SourceImage(path=f"{i}.jpg", label=label) for i, label in enumerate(labels)]


def test_listed_classes_become_ours_and_the_others_stay() -> None:
    found = mapped("photos", images("Man", "Woman", "Dog"), {"person": ["Man", "Woman"]})
    assert [(i.label, i.source_label) for i in found] == [("person", "Man"), ("person", "Woman"), ("Dog", "")]


def test_a_class_keeps_its_name_when_it_is_listed_under_it() -> None:
    found = mapped("photos", images("apple", "Apfel"), {"apple": ["apple", "Apfel"]})
    assert [(i.label, i.source_label) for i in found] == [("apple", ""), ("apple", "Apfel")]


def test_two_classes_may_swap_their_names() -> None:
    found = mapped("photos", images("a", "b"), {"a": ["b"], "b": ["a"]})
    assert [(i.label, i.source_label) for i in found] == [("b", "a"), ("a", "b")]


def test_what_a_source_said_before_is_kept_through_a_second_map() -> None:
    once = mapped("photos", images("Man", "cat"), {"person": ["Man"]})
    twice = mapped("the merge", once, {"human": ["person"]})
    assert [(i.label, i.source_label) for i in twice] == [("human", "Man"), ("cat", "")]


def test_a_listed_class_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        DataError, match=r"labels.person lists 'Womann', but photos has no such class; did you mean 'Woman'"
    ):
        mapped("photos", images("Man", "Woman"), {"person": ["Man", "Womann"]})


def test_a_name_that_is_another_class_is_refused_unless_it_is_listed_too() -> None:
    with pytest.raises(DataError, match=r"makes 'Apfel' of photos 'apple', which is another class of it: list 'apple'"):
        mapped("photos", images("apple", "Apfel"), {"apple": ["Apfel"]})


def test_groups_are_of_our_labels() -> None:
    found = grouped(images("leek", "plum"), {"leek": "vegetable"})
    assert [i.group for i in found] == ["vegetable", ""]
    with pytest.raises(DataError, match=r"dataset.groups lists 'leak'.*did you mean 'leek'"):
        grouped(images("leek", "plum"), {"leak": "vegetable"})


def test_twins_of_one_source_are_named_with_the_key_that_joins_them() -> None:
    with pytest.raises(DataError, match=r"'Cat' and 'cat' differ in case .*`labels: {Cat: \[Cat, cat\]}` .*of photos"):
        refuse_twins({"photos": {"Cat", "cat", "dog"}})
    with pytest.raises(DataError, match="differ in case or spacing only"):
        refuse_twins({"photos": {"cat ", "cat"}})
    refuse_twins({"photos": {"bell pepper", "bell_pepper"}})  # one source means them as two


def test_twins_of_two_sources_are_named_with_both_and_the_key_that_joins_them() -> None:
    with pytest.raises(
        DataError,
        match=r"'bell_pepper' of a and 'Bell Pepper' of b .*`labels: {bell_pepper: \[Bell Pepper\]}` in .* of b$",
    ):
        refuse_twins({"a": {"bell_pepper", "leek"}, "b": {"Bell Pepper"}})
    refuse_twins({"a": {"leek"}, "b": {"leek"}})  # the same class in two sources is what a merge is for


names = st.text("abA ", min_size=1, max_size=3)


@given(
    st.lists(names, min_size=1, max_size=8), st.dictionaries(names, st.lists(names, min_size=1, max_size=3), max_size=3)
)
def test_any_map_renames_what_it_lists_and_nothing_else_or_is_refused(
    labels: list[str], wanted: dict[str, list[str]]
) -> None:
    before = images(*labels)
    try:
        after = mapped("it", before, wanted)
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
