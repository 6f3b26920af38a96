import hashlib
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podium.config.preprocess import Preprocess
from podium.config.validate import Validate
from podium.core.errors import DataError, ValidationFailed
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.curation.expectations.expectation import EXPECTATIONS
from podium.data.manifest import PREPARED_COLUMNS, read_manifest, write_manifest
from podium.pipeline import preprocess, validate
from podium.records.fetch import SkippedFile
from podium.records.profile import LabelNoise
from podium.records.validate import ValidationReport
from tests.raw_images import RawFile, files, picture, png, write_raw


def params(**changes: dict[str, object]) -> Validate:
    sections: dict[str, dict[str, object]] = {
        "minimum_rows": {"minimum": 2, "because": "the test is small"},
        "image_side": {"minimum": 16},
        "share_rejected": {"maximum": 0.2, "because": "one file is broken on purpose"},
        "source_balance": {"maximum": 10.0},
    }
    return Validate.model_validate({**sections, **{k: {**sections.get(k, {}), **v} for k, v in changes.items()}})


def run(layout: Layout, **changes: dict[str, object]) -> None:
    validate.validate_dataset(layout, params(**changes), seed=0)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """36 images of two classes, one of them with an awkward name, one unreadable file, one duplicate."""
    layout = Layout(tmp_path_factory.mktemp("prepared"))
    extra = [
        RawFile("lemon/cut.png", "lemon", png(picture("lemon", 1))[:99]),
        RawFile("lemon/copy.png", "lemon", png(picture("lemon", 5))),
    ]
    write_raw(layout, [*files(["lemon", "<b>귤</b>"], 18), *extra], [SkippedFile(path="a.txt", reason="not an image")])
    # with this seed every class has at least three images in every split
    preprocess.preprocess_dataset(layout, Preprocess(image_size=32, split_seed=12), seed=0, workers=0)
    return layout


@pytest.fixture
def prepared(once: Layout, tmp_path: Path) -> Layout:
    """A copy of them to spoil."""
    shutil.copytree(once.prepared, Layout(tmp_path).prepared)
    shutil.copytree(once.weights, Layout(tmp_path).weights)
    return Layout(tmp_path)


def move_copy_to_another_split(layout: Layout) -> None:
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    row = manifest.index[manifest["path"] == "lemon/copy.png"][0]
    manifest.loc[row, "split"] = "val" if manifest.loc[row, "split"] == "train" else "train"
    write_manifest(layout.manifest, manifest, PREPARED_COLUMNS)


def test_sound_data_passes_and_says_so(prepared: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    run(prepared)

    report = ValidationReport.read(prepared.validation_report)
    assert report.passed
    assert (report.images, report.rejected) == (37, 1)
    assert [result.id for result in report.results] == sorted(EXPECTATIONS)
    assert json.loads((prepared.validation / "passed.json").read_text()) == {
        "manifest_sha256": sha256_file(prepared.manifest),
        "passed": True,
    }
    assert LabelNoise.read(prepared.validation / "label_noise.json").images > 0
    out = capsys.readouterr().out
    assert " of 23 expectations hold: see artifacts/validation/index.html" in out
    assert "validate: 1 file of the source was skipped, see artifacts/prepared/rejected.csv\n" in out


def test_a_critical_failure_writes_the_reports_and_names_expectation_value_images_and_remedy(prepared: Layout) -> None:
    run(prepared)
    move_copy_to_another_split(prepared)

    with pytest.raises(ValidationFailed) as raised:
        run(prepared)

    message = str(raised.value)
    assert message.startswith("expectation duplicates_in_one_split fails: expected 0 groups in two splits, observed 1")
    assert "(lemon/5.png, lemon/copy.png)" in message or "(lemon/copy.png, lemon/5.png)" in message
    assert "run `dvc repro -f preprocess`" in message
    assert "(5 more in artifacts/validation/index.html)" in message  # pixels, bytes, split group, shards (2)
    assert "\n" not in message
    assert not ValidationReport.read(prepared.validation_report).passed
    assert not (prepared.validation / "passed.json").exists()
    assert "The data failed validation" in (prepared.validation / "index.html").read_text(encoding="utf-8")


def move_one_row(layout: Layout) -> list[str]:
    """The manifest says train of an image that lies in test, in every column that groups are judged by."""
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    row = manifest.index[manifest["split"] == "test"][0]
    manifest.loc[row, "split"] = "train"
    write_manifest(layout.manifest, manifest, PREPARED_COLUMNS)
    return [manifest.loc[row, "path"]]


def swap_pixels(layout: Layout) -> list[str]:
    """Two images of train change places in the shard."""
    shard = layout.prepared / "train" / "images-00000.npy"
    images = np.load(shard)
    images[[0, 1]] = images[[1, 0]]
    np.save(shard, images)
    return pd.read_parquet(layout.prepared / "train" / "index.parquet")["path"][:2].tolist()


def relabel_one_row(layout: Layout) -> list[str]:
    """The manifest says apple of a lemon of train, or the other way round; the shards know better."""
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    row = manifest.index[manifest["split"] == "train"][0]
    manifest.loc[row, "label"] = next(label for label in manifest["label"] if label != manifest.loc[row, "label"])
    write_manifest(layout.manifest, manifest, PREPARED_COLUMNS)
    return [manifest.loc[row, "path"]]


def plant_near_copy(layout: Layout) -> list[str]:
    """An image of train lies in val, too, turned and a little brighter, and the manifest knows its digest."""
    images = {split: np.load(layout.prepared / split / "images-00000.npy") for split in ("train", "val")}
    images["val"][0] = np.rot90(np.minimum(images["train"][0], 250)) + 3
    np.save(layout.prepared / "val" / "images-00000.npy", images["val"])
    index = {split: pd.read_parquet(layout.prepared / split / "index.parquet") for split in ("train", "val")}
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    digest = hashlib.sha256(np.ascontiguousarray(images["val"][0])).hexdigest()
    manifest.loc[manifest["image_id"] == index["val"]["image_id"][0], "prepared_sha256"] = digest
    write_manifest(layout.manifest, manifest, PREPARED_COLUMNS)
    return [index["train"]["path"][0], index["val"]["path"][0]]


def forget_a_group(layout: Layout) -> list[str]:
    """A copy is said to stand alone."""
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS)
    row = manifest.index[manifest["path"] == "lemon/copy.png"][0]
    manifest.loc[row, ["duplicate_group", "split_group"]] = manifest.loc[row, "image_id"]
    manifest.loc[manifest["path"] == "lemon/5.png", "split_group"] = "0" * 16
    write_manifest(layout.manifest, manifest, PREPARED_COLUMNS)
    return ["lemon/5.png"]


