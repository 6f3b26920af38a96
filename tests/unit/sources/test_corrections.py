"""Corrected labels: what a row changes and what it does not, that it can be undone, and what is refused."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from podium.config.dataset import Dataset, Fetch
from podium.config.models import ModelSection
from podium.core.errors import DataError, ParamsError
from podium.core.files import sha256_tree
from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS, read_manifest
from podium.pipeline.fetch import fetch_dataset
from podium.records.fetch import Sources
from podium.sources.snapshot import write_snapshot

MODELS = {"small": ModelSection(architecture="resnet10t")}
FILE = "data/corrections.csv"
COLUMNS = ("path", "image_id", "was", "label", "why")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder with splits, and a table with two boxes of one photograph."""
    for split in ("train", "test"):
        for label in ("leek", "plum", "rose"):
            for i in range(3):
                file = tmp_path / "data" / "garden" / split / label / f"{i}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(f"{split}{label}{i}".encode())
    (tmp_path / "data" / "market.csv").write_text(
        "path,label,l,t,r,b\nm.jpg,leek,0,0,0.5,1\nm.jpg,plum,0.5,0,1,1\nn.jpg,plum,,,,\n"
    )
    for name in ("m.jpg", "n.jpg"):
        (tmp_path / "data" / name).write_bytes(name.encode())
    return Layout(tmp_path)


GARDEN = {
    "source": "folder",
    "location": "data/garden",
    "licence": "CC0-1.0",
    "groups": {"leek": "vegetable", "plum": "fruit"},
}
MARKET = {
    "source": "csv",
    "location": "data/market.csv",
    "licence": "CC0-1.0",
    "columns": {"box": {"left": "l", "top": "t", "right": "r", "bottom": "b"}},
}


def fetch(layout: Layout, dataset: dict[str, Any] | None = None, **keys: Any) -> pd.DataFrame:
    """The raw manifest, by path; `keys` go into the section."""
    section = TypeAdapter(Dataset).validate_python({**(dataset or GARDEN), **keys})
    fetch_dataset(layout, section, Fetch(), MODELS)
    return read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS).set_index("path", drop=False)


def write(layout: Layout, *rows: tuple[str, ...], columns: tuple[str, ...] = COLUMNS) -> None:
    """The file, with a row each: path, image_id, was, label, why."""
    with (layout.root / FILE).open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def test_a_row_changes_the_label_of_its_image_and_nothing_else(layout: Layout, capsys: Any) -> None:
    before = fetch(layout)
    write(
        layout,
        ("train/plum/1.jpg", "", "plum", "leek", "stalks"),
        ("train/plum/2.jpg", "", "plum", "plum", ""),
        ("test/rose/0.jpg", "", "", "", "not looked at"),
    )
    after = fetch(layout, corrections=FILE)
    changed = after.loc["train/plum/1.jpg"]
    assert changed[["label", "group", "source_label"]].to_list() == ["leek", "vegetable", "plum"]
    assert after.drop(index="train/plum/1.jpg").equals(before.drop(index="train/plum/1.jpg"))
    same = [column for column in RAW_COLUMNS if column not in ("label", "group", "source_label")]
    assert changed[same].equals(before.loc["train/plum/1.jpg", same])
    assert f"fetch: {FILE}: 1 label corrected, 1 found right\n" in capsys.readouterr().out
    found = Sources.read(layout.raw / "sources.json").corrections
    assert found is not None
    assert [(one.path, one.was, one.label, one.why) for one in found.corrected] == [
        ("train/plum/1.jpg", "plum", "leek", "stalks")
    ]
    assert Sources.read(layout.raw / "sources.json").sources[0].labels == {}  # no label map


def test_an_image_left_out_is_in_no_row_but_among_the_files_with_a_reason(layout: Layout) -> None:
    write(layout, ("test/rose/0.jpg", "", "rose", "left_out", "a drawing"))
    after = fetch(layout, corrections=FILE)
    assert "test/rose/0.jpg" not in after.index and len(after) == 17
    [skipped] = Sources.read(layout.raw / "sources.json").skipped
    assert (skipped.path, skipped.reason, skipped.image) == (
        "test/rose/0.jpg",
        "left out by data/corrections.csv: a drawing",
        False,
    )


def test_without_the_key_the_bytes_are_those_of_before(layout: Layout) -> None:
    fetch(layout)
    before = sha256_tree(layout.raw.iterdir(), layout.raw)
    write(layout, ("train/plum/1.jpg", "", "plum", "leek", ""))
    fetch(layout, corrections=FILE)
    assert sha256_tree(layout.raw.iterdir(), layout.raw) != before
    fetch(layout)
    assert sha256_tree(layout.raw.iterdir(), layout.raw) == before
    assert "corrections" not in (layout.raw / "sources.json").read_text()


