"""Stage fetch: what it writes, that it is the same every time, and that a failure leaves the old files."""

import errno
import hashlib
import json
import os
import shutil
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from podium.config.dataset import Dataset, Fetch
from podium.config.models import ModelSection
from podium.core.errors import DataError, ParamsError, PodiumError
from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, RawWriter, image_id, read_manifest
from podium.pipeline.fetch import fetch_dataset
from podium.records.fetch import SkippedFile, SourceRecord, Sources, WeightsRecord

NONE = {"small": ModelSection(architecture="resnet10t")}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project with a few photographs of two classes in a split folder."""
    root = tmp_path / "project"
    for split, count in (("train", 5), ("test", 2)):
        for label in ("사과", "pear"):
            for i in range(count):
                path = root / "data" / "photos" / split / label / f"{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{split} {label} {i}".encode())
    (root / "data" / "photos" / "notes.txt").write_text("hello")
    return Layout(root)


def dataset(**changes: Any) -> Dataset:
    section: Dataset = TypeAdapter(Dataset).validate_python(
        {"source": "folder", "location": "data/photos", "licence": "CC0-1.0"} | changes
    )
    return section


def only_source(layout: Layout) -> SourceRecord:
    [source] = Sources.read(layout.raw / "sources.json").sources
    return source


def snapshot(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def pack(layout: Layout, name: str = "photos.zip") -> Path:
    path = Path(shutil.make_archive(str(layout.root / "data" / "packed"), "zip", layout.data, "photos"))
    return path.rename(path.with_name(name))


def test_a_folder_becomes_shards_a_manifest_and_a_source_record(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    assert sorted(p.name for p in layout.raw.iterdir()) == ["images-00000.zip", "manifest.parquet", "sources.json"]
    manifest = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    assert list(manifest.columns) == list(RAW_COLUMNS)
    reader = RawImages(layout.raw)
    for row in manifest.itertuples():
        split, label, name = str(row.path).split("/")
        assert (row.split, row.label, row.group, row.source) == (split, label, "", "photos")
        assert row.image_id == image_id("photos", str(row.path))
        data = reader.read(str(row.shard), str(row.photo_id))
        assert row.photo_sha256 == hashlib.sha256(data).hexdigest()
        assert reader.read(str(row.shard), str(row.image_id)).decode() == f"{split} {label} {name[0]}"
    assert only_source(layout) == SourceRecord(
        name="photos",
        kind="folder",
        location="data/photos",
        sha256=None,
        snapshot=None,
        licence="CC0-1.0",
        licences={"CC0-1.0": 14},
        photographs=14,
        images=14,
        classes=["pear", "사과"],
        labels={},
        skipped=[SkippedFile(path="notes.txt", reason="not an image file (.txt)")],
    )
    assert capsys.readouterr().out == "fetch: 14 images, 2 classes, 1 files skipped\n"


def test_the_same_source_gives_the_same_bytes(layout: Layout) -> None:
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    first = snapshot(layout.root / "artifacts")
    for path in sorted(layout.data.rglob("*.jpg"), reverse=True):  # other times, another order on disk
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    assert snapshot(layout.root / "artifacts") == first


def test_an_archive_and_a_folder_of_one_name_hold_the_same_images(layout: Layout) -> None:
    archive = pack(layout)
    fetch_dataset(layout, dataset(source="archive", location="data/photos.zip"), Fetch(), NONE)
    record = only_source(layout)
    assert record.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    packed = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    plain = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    assert set("photos/" + plain["path"]) == set(packed["path"])
    assert set(plain["label"]) == set(packed["label"])


def test_an_archive_behind_an_address_is_downloaded_once_for_all_copies_of_the_project(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    archive = pack(layout)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    served: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            served.append(str(arguments[1]))

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=archive.parent)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        there = f"http://127.0.0.1:{server.server_address[1]}/photos.zip"
        copy = Layout(layout.root / ".dvc" / "tmp" / "exps" / "temp1")  # where `dvc exp run --temp` works
        for each in (layout, copy):
            fetch_dataset(each, dataset(source="archive", location=there, sha256=digest), Fetch(), NONE)
        server.shutdown()
        thread.join()
    assert served == ["GET /photos.zip HTTP/1.1"]
    assert snapshot(copy.raw) == snapshot(layout.raw)
    assert (layout.downloads / digest[:16] / "photos.zip").read_bytes() == archive.read_bytes()
    record = only_source(layout)
    assert (record.location, record.sha256, record.name) == (there, digest, "photos")


def test_a_limit_by_split_makes_the_experiment_smaller(layout: Layout) -> None:
    fetch_dataset(layout, dataset(limit_per_class={"train": 3}), Fetch(), NONE)
    manifest = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    assert manifest.groupby(["split", "label"]).size().to_dict() == {
        ("test", "pear"): 2,
        ("test", "사과"): 2,
        ("train", "pear"): 3,
        ("train", "사과"): 3,
    }
    assert only_source(layout).images == 10


def test_columns_of_the_sample_reach_the_manifest(layout: Layout) -> None:
    with zipfile.ZipFile(layout.data / "sample.zip", "w") as archive:
        archive.writestr("sample/lemon/000.jpg", b"a")
        archive.writestr("sample/tulip/001.jpg", b"b")
        archive.writestr(
            "sample/truth.csv",
            "path,label,group,x0,y0,x1,y1,occlusion,clutter,objects,view,other_label,planted\n"
            "lemon/000.jpg,lemon,fruit,1,2,3,4,0.5,0.25,2,rotated,orange,\n"
            "tulip/001.jpg,tulip,flower,1,2,3,4,0,0,1,front,,exact_duplicate\n",
        )
    fetch_dataset(layout, dataset(source="sample", location="data/sample.zip"), Fetch(), NONE)
    manifest = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS).set_index("path")
    assert manifest.loc[
        "lemon/000.jpg", ["group", "occlusion", "objects", "view", "other_label", "planted"]
    ].to_list() == [
        "fruit",
        0.5,
        2,
        "rotated",
        "orange",
        "",
    ]
    assert manifest["objects"].dtype == np.int64 and manifest["x0"].dtype == np.float64


def test_locations_may_be_absolute_or_below_home(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(layout.data))
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    first = snapshot(layout.raw)
    for location in ("~/photos", str(layout.data / "photos"), "data/../data//photos/"):
        fetch_dataset(layout, dataset(location=location), Fetch(), NONE)
        assert snapshot(layout.raw) == first


def test_a_folder_outside_of_data_is_refused_because_its_changes_would_go_unseen(layout: Layout) -> None:
    outside = layout.root / "photos"
    shutil.copytree(layout.data / "photos", outside)
    (layout.data / "link").symlink_to(outside)
    for location in ("photos", "../project/photos", "data/../photos", str(outside), ".", "data/link"):
        with pytest.raises(ParamsError, match=r"lies outside data/.*copy it below data/ and run `dvc add data`$"):
            fetch_dataset(layout, dataset(location=location), Fetch(), NONE)
    assert not layout.raw.exists()


def test_an_archive_outside_of_data_must_be_pinned_and_its_place_is_not_recorded(layout: Layout) -> None:
    archive = pack(layout)
    elsewhere = archive.rename(layout.root.parent / archive.name)
    digest = hashlib.sha256(elsewhere.read_bytes()).hexdigest()
    with pytest.raises(ParamsError, match=r"run `dvc add data`, or set dataset\.sha256$"):
        fetch_dataset(layout, dataset(source="archive", location=str(elsewhere)), Fetch(), NONE)
    found = []
    for location in (str(elsewhere), "../photos.zip"):
        fetch_dataset(layout, dataset(source="archive", location=location, sha256=digest), Fetch(), NONE)
        assert only_source(layout).location == "photos.zip"
        found.append(snapshot(layout.raw))
    assert found[0] == found[1]


def test_an_archive_that_dvc_linked_into_data_is_one_of_data(layout: Layout) -> None:
    kept = pack(layout).rename(layout.root / "cache")
    (layout.data / "photos.zip").symlink_to(kept)  # `dvc config cache.type symlink`
    fetch_dataset(layout, dataset(source="archive", location="data/photos.zip"), Fetch(), NONE)
    assert only_source(layout).location == "data/photos.zip"


def test_a_linked_folder_has_the_same_keys_whatever_it_leads_to(layout: Layout) -> None:
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    first = snapshot(layout.raw)
    (layout.data / "photos").rename(layout.data / "photos-v2")
    (layout.data / "photos").symlink_to("photos-v2")
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    assert snapshot(layout.raw) == first


# What goes wrong -> the dataset that causes it, the error, and what it says.
FAILURES: dict[str, tuple[dict[str, Any], type[PodiumError], str]] = {
    "missing folder": ({"location": "data/nowhere"}, DataError, "does not exist"),
    "nobody's home": ({"location": "~no-such-user/x"}, ParamsError, "names a home that is not known"),
    "missing archive": ({"source": "archive", "location": "data/a.zip"}, DataError, "dvc pull data.dvc"),
    "address of a folder": ({"location": "https://h/a"}, ParamsError, "set dataset.source to `archive`"),
    "other protocol": ({"source": "archive", "location": "s3://b/a.zip"}, ParamsError, "not an http:// or https://"),
    "address not pinned": ({"source": "archive", "location": "https://u:pw@h/a.zip"}, ParamsError, "(https://h/a.zip)"),
    "wrong digest": ({"source": "archive", "location": "data/photos.zip", "sha256": "0" * 64}, DataError, "0" * 64),
    "unknown split": ({"limit_per_class": {"val": 3}}, DataError, "names split 'val'"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_line_and_leaves_the_old_files(
    changes: dict[str, Any], kind: type[PodiumError], message: str, layout: Layout
) -> None:
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    pack(layout)
    before = snapshot(layout.root)
    with pytest.raises(kind) as caught:
        fetch_dataset(layout, dataset(**changes), Fetch(), NONE)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert snapshot(layout.root) == before


def test_an_archive_that_turns_out_damaged_half_way_leaves_the_old_files(layout: Layout) -> None:
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    archive = pack(layout)
    data = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        last = max(opened.infolist(), key=lambda i: i.filename)
    at = last.header_offset + 30 + len(last.filename.encode())
    archive.write_bytes(data[:at] + b"\xff\xff" + data[at + 2 :])
    before = snapshot(layout.root)
    with pytest.raises(DataError, match=f"damaged at member {last.filename!r}"):
        fetch_dataset(layout, dataset(source="archive", location="data/photos.zip"), Fetch(), NONE)
    after = snapshot(layout.root)
    assert {name: digest for name, digest in after.items() if not name.endswith(".lock")} == before
    assert sorted(p.name for p in (layout.root / "artifacts").iterdir()) == ["raw", "weights"]


def test_a_full_disk_is_one_line_and_leaves_the_old_files(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_dataset(layout, dataset(), Fetch(), NONE)
    before = snapshot(layout.root)

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RawWriter, "add", full)
    with pytest.raises(DataError, match="no space left on the device while writing .*artifacts/raw: free some space"):
        fetch_dataset(layout, dataset(limit_per_class=1), Fetch(), NONE)
    assert snapshot(layout.root) == before


# --- weights -------------------------------------------------------------------------------------------------------


def pretrained(layout: Layout) -> ModelSection:
    path = layout.data / "w.safetensors"
    save_file({"conv.weight": np.arange(6, dtype=np.float16)}, path, {"classes": "100", "licence": "CC0-1.0"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ModelSection(architecture="resnet18", weights="data:w.safetensors", weights_sha256=digest)


def test_weights_are_copied_with_their_papers(layout: Layout) -> None:
    model = pretrained(layout)
    fetch_dataset(layout, dataset(), Fetch(), {"a": model, **NONE})
    assert sorted(snapshot(layout.weights)) == [
        "a/weights.json",
        "a/weights.safetensors",
        "small/weights.json",
        "trained_on.json",
    ]
    assert snapshot(layout.weights)["a/weights.safetensors"] == model.weights_sha256
    assert WeightsRecord.read(layout.weights / "a" / "weights.json") == WeightsRecord(
        architecture="resnet18",
        weights="data:w.safetensors",
        sha256=model.weights_sha256,
        stored_sha256=model.weights_sha256,
        source="data:w.safetensors",
        licence="CC0-1.0",
        pretraining="unknown",
        mean=None,
        std=None,
        metadata={"classes": "100", "licence": "CC0-1.0"},
    )
    assert json.loads((layout.weights / "small" / "weights.json").read_text()) == {
        "architecture": "resnet10t",
        "licence": "unknown",
        "mean": None,
        "metadata": {},
        "pretraining": "none",
        "sha256": None,
        "source": "none",
        "std": None,
        "stored_sha256": None,
        "weights": "none",
    }


def test_weights_with_another_digest_are_refused_with_both_and_the_key(layout: Layout) -> None:
    model = pretrained(layout)
    wrong = model.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(DataError, match=f"{model.weights_sha256}.*models.a.weights_sha256 asks for {'0' * 64}"):
        fetch_dataset(layout, dataset(), Fetch(), {"a": wrong})
    assert not layout.weights.exists() and not layout.raw.exists()


def test_the_rules_of_weights_hold_before_images_are_touched(layout: Layout) -> None:
    models = {"a": pretrained(layout)}
    fetch_dataset(layout, dataset(), Fetch(), models)
    before = snapshot(layout.root)
    with pytest.raises(DataError, match="have licence CC0-1.0, but fetch.licences_allowed lists mit"):
        fetch_dataset(layout, dataset(limit_per_class=1), Fetch(licences_allowed=("mit",)), models)
    assert snapshot(layout.root) == before


def test_missing_weights_name_the_command_that_brings_them(layout: Layout) -> None:
    model = ModelSection(architecture="resnet18", weights="data:none.safetensors", weights_sha256="0" * 64)
    with pytest.raises(DataError, match=r"data/none\.safetensors.*model a.*dvc pull data\.dvc"):
        fetch_dataset(layout, dataset(), Fetch(), {"a": model})


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"\x80\x04pickle", lambda data: b""])
def test_weights_that_are_not_safetensors_are_refused_even_with_the_right_digest(layout: Layout, damage: Any) -> None:
    pretrained(layout)
    path = layout.data / "w.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = ModelSection(architecture="resnet18", weights="data:w.safetensors", weights_sha256=digest)
    with pytest.raises(DataError, match="data:w.safetensors is not a readable safetensors file"):
        fetch_dataset(layout, dataset(), Fetch(), {"a": model})


@pytest.mark.parametrize("weights", ["data:../secret", "data:/etc/passwd", "data:", "data:a/../../b"])
def test_weights_outside_of_data_are_refused(weights: str, layout: Layout) -> None:
    model = ModelSection(architecture="resnet18", weights=weights, weights_sha256="0" * 64)
    with pytest.raises(ParamsError, match="must name a file below data/"):
        fetch_dataset(layout, dataset(), Fetch(), {"a": model})
