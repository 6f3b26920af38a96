"""A dataset as parts: label maps, groups and limits in their order, and several sources as one."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from podium.config.dataset import Dataset, Fetch, MergeDataset
from podium.core.errors import DataError, ParamsError, PodiumError
from podium.core.layout import Layout
from podium.records.fetch import Sources
from podium.sources.datasets import describe_sources, merge, open_dataset
from podium.sources.source import Listing, Origin, Part, SourceImage

GARDEN = {"source": "folder", "location": "data/garden", "licence": "CC0-1.0", "name": "garden"}
MARKET = {"source": "folder", "location": "data/market", "licence": "CC-BY-4.0", "name": "market"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two folders: one with splits, one without; `leek` is in both."""
    for path in (
        *(f"garden/{split}/{label}/{i}.jpg" for split in ("train", "test") for label in ("leek", "rose") for i in "12"),
        *(f"market/{label}/{i}.jpg" for label in ("leek", "Plum", "Pflaume") for i in "12"),
        "market/prices.txt",
    ):
        file = tmp_path / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    return Layout(tmp_path)


def section(**keys: Any) -> Any:
    return TypeAdapter(Dataset).validate_python(keys)


def merged(*parts: dict[str, Any], **keys: Any) -> Any:
    return section(source="merge", parts=list(parts), **keys)


def listed(layout: Layout, dataset: Any) -> tuple[list[tuple[str, ...]], Sources]:
    parts = open_dataset(layout, dataset, Fetch())
    found = [
        (part.origin.name, i.path, i.split, i.label, i.source_label, i.group) for part in parts for i in part.images
    ]
    assert all(part.source.read(i.path).endswith(i.path.encode()) for part in parts for i in part.images)
    return found, describe_sources(parts)


def test_a_merge_keeps_source_class_and_licence_of_every_image(layout: Layout) -> None:
    plums = MARKET | {"labels": {"plum": ["Plum", "Pflaume"]}}
    found, sources = listed(layout, merged(GARDEN, plums, groups={"leek": "vegetable", "plum": "fruit"}))
    assert ("garden", "train/leek/1.jpg", "train", "leek", "garden/leek", "vegetable") in found
    assert ("market", "leek/1.jpg", "", "leek", "market/leek", "vegetable") in found
    assert ("market", "Pflaume/2.jpg", "", "plum", "market/Pflaume", "fruit") in found
    assert len(found) == 14
    assert sources.shared == {"leek": ["garden", "market"]}
    assert [(s.name, s.licences, s.images) for s in sources.sources] == [
        ("garden", {"CC0-1.0": 8}, 8),
        ("market", {"CC-BY-4.0": 6}, 6),
    ]
    assert sources.sources[1].labels == {"plum": ["market/Pflaume", "market/Plum"]}
    assert sources.classes == ["leek", "plum", "rose"]
    assert [s.path for s in sources.skipped] == ["market/prices.txt"]


def test_maps_groups_and_limits_of_a_merge_come_after_those_of_its_parts(layout: Layout) -> None:
    plums = MARKET | {"labels": {"plum": ["Plum", "Pflaume"]}, "limit_per_class": 3}
    found, _ = listed(layout, merged(GARDEN, plums, labels={"food": ["leek", "plum"]}, limit_per_class=4))
    by_label = {label: [f for f in found if f[3] == label] for label in ("food", "rose")}
    assert len(by_label["rose"]) == 4  # two in each of its splits
    assert [f[2] for f in by_label["food"]].count("") == 4  # of five that the market has left
    assert {f[4] for f in by_label["food"]} <= {"garden/leek", "market/leek", "market/Plum", "market/Pflaume"}


def test_the_splits_of_a_source_are_kept_or_forgotten_so_that_all_is_drawn(layout: Layout) -> None:
    kept, _ = listed(layout, section(**GARDEN))
    drawn, _ = listed(layout, section(**GARDEN, splits="draw", limit_per_class=3))

    assert {f[2] for f in kept} == {"train", "test"}
    assert {f[2] for f in drawn} == {""}
    assert len(drawn) == 6  # three a class of all, not of each split
    with pytest.raises(DataError, match="gives no split: use one number"):
        listed(layout, section(**GARDEN, splits="draw", limit_per_class={"train": 1}))


def test_a_merge_forgets_the_splits_of_one_part_or_of_all(layout: Layout) -> None:
    shed = GARDEN | {"name": "shed"}
    one, _ = listed(layout, merged(GARDEN, shed | {"splits": "draw"}))
    both, _ = listed(layout, merged(GARDEN, shed, splits="draw"))

    assert {(f[0], f[2]) for f in one} == {("garden", "train"), ("garden", "test"), ("shed", "")}
    assert {f[2] for f in both} == {""}
    assert len(one) == len(both) == 16


def test_one_source_needs_no_merge_for_a_label_map(layout: Layout) -> None:
    found, sources = listed(layout, section(**MARKET, labels={"plum": ["Plum", "Pflaume"]}, groups={"plum": "fruit"}))
    assert {(f[3], f[4], f[5]) for f in found} == {
        ("leek", "", ""),
        ("plum", "Plum", "fruit"),
        ("plum", "Pflaume", "fruit"),
    }
    assert sources.shared == {} and [s.path for s in sources.skipped] == ["prices.txt"]


