"""Every record that is read back is what was written or one line that says what to do, whatever became of the file."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.params import load
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.data.shards import SplitRecord, open_for_fitting
from podium.records.base import Record
from podium.records.evaluation import Decision, Leaderboard, Metrics
from podium.records.fetch import Sources
from podium.records.profile import Profile
from podium.records.training import ModelCard, TrialResult, TuningResult, add_times, read_times
from podium.records.validate import ValidationReport
from podium.report.results import read_results
from tests.damage import changed_json, damaged, no_longer_than

MODEL = "tiny_resnet"
RECORDS: dict[type[Record], str] = {
    Decision: "artifacts/comparison/decision.json",
    Leaderboard: "artifacts/comparison/leaderboard.json",
    Metrics: f"artifacts/evaluation/{MODEL}/metrics.json",
    ModelCard: f"artifacts/models/{MODEL}/model.json",
    Profile: "artifacts/prepared/profile.json",
    Sources: "artifacts/raw/sources.json",
    SplitRecord: "artifacts/prepared/val/split.json",
    TuningResult: f"artifacts/tuning/{MODEL}/best.json",
    ValidationReport: "artifacts/validation/validation.json",
}
BROKEN = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "not a number": b'{"value": NaN}',
    "infinite": b'{"value": -Infinity}',
    "nested too deep": b"[" * 200_000,
    "nested too deep and closed": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a number of 5,000 digits": b"1" * 5000,
    "no UTF-8": b'{"a": "\xff"}',
    "zeros": b"\0" * 4096,
}
FUZZ = settings(max_examples=40)


def read_or_refused(record: type[Record], path: Path) -> bool:
    """Whether it was refused."""
    try:
        with no_longer_than(20):
            assert isinstance(record.read(path), record)
    except DataError as refused:
        assert str(refused) == f"{path} is not a valid {record.__name__}: delete it and run `dvc repro`"
        return True
    return False


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_what_is_no_such_document_is_one_line(tmp_path, record, data):
    path = tmp_path / "record.json"
    path.write_bytes(data)
    assert read_or_refused(record, path)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
@FUZZ
@given(data=st.data())
def test_what_was_changed_is_read_or_one_line(finished_project, tmp_path, record, data):
    written = (finished_project / RECORDS[record]).read_bytes()
    path = tmp_path / "record.json"
    path.write_bytes(changed_json(data.draw(st.integers(0, 2**32)), written))
    read_or_refused(record, path)
    path.write_bytes(data.draw(damaged([written])))
    read_or_refused(record, path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_every_number_of_a_record_is_one(number):
    written = TrialResult(number=0, state="finished", parameters={}, epochs=(), rungs={"a": 1.5}).model_dump_json()
    with pytest.raises(ValueError, match="finite number"):
        TrialResult.model_validate(json.loads(written.replace("1.5", number)))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": "b"}', b'{"a": NaN}', b"[" * 200_000])
def test_damaged_times_are_told_and_measured_anew(tmp_path, caplog, data):
    layout = Layout(tmp_path)
    add_times(layout, "f", {"a": 1.0})
    layout.times("f").write_bytes(data)
    assert read_times(layout, "f") == {}
    assert "is damaged, so the times measured for this model are not shown" in caplog.text
    add_times(layout, "f", {"a": 2.0})
    assert read_times(layout, "f") == {"a": 2.0}


def test_a_split_in_the_folder_of_another_is_refused(tmp_path, finished_project):
    (tmp_path / "train").symlink_to(finished_project / "artifacts" / "prepared" / "test")
    with pytest.raises(DataError, match="holds the split 'test', not 'train'"):
        open_for_fitting(tmp_path, "train")


TABLES = (f"artifacts/tuning/{MODEL}/trials.csv", f"artifacts/models/{MODEL}/history.csv")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b'"', b"a,b\n1,2,3\n1,2,3,4\n", b"\0\0\0"])
@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_one_line(tmp_path, name, data):
    from podium.report.results import read_table

    path = tmp_path / Path(name).name
    path.write_bytes(data)
    try:
        read_table(path)
    except DataError as refused:
        assert str(refused) == f"{path} is no table: delete it and run `dvc repro`"


@FUZZ
@given(
    name=st.sampled_from([RECORDS[r] for r in (Decision, Leaderboard, Metrics, ModelCard, TuningResult)]),
    seed=st.integers(0, 2**32),
)
def test_results_with_a_changed_document_are_read_or_one_line(finished_project, name, seed):
    """What publish and status begin with."""
    layout = Layout(finished_project)
    written = (finished_project / name).read_bytes()
    try:
        (finished_project / name).write_bytes(changed_json(seed, written))
        read_results(layout, load(layout.params))
    except DataError as refused:
        assert "\n" not in str(refused)
    finally:
        (finished_project / name).write_bytes(written)


def test_the_tables_are_of_this_project(finished_project):
    for record, name in RECORDS.items():
        assert not read_or_refused(record, finished_project / name), name
