"""Snapshots: packed, pinned by DVC, and read back with every label, split, box, licence and byte as it was."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from podium.config.dataset import Dataset, Fetch
from podium.config.models import ModelSection
from podium.core.errors import DataError, ParamsError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS, read_manifest
from podium.pipeline.fetch import fetch_dataset
from podium.records.fetch import Sources
from podium.sources.snapshot import write_snapshot

MODELS = {"small": ModelSection(architecture="resnet10t")}
TABLE = (
    "path,label,set,l,t,r,b,author,stars,share,licence\n"
    "p/1.jpg,Plum,train,0.1,0.2,0.30000000000000004,1,Ann,3,0.1,CC-BY-4.0\n"
    "p/1.jpg,leek,train,0,0,0.5,0.5,Ann,3,nan,CC-BY-4.0\n"
    '"p/""2, 3"".JPG",leek,test,,,,,"Bo\nB",-1,1e-20,\n'
    "p/4,leek,,,,,,,0,0,\n"
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project with a table of boxes and a folder."""
    for path in ("p/1.jpg", 'p/"2, 3".JPG', "p/4", "garden/leek/é 1.png", "garden/rose/2.png", "garden/notes.txt"):
        file = tmp_path / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode() * 3)
    (tmp_path / "data" / "boxes.csv").write_text(TABLE, newline="")
    return Layout(tmp_path)


def table(**keys: Any) -> dict[str, Any]:
    columns = {"split": "set", "licence": "licence", "box": {"left": "l", "top": "t", "right": "r", "bottom": "b"}}
    extras = {"author": "text", "stars": "int", "share": "float"}
    return {
        "source": "csv",
        "location": "data/boxes.csv",
        "licence": "CC0-1.0",
        "columns": columns,
        "extras": extras,
        "labels": {"plum": ["Plum"]},
        "groups": {"plum": "fruit"},
        **keys,
    }


GARDEN = {"source": "folder", "location": "data/garden", "licence": "CC0-1.0"}
MERGE = {"source": "merge", "parts": [table(name="table"), GARDEN | {"name": "garden"}]}


def fetched(layout: Layout, keys: dict[str, Any]) -> pd.DataFrame:
    fetch_dataset(layout, TypeAdapter(Dataset).validate_python(keys), Fetch(), MODELS)
    return read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)


@pytest.mark.parametrize(
    "keys",
    [GARDEN, GARDEN | {"keep_together": "auto"}, table(), MERGE],
    ids=["folder", "kept together", "table", "merge"],
)
def test_a_snapshot_reads_back_byte_for_byte(layout: Layout, keys: dict[str, Any]) -> None:
    before = fetched(layout, keys)
    digests = {p.name: sha256_file(p) for p in layout.raw.iterdir()}
    sources = Sources.read(layout.raw / "sources.json")
    made = write_snapshot(layout, "plants")
    assert (made.archive, made.images, made.pinned, made.steps) == (layout.data / "plants.zip", len(before), False, ())
    assert made.photographs == before["photo_id"].nunique() and made.size == made.archive.stat().st_size
    after = fetched(layout, yaml.safe_load(made.section)["dataset"])
    pd.testing.assert_frame_equal(after, before)
    again = {p.name: sha256_file(p) for p in layout.raw.iterdir()}
    assert {name for name in digests if again[name] != digests[name]} == {"sources.json"}
    read_back = Sources.read(layout.raw / "sources.json")
    assert {s.snapshot for s in read_back.sources} == {sha256_file(made.archive)}
    plain = [source.model_copy(update={"snapshot": None}) for source in read_back.sources]
    assert Sources(sources=plain, shared=read_back.shared) == sources


def test_a_lone_carriage_return_in_a_name_survives(layout: Layout) -> None:
    (layout.data / "garden" / "leek" / "a\rb\r.png").write_bytes(b"x")
    before = fetched(layout, GARDEN)
    section = yaml.safe_load(write_snapshot(layout, "plants").section)["dataset"]
    pd.testing.assert_frame_equal(fetched(layout, section), before)
    assert "leek/a\rb\r.png" in before["path"].tolist()


def test_the_same_images_give_the_same_archive(layout: Layout) -> None:
    fetched(layout, MERGE)
    first = sha256_file(write_snapshot(layout, "one").archive)
    fetched(layout, MERGE)
    assert sha256_file(write_snapshot(layout, "two").archive) == first


def test_a_snapshot_of_a_snapshot_is_the_same_data(layout: Layout) -> None:
    before = fetched(layout, MERGE)
    section = yaml.safe_load(write_snapshot(layout, "one").section)["dataset"]
    fetched(layout, section)
    after = fetched(layout, yaml.safe_load(write_snapshot(layout, "two").section)["dataset"])
    pd.testing.assert_frame_equal(after, before)


