from collections.abc import Callable

import pandas as pd
import pytest

from podium.core.config.validate import Validate
from podium.core.records.validate import ExpectationResult
from podium.curation import expectations
from tests.raw_images import raw_row

PARAMS = Validate.model_validate(
    {
        "columns": {"severity": "critical"},
        "classes_in_every_split": {"severity": "critical"},
        "minimum_rows": {"severity": "critical", "minimum": 3},
        "class_balance": {"severity": "warning", "maximum": 2.0},
        "image_in_one_split": {"severity": "critical"},
        "duplicates_in_one_split": {"severity": "critical"},
        "image_side": {"severity": "warning", "minimum": 32},
        "share_rejected": {"severity": "critical", "maximum": 0.1},
    }
)


def manifest(rows: int = 4) -> pd.DataFrame:
    """A sound manifest: three classes, `rows` images per class and split."""
    made = []
    for label in ("lemon", "orange", "귤"):
        for split in ("train", "val", "test"):
            for number in range(rows):
                key = f"{label}-{split}-{number}"
                made.append(
                    {
                        **raw_row("", label),
                        "image_id": key,
                        "photo_id": key,
                        "path": f"{label}/{split}{number}.jpg",
                        "source": "s",
                        "split": split,
                        "source_split": "",
                        "sha256": f"sha {key}",
                        "phash": "0" * 16,
                        "width": 40,
                        "height": 32,
                        "duplicate_group": key,
                        "duplicate_kind": "",
                        "note": "",
                    }
                )
    return pd.DataFrame(made).drop(columns="shard")


def check(frame: pd.DataFrame, rejected: int = 0) -> dict[str, ExpectationResult]:
    results = expectations.check(frame, [f"bad{n}.jpg" for n in range(rejected)], PARAMS)
    return {result.id: result for result in results}


def failing(results: dict[str, ExpectationResult]) -> set[str]:
    return {name for name, result in results.items() if not result.success}


def test_a_sound_manifest_passes_every_expectation_of_the_params() -> None:
    results = check(manifest(), rejected=2)

    assert failing(results) == set()
    assert list(results) == sorted(Validate.model_fields)
    assert {name: r.severity for name, r in results.items()} == {n: getattr(PARAMS, n).severity for n in results}
    assert set(expectations.REMEDIES) == set(results)


def one_row(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.astype({column: object})
        changed.loc[0, column] = value
        return changed

    return change


def without(label: str, split: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame[(frame["label"] != label) | (frame["split"] != split)].reset_index(drop=True)


def twice(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Row 4 (val) gets the key of row 0 (train); row 1 (train) too, which alone would be allowed."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.copy()
        changed.loc[[1, 4], column] = changed.loc[0, column]
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "name", "observed", "offending"),
    [
        (one_row("split", "dev"), "columns", "1 rows with missing or wrong values", ["lemon/train0.jpg"]),
        (one_row("sha256", None), "columns", "1 rows with missing or wrong values", ["lemon/train0.jpg"]),
        (one_row("image_id", "lemon-train-1"), "columns", "2 rows", ["lemon/train0.jpg", "lemon/train1.jpg"]),
        (lambda f: f.drop(columns="note"), "columns", "missing: note", []),
        (without("귤", "val"), "classes_in_every_split", "no image of '귤' in val", []),
        (lambda f: f[f["split"] != "test"], "classes_in_every_split", "no image of 'lemon' in test", []),
        (without("귤", "val"), "minimum_rows", "smallest: 0 (귤 in val)", []),
        (
            lambda f: f.drop(index=[0, 1]),
            "minimum_rows",
            "smallest: 2 (lemon in train); 1 of 9 below",
            ["lemon/train2.jpg", "lemon/train3.jpg"],
        ),
        (lambda f: f.drop(index=range(7)), "class_balance", "2.4 (12 귤 / 5 lemon)", []),
        (
            twice("sha256"),
            "image_in_one_split",
            "1 pictures in two or more splits",
            ["lemon/train0.jpg", "lemon/train1.jpg", "lemon/val0.jpg"],
        ),
        (
            twice("duplicate_group"),
            "duplicates_in_one_split",
            "1 groups in two or more splits",
            ["lemon/train0.jpg", "lemon/train1.jpg", "lemon/val0.jpg"],
        ),
        (one_row("height", 31), "image_side", "smallest: 31 pixels; 1 images below", ["lemon/train0.jpg"]),
        (one_row("width", 1), "image_side", "smallest: 1 pixels; 1 images below", ["lemon/train0.jpg"]),
    ],
)
def test_each_expectation_fails_on_data_made_to_break_it_and_names_the_images(
    change: Callable[[pd.DataFrame], pd.DataFrame], name: str, observed: str, offending: list[str]
) -> None:
    result = check(change(manifest()))[name]

    assert not result.success
    assert result.checked
    assert observed in result.observed
    assert result.offending == offending
    assert result.offending_count == len(offending)


def test_too_many_rejected_images_fail_with_their_paths() -> None:
    result = check(manifest(), rejected=6)["share_rejected"]

    assert not result.success
    assert result.observed == "0.1429 (6 of 42)"
    assert result.offending == [f"bad{n}.jpg" for n in range(6)]


def test_duplicates_within_one_split_are_fine() -> None:
    frame = manifest()
    frame.loc[[0, 1], ["sha256", "duplicate_group"]] = ["same", "same"]

    assert failing(check(frame)) == set()


def test_a_missing_column_is_told_apart_from_an_expectation_that_fails() -> None:
    results = check(manifest().drop(columns=["sha256", "width"]))

    assert failing(results) == {"columns", "image_in_one_split", "image_side"}
    assert results["columns"].checked
    assert not results["image_in_one_split"].checked
    assert results["image_in_one_split"].observed == "not checked: the manifest lacks the column 'sha256'"


def test_an_exception_inside_the_library_is_reported_as_not_checked() -> None:
    results = check(one_row("width", "wide")(manifest()))

    assert not results["image_side"].success
    assert not results["image_side"].checked
    assert results["image_side"].observed.startswith("not checked: ")


def test_an_empty_manifest_passes_nothing_it_has_no_rows_for() -> None:
    results = check(manifest().iloc[:0])

    assert failing(results) == set(results) - {"share_rejected"}
    assert results["columns"].checked


def test_at_most_twenty_offending_images_are_listed_and_all_are_counted() -> None:
    frame = manifest(rows=10)
    frame["width"] = 5

    result = check(frame)["image_side"]

    assert len(result.offending) == 20
    assert result.offending_count == 90


def test_two_runs_give_the_same_results() -> None:
    frame = without("귤", "val")(manifest())

    assert check(frame) == check(frame.sample(frac=1, random_state=0))
