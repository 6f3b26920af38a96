"""Which boxes are chosen, whatever the order of rows, and what their neighbours say about them."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from podium.sources.source import Box
from tests.fake_openimages import BOX_HEADER, box, shuffled, small_world, world_of
from tests.site import Site
from tests.unit.sources.openimages_reading import listing, of_train

A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


Neighbour = tuple[str, tuple[float, float, float, float], int | None]
# Boxes of one photograph, and how many boxes of other labels overlap each of the chosen ones.
NEIGHBOURS: dict[str, list[Neighbour]] = {
    "classes of one label are not others": [("Man", (0, 0, 0.5, 0.5), 0), ("Woman", (0.1, 0.1, 0.6, 0.6), 0)],
    "two labels": [("Man", (0, 0, 0.5, 0.5), 1), ("Dog", (0.4, 0.4, 1, 1), 1)],
    # they touch, but share no area
    "side by side": [("Man", (0, 0, 0.5, 0.5), 0), ("Dog", (0.5, 0, 1, 0.5), 0)],
    # classes nobody asked for count too
    "unlisted": [
        ("Man", (0, 0, 1, 1), 2),
        ("Human face", (0.4, 0, 0.6, 0.2), None),
        ("Billboard", (0, 0, 1, 1), None),
    ],
    "each box counts": [("Car", (0, 0, 1, 1), 3), *[("Dog", (n / 10, 0, n / 10 + 0.1, 1), 1) for n in (0, 3, 6)]],
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_boxes_of_other_labels_are_counted(neighbours: list[Neighbour], site: Site, tmp_path: Path) -> None:
    rows = [box(A, name, sides) for name, sides, _ in neighbours]
    elsewhere = [box(B, name, (0, 0.1 * n, 1, 1)) for n, name in enumerate(("Person", "Dog", "Car"))]
    found = of_train(site, world_of(*rows, *elsewhere), tmp_path)
    assert {(i.source_label, i.box): i.extras["other_boxes"] for i in found.images if A in i.path} == {
        (name, Box(*sides)): count for name, sides, count in neighbours if count is not None
    }


def test_flags_that_an_older_file_lacks_are_unknown(site: Site, tmp_path: Path) -> None:
    world = world_of(*[box(A, name, (0.1, 0.1, 0.3, 0.3 + n / 10)) for n, name in enumerate(("Man", "Dog", "Car"))])
    world.box_header = BOX_HEADER[:8]
    extras = of_train(site, world, tmp_path).images[0].extras
    assert [extras[n] for n in ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "is_inside")] == [-1] * 5


def test_columns_are_found_by_name(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    expected = listing(site, tmp_path / "one")
    world.box_header = random.Random(3).sample(BOX_HEADER, len(BOX_HEADER))
    world.put_on(site)
    assert listing(site, tmp_path / "two") == expected


def test_one_box_with_several_classes_of_a_label_is_one_image(site: Site, tmp_path: Path) -> None:
    same = (0.1, 0.1, 0.9, 0.9)
    rows = [box(A, "Woman", same), box(A, "Person", same), box(A, "Person", same, IsOccluded=1)]
    rows += [box(B, "Dog", (0, 0, 1, 1)), box(B, "Car", (0, 0, 0.5, 1))]
    for order in (rows, rows[::-1]):
        found = of_train(site, world_of(*order), tmp_path / str(order is rows))
        people = [i for i in found.images if i.label == "person"]
        assert [(i.source_label, i.extras["is_occluded"]) for i in people] == [("Person", 0)]


def test_one_box_with_several_labels_is_left_out_with_the_reason(site: Site, tmp_path: Path) -> None:
    rows = [box(A, "Man", (0, 0, 0.5, 1)), box(A, "Dog", (0, 0, 0.5, 1))]
    rows += [box(B, name, (0, n / 10, 1, 1)) for n, name in enumerate(("Man", "Dog", "Car"))]
    found = of_train(site, world_of(*rows), tmp_path)
    assert {i.path for i in found.images} == {f"train/{B}.jpg"}
    assert [(s.path, s.reason) for s in found.skipped] == [
        (f"train/{A}.jpg", "the box 0.0,0.0,0.5,1.0 has more than one of the chosen labels")
    ] * 2


BAD_BOXES = {
    "inverted": (0.5, 0.1, 0.2, 0.9),
    "empty": (0.5, 0.1, 0.5, 0.9),
    "outside": (0.5, 0.1, 1.2, 0.9),
    "negative": (-0.1, 0.1, 0.5, 0.9),
    "no number": ("", 0.1, 0.5, 0.9),
}


@pytest.mark.parametrize("sides", BAD_BOXES.values(), ids=BAD_BOXES)
def test_a_box_that_is_none_is_left_out_with_the_reason(sides: Any, site: Site, tmp_path: Path) -> None:
    rows = [box(B, name, (0, n / 10, 1, 1)) for n, name in enumerate(("Man", "Dog", "Car"))]
    found = of_train(site, world_of(box(A, "Dog", sides), *rows), tmp_path)
    assert len(found.images) == 3
    ((path, reason),) = [(s.path, s.reason) for s in found.skipped]
    assert path == f"train/{A}.jpg" and "is inverted or lies outside the photograph" in reason


# --- the limit -----------------------------------------------------------------------------------------------------


def test_the_choice_does_not_depend_on_the_order_of_rows(site: Site, tmp_path: Path) -> None:
    found = []
    for seed in range(4):
        shuffled(small_world(30), seed).put_on(site)
        found.append(listing(site, tmp_path / str(seed), limit_per_class=7))
    assert found[0] == found[1] == found[2] == found[3]
    assert set(Counter((i.split, i.label) for i in found[0].images).values()) == {7}
    assert len({i.path for i in found[0].images if i.label == "person" and i.split == "train"}) > 3  # not one after one


def test_a_larger_limit_keeps_what_a_smaller_one_kept(site: Site, tmp_path: Path) -> None:
    small_world(30).put_on(site)
    few, more, all_of_them = ({i.key for i in listing(site, tmp_path, limit_per_class=n).images} for n in (3, 9, None))
    assert few < more < all_of_them


def test_limits_by_split(site: Site, tmp_path: Path) -> None:
    small_world(10).put_on(site)
    found = listing(site, tmp_path, limit_per_class={"train": 2, "test": 4}).images
    assert Counter((i.split, i.label) for i in found if i.label == "animal") == {
        ("train", "animal"): 2,
        ("val", "animal"): 10,
        ("test", "animal"): 4,
    }


@pytest.mark.parametrize("copies", [1, 30])
def test_dropping_rows_on_the_way_changes_nothing(
    copies: int, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(20)
    for rows in world.boxes.values():
        rows[:] = [row for row in rows for _ in range(copies if row in rows[:40] else 1)]
    world.put_on(site)
    expected = listing(site, tmp_path, limit_per_class=15)
    monkeypatch.setattr("podium.sources.openimages_tables._SPARE_ROWS", 0)
    monkeypatch.setattr("podium.sources.openimages_tables._BLOCK", 2_000)  # many small batches
    monkeypatch.setattr("podium.sources.openimages_tables._PAIRS_AT_ONCE", 10)
    assert listing(site, tmp_path, limit_per_class=15) == expected