def test_anybody_can_read_the_table_and_the_pictures(layout: Layout) -> None:
    fetched(layout, MERGE)
    with zipfile.ZipFile(write_snapshot(layout, "plants").archive) as archive:
        rows = pd.read_csv(io.BytesIO(archive.read("images.csv")))
        assert rows.set_index("path").loc["leek/é 1.png", ["source", "label", "licence"]].to_list() == [
            "garden",
            "leek",
            "CC0-1.0",
        ]
        assert (
            archive.read(rows.loc[rows["path"] == "leek/é 1.png", "file"].iloc[0]) == "garden/leek/é 1.png".encode() * 3
        )
        assert {Path(name).suffix for name in archive.namelist()} == {".json", ".csv", ".jpg", ".png", ""}


def test_a_snapshot_is_a_part_of_a_merge_like_any_other(layout: Layout) -> None:
    fetched(layout, MERGE)
    made = write_snapshot(layout, "plants")
    packed = {"source": "snapshot", "location": "data/plants.zip", "name": "old", "limit_per_class": 1}
    manifest = fetched(layout, {"source": "merge", "parts": [packed, GARDEN | {"name": "new"}]})
    assert manifest.groupby("source").size().to_dict() == {"new": 2, "old-garden": 2, "old-table": 4}
    assert made.archive.is_file()


def test_a_snapshot_that_exists_is_replaced_on_purpose_only(layout: Layout) -> None:
    fetched(layout, GARDEN)
    first = write_snapshot(layout, "plants").archive.read_bytes()
    fetched(layout, table())
    with pytest.raises(DataError, match=r"data/plants\.zip exists"):
        write_snapshot(layout, "plants")
    assert write_snapshot(layout, "plants", replace=True).archive.read_bytes() != first


def test_without_anything_fetched_there_is_nothing_to_pack(layout: Layout) -> None:
    with pytest.raises(DataError, match="does not exist: run `dvc repro`"):
        write_snapshot(layout, "plants")
    for name in ("", "a/b", "../x", ".hidden", "a b", "x" * 65):
        with pytest.raises(ParamsError, match="choose another"):
            write_snapshot(layout, name)
    assert sorted(p.name for p in layout.data.iterdir()) == ["boxes.csv", "garden", "p"]


def packed(change: Callable[[dict[str, bytes]], None]) -> Callable[[Path], None]:
    """Writes an archive anew with other members."""

    def rewrite(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return rewrite


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no snapshot": (packed(lambda m: m.pop("snapshot.json")), "holds no snapshot.json and images.csv"),
    "another version": (
        packed(lambda m: m.update({"snapshot.json": json.dumps({"version": 2}).encode()})),
        "damaged or of another version",
    ),
    "no JSON": (packed(lambda m: m.update({"snapshot.json": b"{"})), "damaged or of another version"),
    "a missing picture": (
        packed(lambda m: m.pop(next(n for n in m if n[:3] == "ima" and n != "images.csv"))),
        "lacks it",
    ),
    "a broken table": (
        packed(lambda m: m.update({"images.csv": b"file,source\nimages.csv,2\n"})),
        "images.csv is damaged",
    ),
    "0 bytes": (lambda path: path.write_bytes(b"") and None, "neither a zip nor a tar"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-60]) and None, "truncated or damaged"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_snapshot_is_refused_in_one_line(
    layout: Layout, damage: Callable[[Path], None], message: str
) -> None:
    fetched(layout, MERGE)
    path = write_snapshot(layout, "plants").archive
    damage(path)
    with pytest.raises(DataError) as caught:
        fetched(layout, {"source": "snapshot", "location": "data/plants.zip"})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_dvc_pins_the_snapshot_and_a_colleague_pulls_the_same_data(layout: Layout, tmp_path: Path) -> None:
    def run(*command: str, at: Path = layout.root) -> str:
        return subprocess.run(command, cwd=at, capture_output=True, text=True, check=True).stdout

    dvc = (sys.executable, "-m", "dvc")
    before = fetched(layout, MERGE)
    run("git", "init", "-q")
    run(*dvc, "init", "-q")
    made = write_snapshot(layout, "plants")
    assert made.pinned and (layout.root / "data.dvc").is_file()
    assert [step.split("  ")[0].split(" s3")[0] for step in made.steps] == [
        "dvc remote add --default team",
        "dvc push data.dvc",
        'git add data.dvc params.yaml .dvc/config && git commit -m "Data of the experiment as a snapshot"',
    ]
    run(*dvc, "remote", "add", "-q", "--default", "team", str(tmp_path.parent / "remote"))
    run(*dvc, "push", "-q", "data.dvc")
    assert (
        write_snapshot(layout, "plants", replace=True).steps[0] == "dvc push data.dvc"
    )  # the team has its storage now
    there = tmp_path.parent / "colleague"
    there.mkdir()
    run("git", "init", "-q", at=there)
    for name in (".dvc/config", "data.dvc"):
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_bytes((layout.root / name).read_bytes())
    run(*dvc, "pull", "-q", "data.dvc", at=there)
    after = fetched(Layout(there), yaml.safe_load(made.section)["dataset"])
    pd.testing.assert_frame_equal(after, before)
