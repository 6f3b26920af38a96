from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from podium.config.validate import Validate
from podium.curation import findings
from podium.curation.expectations import validator
from podium.curation.expectations.expectation import EXPECTATIONS, DatasetFacts
from podium.curation.shard_check import ShardCheck
from podium.records.base import ParquetTable, write_parquet
from podium.records.profile import FlaggedImage, QualityFlag
from podium.records.validate import ExpectationResult
from tests.dataset_facts import facts, manifest, measures, noise, probe, shortcuts

PARAMS = Validate.model_validate(
    {
        "minimum_rows": {"minimum": 3, "because": "a test"},
        "image_side": {"minimum": 32},
        "class_balance": {"maximum": 2.0},
        "source_balance": {"maximum": 1.5},
        "share_rejected": {"maximum": 0.1, "because": "a test"},
    }
)


def measured(frame: pd.DataFrame | None = None, shift: float = 0.0, **changes: object) -> DatasetFacts:
    """Facts with measures; `shift` is added to the brightness of test images."""
    frame = manifest() if frame is None else frame
    taken = measures(frame)
    if shift:
        taken.loc[taken["split"] == "test", "brightness"] += shift
    return facts(frame, measures=taken, drift=findings.compare_splits(taken, 0.1, 0.01), **changes)


def check(found: DatasetFacts, params: Validate = PARAMS) -> dict[str, ExpectationResult]:
    return {result.id: result for result in validator.check(found, params)}


def failing(results: dict[str, ExpectationResult]) -> set[str]:
    return {name for name, result in results.items() if not result.success}


def test_a_sound_dataset_passes_every_expectation_of_the_params() -> None:
    results = check(measured(rejected=2))

    assert failing(results) == set()
    assert list(results) == sorted(set(Validate.file_keys()) - {"probes"}) == sorted(EXPECTATIONS)
    assert {name: r.severity for name, r in results.items()} == {n: PARAMS.entry(n).severity for n in results}
    assert all(r.checked and r.sentence and r.why and r.expected and r.observed for r in results.values())
    assert all(r.offending == [] and r.offending_count == 0 for r in results.values())


