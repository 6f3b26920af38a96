"""A stage that runs again says why in one line."""

import json
from pathlib import Path

import pytest

from podium.console import shell
from podium.console.shell import differences, say_why, stage_inputs
from podium.core.errors import DataError
from podium.core.identity import Code
from podium.core.layout import Layout

DVC_YAML = """
stages:
  code: {cmd: x}
  prepare: {cmd: x, deps: [artifacts/code/prepare.json], outs: [artifacts/prepared/train]}
  train:
    foreach: ${models}
    do:
      cmd: x
      deps: [artifacts/code/train.json, artifacts/prepared, "artifacts/best/${key}.json"]
      params: [train, "models.${key}"]
"""
LOCK = "schema: '2.0'\nstages: {prepare: {cmd: x, outs: [{path: artifacts/prepared/train, md5: {md5}.dir}]}}\n"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project of one trained model; its code is what `set_code` says."""
    set_code(monkeypatch, timm="1.0.31")
    (tmp_path / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    (tmp_path / "dvc.lock").write_text(LOCK.replace("{md5}", "a1"), encoding="utf-8")
    (tmp_path / "params.yaml").write_text("train: {epochs: 6, loss: {kind: bce}}\nmodels: {a: {x: 1}, b: {x: 1}}\n")
    (tmp_path / "artifacts/best").mkdir(parents=True)
    (tmp_path / "artifacts/best/a.json").write_text("{}", encoding="utf-8")
    return Layout(tmp_path)


def set_code(monkeypatch: pytest.MonkeyPatch, timm: str, steps: str = "0a") -> None:
    monkeypatch.setattr(shell, "stage_code", lambda root, stage: Code({"podium.data.decode": steps}, {"timm": timm}))


def run(layout: Layout, model: str = "a", stage: str = "train") -> None:
    with say_why(layout, stage, model):
        pass


def change(layout: Layout, name: str, old: str, new: str) -> None:
    path = layout.root / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_what_a_stage_reads_is_named_by_kind(layout):
    inputs = stage_inputs(layout, "train", "a")
    assert inputs["libraries"] == {"timm": "1.0.31"}
    assert inputs["modules"] == {"podium.data.decode": "0a"}
    assert inputs["params"] == {"train.epochs": "6", "train.loss.kind": "bce", "models.a.x": "1"}
    assert list(inputs["files"]) == ["artifacts/prepared", "artifacts/best/a.json"]
    assert inputs["files"]["artifacts/prepared"] == "a1.dir"


def test_the_first_run_says_nothing_and_a_library_upgrade_is_told_by_its_versions(layout, monkeypatch, capsys):
    run(layout)
    assert capsys.readouterr().out == ""
    set_code(monkeypatch, timm="1.0.32")
    run(layout)
    assert capsys.readouterr().out == "train a runs again: timm 1.0.31 -> 1.0.32\n"


def test_params_code_and_files_are_named(layout, monkeypatch, capsys):
    run(layout)
    change(layout, "params.yaml", "epochs: 6", "epochs: 8")
    set_code(monkeypatch, timm="1.0.31", steps="0b")
    change(layout, "dvc.lock", "a1", "b2")
    run(layout)
    said = "train a runs again: train.epochs 6 -> 8, podium.data.decode edited, artifacts/prepared changed\n"
    assert capsys.readouterr().out == said


def test_many_differences_are_counted(layout):
    now = {"params": {f"train.k{i}": "2" for i in range(7)}}
    found = differences(now, {"params": {f"train.k{i}": "1" for i in range(7)}})
    assert found[0] == "train.k0 1 -> 2"
    assert len(found) == 7


def test_another_models_section_is_not_its_reason(layout, capsys):
    run(layout)
    change(layout, "params.yaml", "b: {x: 1}", "b: {x: 2}")
    run(layout)
    assert capsys.readouterr().out == "train a runs again: its results are missing, or it was asked to\n"


def test_a_run_that_failed_is_not_remembered(layout, monkeypatch, capsys):
    run(layout)
    set_code(monkeypatch, timm="1.0.32")
    with pytest.raises(DataError), say_why(layout, "train", "a"):
        raise DataError("no")
    run(layout)
    assert capsys.readouterr().out.count("timm 1.0.31 -> 1.0.32") == 2
    assert json.loads(layout.last_inputs("train", "a").read_text())["libraries"] == {"timm": "1.0.32"}


def test_a_stage_that_runs_each_time_and_other_processes_of_a_run_say_nothing(layout, monkeypatch):
    run(layout, stage="code")
    monkeypatch.setenv("RANK", "1")
    run(layout)
    assert not (layout.work / "inputs").exists()