def test_where_images_of_a_table_lie_is_recorded_without_secrets(layout: Layout) -> None:
    (layout.data / "t.csv").write_text("path,label\nleek/1.jpg,leek\nPlum/1.jpg,plum\n")
    table = {"source": "csv", "location": "data/t.csv", "licence": "x"}
    _, sources = listed(layout, section(**table, images="data/market"))
    assert sources.sources[0].location == "data/t.csv, images in data/market"
    parts = open_dataset(layout, section(**table, images="https://me:secret@host/a"), Fetch())
    assert parts[0].origin.location == "data/t.csv, images in https://host/a"


def test_a_part_may_have_one_class_but_the_whole_may_not(layout: Layout) -> None:
    only = MARKET | {"labels": {"leek": ["leek", "Plum", "Pflaume"]}}
    assert len(listed(layout, merged(GARDEN, only))[0]) == 14
    with pytest.raises(DataError, match="the dataset holds one class, 'leek'"):
        listed(layout, section(**only))


# A mistake -> the dataset, and what is said of it.
MISTAKES: dict[str, tuple[dict[str, Any], type[PodiumError], str]] = {
    "two spellings": (
        {"source": "merge", "parts": [GARDEN | {"labels": {"Leek": ["leek"]}}, MARKET]},
        DataError,
        "'Leek' of garden and 'leek' of market differ in case or spacing only: make them one with `labels: "
        "{Leek: [leek]}` in the section of market",
    ),
    "a class that a part lacks": (
        {"source": "merge", "parts": [GARDEN, MARKET | {"labels": {"plum": ["plumm"]}}]},
        DataError,
        "part 'market' of the merge: dataset.labels.plum lists 'plumm', but market has no such class",
    ),
    "a class that the whole lacks": (
        {"source": "merge", "parts": [GARDEN, MARKET], "labels": {"plum": ["plumm"]}},
        DataError,
        "but the merge has no such class",
    ),
    "a part outside of data": (
        {"source": "merge", "parts": [GARDEN, MARKET | {"location": "market"}]},
        ParamsError,
        "part 'market' of the merge: dataset.location 'market' lies outside data/",
    ),
    "a missing part": (
        {"source": "merge", "parts": [GARDEN | {"location": "data/no"}, MARKET]},
        DataError,
        "part 'garden' of the merge: folder",
    ),
}


@pytest.mark.parametrize(("keys", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_the_part_and_the_key(
    layout: Layout, keys: dict[str, Any], error: type[PodiumError], message: str
) -> None:
    with pytest.raises(error) as caught:
        listed(layout, section(**keys))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_classes_that_differ_in_case_are_refused_until_they_are_joined(layout: Layout) -> None:
    (layout.data / "garden" / "test" / "Rose").mkdir()
    (layout.data / "garden" / "test" / "Rose" / "3.jpg").write_bytes(b"test/Rose/3.jpg")
    with pytest.raises(DataError, match=r"'Rose' and 'rose' differ in case .*`labels: {Rose: \[Rose, rose\]}`"):
        listed(layout, section(**GARDEN))
    found, _ = listed(layout, section(**GARDEN, labels={"rose": ["Rose", "rose"]}))
    assert {f[3] for f in found} == {"leek", "rose"}


def test_further_columns_must_fit_the_manifest_and_each_other(layout: Layout) -> None:
    for name, value in (("a", "x"), ("b", "1")):
        (layout.data / f"{name}.csv").write_text(f"path,label,remark,width\nmarket/leek/1.jpg,{name},{value},3\n")
    parts = [
        {"source": "csv", "location": f"data/{n}.csv", "licence": "x", "name": n, "extras": {"remark": kind}}
        for n, kind in (("a", "text"), ("b", "int"))
    ]
    with pytest.raises(DataError, match="column 'remark' is text in one of a and b, a number in the other"):
        listed(layout, merged(*parts))


@pytest.mark.parametrize("name", ["width", "row", "fill", "content_width", "naive_split", "brightness"])
def test_a_further_column_with_a_name_of_ours_is_refused_by_name(layout: Layout, name: str) -> None:
    (layout.data / "a.csv").write_text(f"path,label,{name}\nmarket/leek/1.jpg,leek,3\n")
    with pytest.raises(DataError, match=f"column '{name}' has the name of one of podium's own: rename it$"):
        listed(layout, section(source="csv", location="data/a.csv", licence="x", extras={name: "int"}))


labels = st.sampled_from(["a", "b", "c"])
piles = st.lists(st.tuples(labels, st.sampled_from(["", "train", "test"])), max_size=8)


@given(st.lists(piles, min_size=2, max_size=3), st.integers(1, 4))
def test_merging_loses_no_image_but_those_above_the_limit(found: list[list[tuple[str, str]]], limit: int) -> None:
    parts = []
    for number, pile in enumerate(found):
        images = tuple(SourceImage(path=f"{i}.jpg", label=label, split=split) for i, (label, split) in enumerate(pile))
        origin = Origin(f"p{number}", "folder", "x", None, "CC0-1.0")
        parts.append(Part(origin, _Unread(Listing(origin.name, None, images, ())), images, ()))
    one = {"source": "folder", "location": "x", "licence": "y"}
    dataset: MergeDataset = merged(one | {"name": "p0"}, one | {"name": "p1"}, limit_per_class=limit)
    after = merge(parts, dataset)
    for old, new in zip(parts, after, strict=True):
        assert {i.key for i in new.images} <= {i.key for i in old.images}
        assert all(i.source_label == f"{new.origin.name}/{i.label}" for i in new.images)
    for cell in {cell for pile in found for cell in pile}:
        had = sum(pile.count(cell) for pile in found)
        assert sum((i.label, i.split) == cell for part in after for i in part.images) == min(had, limit)


class _Unread:
    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def read(self, path: str) -> bytes:
        raise AssertionError(path)
