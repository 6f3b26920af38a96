"""Every experiment that is kept runs from its images to a registered winner, through the real `dvc repro`.

`sample` is the committed `params.yaml`, which `test_whole_road.py` and others run; with `PODIUM_LONG=1` it runs here,
too, and so does every model of the others.
"""

import json
import os

import pytest
import yaml

from benchmarks.scratch import ROOT
from podium.config.params import load
from tests.toy_experiments import RUN, build

ACCEPTED = {
    "classic_cnns": ["pretraining"],
    "folder": [],
    "fruits_vegetables": ["pretraining"],
    "probe": ["pretraining"],
    "resnet_vs_convnext": ["images_seen"],
    "sample": [],
    "surveillance": ["distillation"],
}
RUN_HERE = [name for name in ACCEPTED if name != "sample" or os.environ.get("PODIUM_LONG")]


def test_no_experiment_is_left_out():
    assert {file.stem for file in (ROOT / "experiments").glob("*.yaml")} == set(ACCEPTED)


@pytest.mark.parametrize("name", RUN_HERE)
def test_an_experiment_runs_at_toy_size(name, tmp_path, warm_path):
    project = build(tmp_path / "project", name)
    kept = load(ROOT / "experiments" / f"{name}.yaml")
    models = RUN.get(name, tuple(kept.models))
    done = project.run("dvc", "repro", timeout=1800, PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    board = json.loads(project.read("reports/comparison/leaderboard.json"))
    assert {row["model"] for row in board["rows"]} == set(models)
    assert board["comparable"]
    assert [difference["condition"] for difference in board["differences"]] == ACCEPTED[name]
    for model in models:
        card = json.loads(project.read(f"artifacts/models/{model}/model.json"))
        config = kept.complete(model)
        assert card["architecture"] == config.architecture
        kept_features = config.is_probe or (config.train.views is not None and config.trainable != "all")
        assert (card["cached_prefix"], card["classifier"]) == (kept_features, config.classifier)
        metrics = json.loads(project.read(f"reports/evaluation/{model}/metrics.json"))
        assert (metrics["groups"] is not None) == (name == "fruits_vegetables")
    lock = yaml.safe_load(project.read("dvc.lock"))
    assert {f"train@{model}" for model in models} <= set(lock["stages"])
    assert "registered" in done.stdout
