"""The whole DAG with two models, side by side: the bytes and the runs of one stage after the other.

Of minutes, so it runs when asked for: `PODIUM_LONG=1 python -m pytest tests/pipeline/test_side_by_side.py`. With one
model, `test_kills.py` tells the same in the suite.
"""

import os
import shutil
from collections import Counter
from dataclasses import replace

import mlflow
import pytest

from benchmarks.scratch import Scratch
from tests import kill_chains

PARENT = "mlflow.parentRunId"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    project = kill_chains.build(tmp_path_factory.mktemp("side") / "start")
    tiny = {"architecture": "test_resnet"}
    project.change_params(models={"tiny": tiny, "other": tiny}, tune={"trials": 2}, train={"epochs": 2})
    return project


@pytest.fixture
def run(start, warm_path):
    """Runs a copy of the project."""

    def ran(name, *command):
        root = start.root.with_name(name)
        shutil.copytree(start.root, root, symlinks=True)
        project = Scratch(root)
        done = project.run(*command, timeout=900, PATH=warm_path)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return project, done.stdout

    return ran


def left_by(project):
    left = kill_chains.left_by(project)
    return replace(left, openings=sorted(left.openings))  # which model was evaluated first is chance


@pytest.mark.skipif("PODIUM_LONG" not in os.environ, reason="takes minutes: set PODIUM_LONG")
def test_two_models_at_once_leave_the_same_bytes_and_one_run_of_the_experiment(run):
    serial, _ = run("serial", "dvc", "repro")
    project, said = run("parallel", "podium", "repro", "--jobs", "2")
    assert left_by(project) == left_by(serial)
    assert "the stage goes on" not in said, "a live view gave up"
    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    (parent,) = (run for run in runs if run.data.tags["podium.kind"] == "experiment")
    below = Counter(run.data.tags["podium.kind"] for run in runs if run.data.tags.get(PARENT) == parent.info.run_id)
    assert below == {"tune": 2, "train": 2}
    stages = {key: value for key, value in parent.data.tags.items() if key.startswith("podium.stage.")}
    pairs = {f"podium.stage.{stage}.{model}" for stage in ("tune", "train") for model in ("tiny", "other")}
    assert pairs <= stages.keys() and set(stages.values()) == {"executed"}
