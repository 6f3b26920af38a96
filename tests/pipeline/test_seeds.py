"""`seeds: [0, 1, 2]` through the real `dvc repro`: tuned once, trained with each, judged over all of them."""

import hashlib
import json
import subprocess
import time

import psutil
import pytest

from podium.console.openings import read_openings
from podium.core.layout import Layout
from tests.kill_chains import build

MODELS = ("tiny", "other")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = build(tmp_path_factory.mktemp("seeds") / "project")
    models = {"tiny": {"architecture": "test_resnet"}, "other": {"architecture": "test_convnext"}}
    project.change_params(models=models, seeds=[0, 1, 2], tune={"trials": 1}, train={"epochs": 3})
    return project


def repro(project, path, *targets):
    """What ran, and what was said."""
    done = project.run("dvc", "repro", *targets, timeout=900, PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")], done.stdout


def digests(project):
    files = [path for path in (project.root / "artifacts/repeats").rglob("*") if path.is_file()]
    return {str(p.relative_to(project.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def board(project):
    return {name: json.loads(project.read(f"reports/comparison/{name}.json")) for name in ("leaderboard", "decision")}


def test_three_seeds_from_tuning_to_the_report_and_one_less_and_one_more(project, warm_path):
    ran, said = repro(project, warm_path)
    assert [stage for stage in ran if stage.startswith("tune@")] == ["tune@tiny", "tune@other"]
    assert "Test set used 6 times" in said and len(read_openings(Layout(project.root))) == 6
    whole, first = digests(project), board(project)
    assert len([name for name in whole if name.endswith("weights.safetensors")]) == 4
    for row in first["leaderboard"]["rows"]:
        assert row["over_seeds"]["seeds"] == 3
    assert first["decision"]["comparisons"][0]["variance"]["seeds"] == 3
    assert "(3 seeds)" in project.read("reports/report.html")
    assert "(3 seeds)" in project.check("podium", "status")

    project.change_params(seeds=[0, 1])
    ran, said = repro(project, warm_path)
    assert not {"tune@tiny", "train@tiny", "tune@other", "train@other"} & set(ran)
    assert "repeat tiny seed 1: kept" in said and "epoch 1 of 3" not in said
    assert {name for name in digests(project) if "/2/" in name} == set()
    assert board(project)["leaderboard"]["rows"][0]["over_seeds"]["seeds"] == 2

    project.change_params(seeds=[0, 1, 2])
    _kill_within_a_training(project, warm_path)
    ran, said = repro(project, warm_path)
    assert not {"tune@tiny", "train@tiny", "tune@other", "train@other"} & set(ran)
    assert "repeat tiny seed 1: kept" in said and "repeat other seed 2: epoch 1 of 3" in said
    assert "repeat tiny seed 2: epoch 1 of 3" not in said  # the checkpoint of the killed one was
    assert digests(project) == whole and board(project) == first
    assert len(read_openings(Layout(project.root))) == 6  # of the same models, on the same images

    project.change_params(seeds=[0])
    repro(project, warm_path)
    assert "over_seeds" not in project.read("reports/comparison/leaderboard.json")
    assert set(digests(project)) == {f"artifacts/repeats/{model}/seeds.json" for model in MODELS}


def _kill_within_a_training(project, path):
    """Kills the stage once a checkpoint is written, and waits for the end of `dvc repro`."""
    checkpoints = project.root / ".podium/checkpoints"
    running = subprocess.Popen(
        ["dvc", "repro", "repeat@tiny"],
        cwd=project.root,
        env={**project.environment, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list(checkpoints.glob("*/checkpoint.safetensors")):
        assert running.poll() is None, "it came to its end before it was killed"
        time.sleep(0.005)
    for process in psutil.Process(running.pid).children(recursive=True):
        process.kill()
    assert running.wait() > 0
