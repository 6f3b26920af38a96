"""What happened to each image between two prepared manifests."""

import pandas as pd
import pytest

from podium.core.errors import DataError
from podium.data.data_diff import CHANGES, compare_manifests, count_changes, find_manifest
from podium.data.manifest import PREPARED_COLUMNS, image_id, write_manifest


def row(path, **changed):
    """An image of its own, as `preprocess` would write it down."""
    blank = dict.fromkeys(PREPARED_COLUMNS, "")
    own = {"image_id": image_id("photos", path), "path": path, "sha256": path * 2, "prepared_sha256": path * 3}
    return {**blank, **own, "label": path.split("/")[0], "split": "train", **changed}


def manifest(path, *rows):
    write_manifest(path, pd.DataFrame(rows), PREPARED_COLUMNS)
    return path


def changes(tmp_path, before, after):
    """Change, path, before and after of each row."""
    found = compare_manifests(manifest(tmp_path / "a.parquet", *before), manifest(tmp_path / "b.parquet", *after))
    return [tuple(each) for each in found.drop(columns="image_id").to_numpy().tolist()], count_changes(found)


def test_every_kind_of_change_is_told_once_and_what_stayed_is_not(tmp_path):
    stays = row("lemon/0.png")
    before = [stays, *(row(f"lemon/{n}.png") for n in range(1, 7))]
    after = [
        stays,
        row("lemon/2.png", split="test"),
        row("lemon/3.png", label="lime"),
        row("lemon/4.png", sha256="4" * 64, prepared_sha256="5" * 64),
        row("lemon/5.png", prepared_sha256="6" * 64),
        row("lemon/6.png", split="val", label="lime"),
        row("lime/7.png", split="val"),
    ]
    found, counts = changes(tmp_path, before, after)
    assert found == [
        ("added", "lime/7.png", "", "val, lime"),
        ("removed", "lemon/1.png", "train, lemon", ""),
        ("moved", "lemon/2.png", "train", "test"),
        ("moved", "lemon/6.png", "train", "val"),
        ("relabelled", "lemon/3.png", "lemon", "lime"),
        ("relabelled", "lemon/6.png", "lemon", "lime"),
        ("changed", "lemon/4.png", "lemon/4.pngl", "444444444444"),
        ("prepared", "lemon/5.png", "lemon/5.pngl", "666666666666"),
    ]
    assert list(counts) == list(CHANGES)
    assert counts == {"added": 1, "removed": 1, "renamed": 0, "moved": 2, "relabelled": 2, "changed": 1, "prepared": 1}


def test_a_file_that_was_moved_to_another_folder_is_the_same_image_relabelled(tmp_path):
    before = [row("lemon/1.png"), row("lemon/2.png")]
    same = {"sha256": before[0]["sha256"], "prepared_sha256": before[0]["prepared_sha256"]}
    found, _ = changes(tmp_path, before, [row("lime/one.png", **same), before[1]])
    assert found == [
        ("renamed", "lime/one.png", "lemon/1.png", "lime/one.png"),
        ("relabelled", "lime/one.png", "lemon", "lime"),
    ]


def test_of_copies_nobody_knows_which_was_moved(tmp_path):
    copies = [row(f"lemon/{n}.png", sha256="1" * 64) for n in range(2)]
    found, _ = changes(tmp_path, copies, [row("lime/1.png", sha256="1" * 64)])
    assert [change for change, *_ in found] == ["added", "removed", "removed"]


def test_crops_of_one_photograph_are_told_apart_by_their_box(tmp_path):
    boxes = [{"box_left": str(side), "sha256": "1" * 64} for side in (0.0, 0.5)]
    before = [row(f"lemon/{n}.png", **box) for n, box in enumerate(boxes)]
    found, _ = changes(tmp_path, before, [row(f"lime/{n}.png", **box) for n, box in enumerate(boxes)])
    assert [each[:3] for each in found if each[0] == "renamed"] == [
        ("renamed", "lime/0.png", "lemon/0.png"),
        ("renamed", "lime/1.png", "lemon/1.png"),
    ]


def test_the_same_data_have_no_changes_and_no_data_have_no_manifest(tmp_path, store):
    assert changes(tmp_path, [row("lemon/1.png")], [row("lemon/1.png")]) == ([], dict.fromkeys(CHANGES, 0))
    with pytest.raises(DataError, match="run `dvc repro preprocess` or `dvc checkout`"):
        find_manifest(store, None)