def test_of_several_images_of_one_path_the_id_names_one(layout: Layout) -> None:
    before = fetch(layout, MARKET)
    boxed = before[before["label"] == "leek"].iloc[0]
    write(layout, ("m.jpg", "", "", "plum", ""))
    with pytest.raises(DataError, match=r"line 2: 2 images have the path 'm\.jpg': give the image_id too"):
        fetch(layout, MARKET, corrections=FILE)
    write(layout, ("m.jpg", boxed["image_id"], "leek", "left_out", ""), ("n.jpg", "1.2E+15", "plum", "leek", ""))
    after = fetch(layout, MARKET, corrections=FILE).set_index("image_id")
    assert boxed["image_id"] not in after.index
    assert sorted(zip(after["path"], after["label"], strict=True)) == [("m.jpg", "plum"), ("n.jpg", "leek")]
    write(layout, (before.loc["n.jpg", "image_id"], "leek"), columns=("image_id", "label"))
    assert fetch(layout, MARKET, corrections=FILE).loc["n.jpg", "label"] == "leek"


def test_in_a_merge_rows_are_about_our_labels_whatever_the_source(layout: Layout) -> None:
    whole = {
        "source": "merge",
        "parts": [{**GARDEN, "groups": {}, "name": "garden"}, {**MARKET, "name": "market"}],
        "labels": {"fruit": ["plum"]},
    }
    write(layout, ("n.jpg", "", "fruit", "rose", ""))
    after = fetch(layout, whole, corrections=FILE)
    assert after.loc["n.jpg", ["label", "source_label"]].to_list() == ["rose", "market/plum"]
    whole["parts"][0]["corrections"] = FILE  # type: ignore[index]
    with pytest.raises(ValueError, match=r"parts\[0\]\.corrections: they are of the whole"):
        fetch(layout, whole)


def test_rows_about_images_beyond_a_limit_are_counted_and_change_nothing(layout: Layout, capsys: Any) -> None:
    kept = set(fetch(layout, limit_per_class=1).index)
    beyond = next(f"train/plum/{i}.jpg" for i in range(3) if f"train/plum/{i}.jpg" not in kept)
    write(layout, (beyond, "", "plum", "leek", ""))
    assert set(fetch(layout, limit_per_class=1, corrections=FILE).index) == kept
    assert "0 labels corrected, 1 of images that are not used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("x.jpg", "", "", "leek", ""), ("y.jpg", "", "", "leek", "")], r"2 images that .* 'x\.jpg' \(line 2\), 'y"),
        (
            [("train/plum/1.jpg", "", "", "lek", "")],
            r"line 2: 'lek' is no class; did you mean 'leek'\? \(classes: leek",
        ),
        (
            [("train/plum/1.jpg", "", "rose", "leek", "")],
            r"line 2: 'train/plum/1\.jpg' has the label 'plum' now, not 'rose' \(`was`\): the row is out of date",
        ),
        (
            [("train/plum/1.jpg", "", "", "leek", ""), ("train/plum/1.jpg", "", "", "rose", "")],
            r"lines 2 and 3 name one image, 'train/plum/1\.jpg'",
        ),
        (
            [
                (f"{s}/{c}/{i}.jpg", "", "", "rose", "")
                for s in ("train", "test")
                for c in ("leek", "plum")
                for i in "012"
            ],
            "leaves fewer than two classes",
        ),
    ],
)
def test_what_does_not_fit_the_images_is_refused(layout: Layout, rows: list[tuple[str, ...]], said: str) -> None:
    before = fetch(layout)
    write(layout, *rows)
    with pytest.raises(DataError, match=said):
        fetch(layout, corrections=FILE)
    assert read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)["label"].equals(
        before.reset_index(drop=True)["label"]
    )


def test_a_file_that_is_none_or_lies_elsewhere_is_refused(layout: Layout) -> None:
    with pytest.raises(DataError, match=r"corrections\.csv does not exist.*or correct dataset\.corrections"):
        fetch(layout, corrections=FILE)
    (layout.root / FILE).write_text("path,class\nx,y\n")
    with pytest.raises(DataError, match=r"needs the columns `label` and `path`.*has 'path', 'class'"):
        fetch(layout, corrections=FILE)
    (layout.root / FILE).write_bytes("path,label\nx,pêche\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"is no CSV in UTF-8"):
        fetch(layout, corrections=FILE)
    shutil.copy(layout.root / FILE, layout.root / "corrections.csv")
    with pytest.raises(ParamsError, match=r"dataset\.corrections 'corrections\.csv' lies outside data/"):
        fetch(layout, corrections="corrections.csv")
    with pytest.raises(ParamsError, match=r"dataset\.corrections is an address"):
        fetch(layout, corrections="https://example.org/corrections.csv")


def test_a_file_as_a_spreadsheet_saves_it_is_read(layout: Layout) -> None:
    (layout.root / FILE).write_bytes("\ufeffpath;was;label\r\ntrain/plum/1.jpg;plum;leek\r\n".encode())
    assert fetch(layout, corrections=FILE).loc["train/plum/1.jpg", "label"] == "leek"


def test_a_snapshot_holds_the_corrected_labels_and_needs_the_file_no_more(layout: Layout) -> None:
    write(layout, ("train/plum/1.jpg", "", "plum", "leek", ""), ("test/rose/0.jpg", "", "", "left_out", ""))
    before = fetch(layout, corrections=FILE)
    made = write_snapshot(layout, "corrected")
    assert "  corrections: null\n" in made.section
    after = fetch(layout, {"source": "snapshot", "location": "data/corrected.zip"})
    assert after.equals(before)
