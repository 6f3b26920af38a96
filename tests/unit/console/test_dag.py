"""Where a stage stands in the DAG, what is out of date, and how long is left."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from podium.console import dag
from podium.console.dag import (
    describe_position,
    describe_seconds,
    describe_stale,
    find_stale,
    keep_seconds,
    read_seconds,
)
from podium.core.errors import DataError
from podium.core.files import canonical_json
from podium.core.identity import Code
from podium.core.layout import Layout

DVC_YAML = """
stages:
  code: {cmd: x, always_changed: true, outs: [artifacts/code: {persist: true}]}
  fetch: {cmd: x, deps: [artifacts/code/fetch.json, data], params: [dataset], outs: [raw]}
  train:
    foreach: ${models}
    do: {cmd: x, deps: [artifacts/code/train.json, raw], params: [train, "models.${key}"], outs: ["models/${key}"]}
  copy: {foreach: "${models}", do: {cmd: cp, outs: ["copies/${key}"], always_changed: true}}
  compare: {cmd: x, deps: [artifacts/code/compare.json, models], metrics: [board.json: {cache: false}]}
  publish: {cmd: x, deps: [board.json], always_changed: true}
"""
PARAMS = {"dataset": {"licence": "x"}, "train": {"epochs": 6}, "models": {"a": {"w": 1}, "b": {"w": 1}}}
CODE = Code({"podium.x": "0a"}, {"timm": "1.0"})
CODE_MD5 = hashlib.md5((canonical_json(CODE.json()) + "\n").encode(), usedforsecurity=False).hexdigest()


def entry(stage, deps, params, outs):
    return {
        "cmd": "x",
        "deps": [{"path": f"artifacts/code/{stage}.json", "md5": CODE_MD5}, *deps],
        "params": {"params.yaml": params},
        "outs": outs,
    }


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """A project whose experiment has run to its end."""
    monkeypatch.setattr(dag, "stage_code", lambda root, stage: CODE)
    raw, data = {"path": "raw", "md5": "r.dir"}, {"path": "data", "md5": "d.dir"}
    outs = {key: {"path": f"models/{key}", "md5": f"{key}.dir"} for key in "ab"}
    stages = {
        "fetch": entry("fetch", [data], {"dataset": {"licence": "x"}}, [raw]),
        **{
            f"train@{k}": entry("train", [raw], {"train": {"epochs": 6}, f"models.{k}": {"w": 1}}, [outs[k]])
            for k in "ab"
        },
        "compare": entry("compare", [{"path": "models", "md5": "m.dir"}], {}, [{"path": "board.json", "md5": "b"}]),
    }
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    (tmp_path / "data.dvc").write_text(yaml.safe_dump({"outs": [data]}))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    for name in ("raw", "models/a", "models/b", "board.json"):
        (tmp_path / name).mkdir(parents=True)
    for stage in ("code", "fetch", "train", "compare", "publish"):
        (tmp_path / "stages").mkdir(exist_ok=True)
        (tmp_path / "stages" / f"{stage}.py").touch()
    return Layout(tmp_path)


def set_params(layout, **changes):
    layout.params.write_text(yaml.safe_dump({**PARAMS, **changes}))


def test_nothing_is_stale_after_a_run(layout):
    assert find_stale(layout) == {}


def test_a_changed_value_is_named_and_what_follows_is_counted(layout):
    set_params(layout, models={"a": {"w": 1}, "b": {"w": 2}})
    stale = find_stale(layout)
    assert stale == {"train@b": "models.b.w 1 -> 2", "compare": "after train@b"}
    assert describe_stale(stale) == "train@b (models.b.w 1 -> 2); 1 more follow"
    set_params(layout, train={"epochs": 8})
    assert describe_stale(find_stale(layout)) == "train@a, train@b (train.epochs 6 -> 8); 1 more follow"


def test_code_data_and_missing_results_are_noticed(layout, monkeypatch):
    (layout.root / "models/b").rmdir()
    assert find_stale(layout) == {"train@b": "models/b is not here", "compare": "after train@b"}
    (layout.root / "data.dvc").write_text(yaml.safe_dump({"outs": [{"path": "data", "md5": "e.dir"}]}))
    assert find_stale(layout)["fetch"] == "data changed"
    assert find_stale(layout)["train@a"] == "after fetch"
    monkeypatch.setattr(dag, "stage_code", lambda root, stage: Code({"podium.x": "0b"}, {"timm": "1.0"}))
    assert find_stale(layout)["fetch"] == "its code changed"


def test_an_added_model_has_not_run_and_without_a_lock_nothing_has(layout):
    set_params(layout, models={**PARAMS["models"], "c": {"w": 1}})
    assert find_stale(layout) == {"train@c": "has not run", "compare": "after train@c"}
    (layout.root / "dvc.lock").unlink()
    assert describe_stale(find_stale(layout)) == "fetch, train@a, train@b and 2 more (has not run)"


def test_the_position_says_how_long_is_left_where_that_is_known(layout):
    assert describe_position(layout, "train@a") == "stage 3 of 6"
    assert describe_position(layout, "unknown") is None
    set_params(layout, train={"epochs": 8})
    for name, seconds in (("fetch", 1000.0), ("train@a", 120.0), ("compare", 2.0), ("publish", 9.0)):
        keep_seconds(layout, name, seconds)
    assert describe_position(layout, "train@a") == "stage 3 of 6, about 4 minutes left"  # b as a: its kin
    assert describe_position(layout, "publish") == "stage 6 of 6, less than a minute left"


def test_stages_that_end_at_once_all_leave_how_long_they_took(layout):
    names = [f"train@{number}" for number in range(16)]
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: keep_seconds(layout, name, 1.0), names))
    assert read_seconds(layout) == dict.fromkeys(names, 1.0)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"fetch": "long"}', '{"fetch": null}'])
def test_damaged_durations_are_none(layout, text):
    layout.durations.parent.mkdir()
    layout.durations.write_text(text)
    assert describe_position(layout, "fetch") == "stage 2 of 6"
    keep_seconds(layout, "fetch", 1.0)
    assert json.loads(layout.durations.read_text()) == {"fetch": 1.0}


def test_a_cut_lock_is_one_line(layout):
    (layout.root / "dvc.lock").write_text("stages: {fetch: [")
    with pytest.raises(DataError, match="dvc.lock is not YAML .*restore it with `git checkout dvc.lock`"):
        find_stale(layout)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (59, "less than a minute"),
        (60, "about a minute"),
        (100, "about 2 minutes"),
        (3599, "about 60 minutes"),
        (3600, "about 1 h 0 min"),
        (9000, "about 2 h 30 min"),
    ],
)
def test_times_are_told_in_words(seconds, words):
    assert describe_seconds(seconds) == words