@pytest.mark.parametrize(
    ("spoil", "id"),
    [
        (move_one_row, "manifest_is_true"),
        (swap_pixels, "manifest_is_true"),
        (relabel_one_row, "manifest_is_true"),
        (forget_a_group, "manifest_is_true"),
        (plant_near_copy, "near_copies_in_one_split"),
    ],
)
def test_what_was_changed_behind_the_manifest_or_in_it_fails_with_the_paths(
    prepared: Layout, spoil: Callable[[Layout], list[str]], id: str
) -> None:
    paths = spoil(prepared)

    with pytest.raises(ValidationFailed):
        run(prepared)

    report = ValidationReport.read(prepared.validation_report)
    failed = {result.id: result.offending for result in report.results if not result.success}
    assert set(paths) <= set(failed[id])


def test_a_warning_is_reported_and_stops_nothing(prepared: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    run(prepared, image_side={"minimum": 500})

    out = capsys.readouterr().out
    assert "validate: warning: expectation image_side fails: expected at least 500 pixels" in out
    assert "and 34 more)" in out
    assert ValidationReport.read(prepared.validation_report).passed
    assert (prepared.validation / "passed.json").exists()


def test_a_small_set_is_told_the_seed_that_helps(prepared: Layout) -> None:
    with pytest.raises(
        ValidationFailed, match=r"minimum_rows fails: .*; \d of 6 below.*preprocess.split_seed: \d+ gives"
    ):
        run(prepared, minimum_rows={"minimum": 4, "because": "the test is small"})


def test_severity_decides_what_stops(prepared: Layout) -> None:
    with pytest.raises(ValidationFailed, match="image_side fails: expected at least 500 pixels, observed smallest: 32"):
        run(prepared, image_side={"minimum": 500, "severity": "critical"})
    run(prepared, share_rejected={"maximum": 0.0, "severity": "warning", "because": "one is planted"})


def test_only_unreadable_images_count_as_rejected_not_files_that_are_none(prepared: Layout) -> None:
    with pytest.raises(ValidationFailed, match=r"share_rejected .* observed 0.02632 \(1 of 38\) \(lemon/cut.png\)"):
        run(prepared, share_rejected={"maximum": 0.02})


def test_a_missing_column_is_reported_as_such(prepared: Layout) -> None:
    table = read_manifest(prepared.manifest, PREPARED_COLUMNS).drop(columns="sha256")
    table.to_parquet(prepared.manifest)

    with pytest.raises(ValidationFailed, match="expectation columns fails: .* missing: sha256"):
        run(prepared)

    page = (prepared.validation / "index.html").read_text(encoding="utf-8")
    assert "not checked: the manifest lacks the column &#39;sha256&#39;" in page


def test_passed_json_depends_on_the_data_alone_and_everything_is_the_same_twice(prepared: Layout) -> None:
    run(prepared)
    first = {p.name: p.read_bytes() for p in [*prepared.validation.iterdir(), prepared.validation_report]}
    run(prepared)
    again = {p.name: p.read_bytes() for p in [*prepared.validation.iterdir(), prepared.validation_report]}
    assert again == first

    run(prepared, class_balance={"maximum": 50.0}, minimum_rows={"minimum": 1})

    assert (prepared.validation / "passed.json").read_bytes() == first["passed.json"]
    assert prepared.validation_report.read_bytes() != first["validation.json"]


class _Page(HTMLParser):
    """Text, tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_shows_every_part_and_escapes_names(prepared: Layout) -> None:
    run(prepared)

    page = _Page()
    page.feed((prepared.validation / "index.html").read_text(encoding="utf-8"))
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe"}
    for part in (
        "The data passed validation",
        "<b>귤</b>",
        "lemon/cut.png",
        "unreadable: ",
        "lemon/copy.png",
        "a.txt",
        "Intensity by channel",
        sha256_file(prepared.manifest),
        *(entry.sentence for entry in EXPECTATIONS.values()),
    ):
        assert part in page.text


@pytest.mark.parametrize("name", ["manifest", "profile", "rejected", "measures"])
def test_missing_inputs_are_named(prepared: Layout, name: str) -> None:
    getattr(prepared, name).unlink()

    with pytest.raises(DataError, match="does not exist: run `dvc repro`"):
        run(prepared)


def test_a_foreign_list_of_rejected_files_is_refused(prepared: Layout) -> None:
    pd.DataFrame({"file": ["x"]}).to_csv(prepared.rejected, index=False)

    with pytest.raises(DataError, match="must have the columns path, label, reason, kind, image_id"):
        run(prepared)


def test_a_relaxed_expectation_is_printed_shown_and_recorded_with_its_reason(
    prepared: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    run(prepared, share_rejected={"maximum": 0.0, "severity": "warning", "because": "one file is\n planted"})

    assert "relaxed: share_rejected only warns, because one file is planted\n" in capsys.readouterr().out
    results = {result.id: result for result in ValidationReport.read(prepared.validation_report).results}
    assert results["share_rejected"].relaxed
    assert results["share_rejected"].because == "one file is planted"
    assert [id for id, result in results.items() if result.relaxed] == ["minimum_rows", "share_rejected"]
    assert "one file is planted" in (prepared.validation / "index.html").read_text(encoding="utf-8")


def test_a_looser_threshold_is_printed_shown_and_recorded_with_its_reason(
    prepared: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    run(prepared, minimum_rows={"minimum": 1, "because": "a pilot"})

    assert "relaxed: minimum_rows has a looser threshold, because a pilot\n" in capsys.readouterr().out
    results = {result.id: result for result in ValidationReport.read(prepared.validation_report).results}
    assert results["minimum_rows"].relaxed and results["minimum_rows"].severity == "critical"
    page = (prepared.validation / "index.html").read_text(encoding="utf-8")
    assert "with a looser threshold here, because: a pilot" in page


def test_the_report_states_the_leak_of_a_draw_image_by_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout(tmp_path)
    copies = [RawFile(f"lemon/copy{n}.png", "lemon", png(picture("lemon", 5))) for n in range(9)]
    write_raw(layout, [*files(["lemon", "plum"], 18), *copies])
    preprocess.preprocess_dataset(layout, Preprocess(image_size=16, split_seed=12), seed=0, workers=0)

    run(layout)

    leak = ValidationReport.read(layout.validation_report).naive_split
    assert leak is not None
    assert leak.groups == 1  # ten copies of one picture, drawn one by one
    assert 0 < leak.test_images_with_twin < leak.test_images
    assert leak.share == pytest.approx(leak.test_images_with_twin / leak.test_images)
    assert "validate: a random split would have put 1 groups on two sides" in capsys.readouterr().out


def test_measures_of_other_images_are_refused(prepared: Layout) -> None:
    pd.read_parquet(prepared.measures).iloc[1:].to_parquet(prepared.measures)

    with pytest.raises(DataError, match="not of the images in the manifest: run `dvc repro -f preprocess`"):
        run(prepared)


def test_test_pixels_are_not_opened(prepared: Layout) -> None:
    shutil.rmtree(prepared.prepared / "test")

    run(prepared)

    assert ValidationReport.read(prepared.validation_report).drift