def one_row(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Row 0 is lemon/train0.jpg."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.astype({column: object})
        changed.loc[0, column] = value
        return changed

    return change


def without(label: str, split: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame[(frame["label"] != label) | (frame["split"] != split)].reset_index(drop=True)


@pytest.mark.parametrize(
    ("change", "observed", "offending"),
    [
        (one_row("split", "dev"), "1 rows with missing or wrong values", ["lemon/train0.jpg"]),
        (one_row("sha256", None), "1 rows with missing or wrong values", ["lemon/train0.jpg"]),
        (one_row("image_id", "lemon-train-1"), "2 rows", ["lemon/train0.jpg", "lemon/train1.jpg"]),
        (lambda f: f.drop(columns="note"), "missing: note", []),
    ],
)
def test_a_manifest_with_a_hole_is_told_with_its_images(
    change: Callable[[pd.DataFrame], pd.DataFrame], observed: str, offending: list[str]
) -> None:
    result = check(facts(change(manifest())))["columns"]

    assert not result.success
    assert result.checked
    assert observed in result.observed
    assert result.offending == offending
    assert result.offending_count == len(offending)


def test_every_other_expectation_fails_on_data_made_to_break_it_and_names_images() -> None:
    frame = manifest(rows=100).iloc[90:].reset_index(drop=True)  # 10 lemons in train
    frame.loc[[0, 10], ["sha256", "duplicate_group", "photo_id", "split_group"]] = ["same"] * 4
    frame.loc[[11, 250, 251], "sha256"] = "in two classes"
    frame["source"] = ["b" if n < 10 else "a" for n in range(len(frame))]
    frame.loc[0, ["licence", "width"]] = ["unknown", 8]
    frame = frame[(frame["label"] != "귤") | (frame["split"] != "val")].reset_index(drop=True)
    dark = FlaggedImage(image_id="x", path="night.jpg", split="train", value=0.01)
    found = measured(
        frame,
        shift=1.5,
        rejected=200,
        image_size=64,
        quality=[QualityFlag(name="dark", sentence="is dark", threshold=0.1, count=300, worst=[dark])],
        label_noise=noise(3),
        shards=ShardCheck(other_pixels=["a.jpg"], near_copies=[("a.jpg", "b.jpg")]),
        trained_on={"cnn": sorted(set(frame.loc[frame["split"] == "test", "photo_sha256"].str[:16]))},
        shortcuts=shortcuts(probe(0.9, ("b.jpg",)), probe(0.9, ("c.jpg",))),
    )
    strict = Validate.model_validate(
        {
            "minimum_rows": {"minimum": 50},
            "class_balance": {"maximum": 1.2},
            "source_balance": {"maximum": 1.5},
            "image_side": {"minimum": 16},
        }
    )

    results = check(found, strict)

    assert failing(results) == set(EXPECTATIONS) - {"columns"}
    assert all(result.checked for result in results.values())
    assert [id for id, result in results.items() if not result.offending] == ["columns"]


def test_a_relaxed_expectation_says_so_with_the_reason() -> None:
    params = Validate.model_validate({"share_rejected": {"severity": "warning", "because": "two are planted"}})

    result = check(facts(rejected=6), params)["share_rejected"]

    assert (result.success, result.severity, result.relaxed, result.because) == (
        False,
        "warning",
        True,
        "two are planted",
    )


def test_what_was_not_measured_is_not_checked() -> None:
    frame = manifest()
    results = check(
        facts(
            frame,
            quality=None,
            label_noise=noise(note="fewer than 5 images of a class"),
            shortcuts=shortcuts(probe(0, note="one class only")),
        )
    )

    assert {name: r.observed for name, r in results.items() if not r.checked} == {
        "image_quality": "not checked: the images were not measured",
        "label_noise": "not checked: fewer than 5 images of a class",
        "border_shortcut": "not checked: one class only",
        "split_drift": "not checked: the images of train and test were not measured",
    }


def test_duplicates_within_one_split_are_fine() -> None:
    frame = manifest()
    frame.loc[[0, 1], ["sha256", "duplicate_group", "split_group", "photo_id"]] = ["same"] * 4

    assert failing(check(measured(frame))) == set()


def test_a_missing_column_is_told_apart_from_an_expectation_that_fails() -> None:
    results = check(measured(manifest().drop(columns=["sha256", "width"])))

    of_pixels = {"image_in_one_split", "one_label_per_picture", "placeholders"}
    assert failing(results) == {"columns", "image_side", "training_resolution"} | of_pixels
    assert results["columns"].checked
    assert not results["image_in_one_split"].checked
    assert results["image_in_one_split"].observed == "not checked: the manifest lacks the column 'sha256'"


def test_a_column_of_another_type_is_not_checked() -> None:
    result = check(facts(one_row("width", "wide")(manifest())))["image_side"]

    assert not result.success
    assert not result.checked
    assert result.observed == "not checked: the column 'width' of the manifest holds values that are no numbers"


def test_an_empty_manifest_passes_nothing_it_has_no_rows_for() -> None:
    results = check(facts(manifest().iloc[:0], shards=None))

    assert failing(results) == set(results) - {"share_rejected", "label_noise", "border_shortcut"}
    assert results["columns"].checked


def test_at_most_twenty_offending_images_are_listed_and_all_are_counted() -> None:
    frame = manifest(rows=10)
    frame["width"] = 5

    result = check(facts(frame))["image_side"]

    assert len(result.offending) == 20
    assert result.offending_count == 90


def test_two_runs_give_the_same_results_whatever_the_order_of_rows() -> None:
    frame = without("귤", "val")(manifest())

    assert check(measured(frame)) == check(facts(frame.sample(frac=1, random_state=0), **_measures_of(frame)))


def _measures_of(frame: pd.DataFrame) -> dict[str, object]:
    taken = measures(frame)
    return {"measures": taken, "drift": findings.compare_splits(taken, 0.1, 0.01)}


def test_a_manifest_on_the_disk_is_read_a_few_columns_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = without("귤", "val")(manifest())
    write_parquet(tmp_path / "manifest.parquet", frame)
    write_parquet(tmp_path / "measures.parquet", measures(frame))
    tables = ParquetTable(tmp_path / "manifest.parquet"), ParquetTable(tmp_path / "measures.parquet")
    read, asked = ParquetTable.__getitem__, list[int]()

    def spy(table: ParquetTable, columns: list[str]) -> pd.DataFrame:
        asked.append(len(columns))
        return read(table, columns)

    monkeypatch.setattr(ParquetTable, "__getitem__", spy)
    drift = findings.compare_splits(tables[1], 0.1, 0.01)
    limits = {"dark": 0.1, "blurred": 1.0, "uniform": 0.1, "aspect": 1.2}
    on_disk = {"measures": tables[1], "drift": drift, "quality": findings.flag_images(tables[1], tables[0], **limits)}
    in_memory = {**_measures_of(frame), "quality": findings.flag_images(measures(frame), frame, **limits)}

    assert check(facts(tables[0], **on_disk)) == check(facts(frame, **in_memory))
    assert max(asked) <= 5


def test_data_docs_have_a_page_for_every_suite(tmp_path: Path) -> None:
    page = validator.write_data_docs(measured(), PARAMS, tmp_path / "docs")

    assert page == tmp_path / "docs" / "index.html"
    assert page.is_file()
    suites = {path.stem for path in (tmp_path / "docs" / "expectations").iterdir()}
    assert suites == {entry.suite for entry in EXPECTATIONS.values()}
    text = (tmp_path / "docs" / "expectations" / "leakage.html").read_text(encoding="utf-8")
    assert EXPECTATIONS["photo_in_one_split"].sentence in text
