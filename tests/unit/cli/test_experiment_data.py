"""`podium validate` and `podium snapshot`: expectations in words, and a dataset that colleagues can pull."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from podium.config.preprocess import Preprocess
from podium.core.layout import Layout
from podium.curation.expectations.expectation import EXPECTATIONS
from podium.pipeline import preprocess
from tests.raw_images import files, write_raw
from tests.unit.cli.calls import one_line, podium

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """A project in which `fetch` has run, under DVC, as the working directory."""
    layout = Layout(tmp_path)
    write_raw(layout, files(["apple", "배"], 3))
    layout.params.write_bytes((REPOSITORY / "experiments/sample.yaml").read_bytes())
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "data").mkdir()
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return layout


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A project in which nothing has run."""
    layout = Layout(tmp_path)
    layout.params.write_bytes((REPOSITORY / "experiments/sample.yaml").read_bytes())
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return layout


# --- validate --------------------------------------------------------------------------------------------------------


def test_every_expectation_is_listed_with_its_severity(fresh):
    result = podium("validate")
    assert result.exit_code == 0, result.stderr
    assert all(id in result.stdout for id in EXPECTATIONS)
    assert "at least 5 images per class and split" in result.stdout
    assert "run `dvc repro validate`" in result.stdout
    listed = json.loads(podium("validate", "--json").stdout)
    assert listed["passed"] is None
    assert [one["id"] for one in listed["expectations"]] == list(EXPECTATIONS)


def test_the_list_tells_how_the_last_validation_went(project):
    said = json.loads(podium("validate", "--json").stdout)
    assert said["passed"] is True
    assert any(one["success"] for one in said["expectations"])
    assert "yes" in podium("validate").stdout


@pytest.mark.parametrize("id", EXPECTATIONS)
def test_every_expectation_can_be_explained(fresh, id):
    result = podium("validate", "--explain", id)
    assert result.exit_code == 0, result.stderr
    for part in (f"{id}: ", "expected", "why", "a failure", "what to do", f"validate.{id} of params.yaml"):
        assert part in result.stdout
    said = json.loads(podium("validate", "--explain", id, "--json").stdout)
    assert said["id"] == id and said["severity"] in ("critical", "warning") and said["why"]


def test_an_explanation_shows_the_threshold_in_force_and_why_it_was_relaxed(fresh):
    raw = yaml.safe_load(fresh.params.read_text(encoding="utf-8"))
    raw["validate"]["minimum_rows"] = {"severity": "warning", "minimum": 3, "because": "a pilot [sic]"}
    fresh.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    shown = " ".join(podium("validate", "--explain", "minimum_rows").stdout.split())
    assert "at least 3 images per class and split" in shown
    assert "is reported as a warning (warning; critical by default; because: a pilot [sic])" in shown


def test_an_unknown_expectation_is_wrong_usage_and_the_nearest_is_named(fresh):
    result = podium("validate", "--explain", "minimum_row")
    assert result.exit_code == 2
    assert "did you mean 'minimum_rows'?" in result.stderr
    assert one_line(result.stderr)


def test_explaining_imports_neither_great_expectations_nor_pandas(fresh):
    code = (
        "import sys; from podium.cli import app\n"
        "try: app(['validate', '--explain', 'columns'])\n"
        "finally: print([m for m in ('great_expectations', 'pandas', 'torch', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=fresh.root, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_data_docs_are_built_where_nothing_is_hashed_and_said_to_need_the_network(fresh):
    small = {"minimum_rows": {"minimum": 2, "because": "the test is small"}, "image_side": {"minimum": 16}}
    raw = yaml.safe_load(fresh.params.read_text(encoding="utf-8"))
    fresh.params.write_text(yaml.safe_dump({**raw, "validate": small}), encoding="utf-8")
    write_raw(fresh, files(["lemon", "<b>귤</b>"], 18))
    preprocess.preprocess_dataset(fresh, Preprocess(image_size=16, split_seed=12), seed=0, workers=0)
    result = podium("validate", "--data-docs")
    assert result.exit_code == 0, result.stderr
    assert "Data Docs: .podium/data-docs/index.html" in result.stdout
    assert "styles from the network" in result.stdout
    assert "leakage" in (fresh.work / "data-docs" / "index.html").read_text(encoding="utf-8")
    assert not fresh.validation_report.exists()


def test_data_docs_before_preprocess_say_what_to_run(fresh):
    result = podium("validate", "--data-docs")
    assert result.exit_code == 1
    assert "dvc repro" in result.stderr and one_line(result.stderr)


# --- snapshot --------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_packed_pinned_and_handed_on(fetched):
    result = podium("snapshot", "produce")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("data/produce.zip: 6 images, ")
    assert "data.dvc pins it." in result.stdout
    assert (fetched.root / "data/produce.zip").is_file() and (fetched.root / "data.dvc").is_file()
    for part in ("source: snapshot", "location: data/produce.zip", "dvc remote add", "dvc push data.dvc", "dvc pull"):
        assert part in result.stdout


def test_a_snapshot_is_not_overwritten_by_accident(fetched):
    assert podium("snapshot", "produce").exit_code == 0
    again = podium("snapshot", "produce")
    assert again.exit_code == 1
    assert "data/produce.zip exists" in again.stderr and one_line(again.stderr)
    said = json.loads(podium("snapshot", "produce", "--replace", "--json").stdout)
    assert (said["archive"], said["images"], said["pinned"]) == ("data/produce.zip", 6, True)
    assert "dvc push data.dvc" in said["steps"]


@pytest.mark.parametrize("name", ["../out", "a b", ""])
def test_a_snapshot_needs_a_plain_name(fetched, name):
    result = podium("snapshot", name)
    assert result.exit_code == 1
    assert "choose another" in result.stderr and one_line(result.stderr)


def test_a_snapshot_of_nothing_says_what_to_run(fresh):
    result = podium("snapshot", "produce")
    assert result.exit_code == 1
    assert "dvc repro" in result.stderr and one_line(result.stderr)
