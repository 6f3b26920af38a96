"""The README's recipe for one's own images, word for word, in a fresh clone; sizes are those of a toy."""

import json
import os
import re

import yaml

from benchmarks.scratch import ROOT, copy_project
from tests.small_project import GATES, SPLIT_SEED, draw_images

TOY = {
    "preprocess": {"image_size": 32, "split_seed": SPLIT_SEED},
    "tune": {"trials": 1, "epochs": 1},
    "train": {"epochs": 1},
    "evaluate": {"bootstrap_samples": 100},
    "resources": {"workers": 0},
}


def recipe():
    """The commands of the README, one a line, without comments."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own images")[2]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)[1]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def test_the_recipe_of_the_readme_works_from_a_fresh_clone(tmp_path, warm_path):
    clone = copy_project(tmp_path / "clone", with_sample=True)
    (clone.root / "data").rmdir()
    clone.check("git", "init", "-q")
    for key, value in (("user.email", "someone@example.org"), ("user.name", "Someone")):
        clone.check("git", "config", key, value)
    clone.check("git", "add", "-A")
    clone.check("git", "commit", "-q", "-m", "start")
    draw_images(tmp_path / "photos")  # ~ is the folder of the test
    init, repro = recipe()
    assert (init, repro) == ("podium init ~/photos", "dvc repro")
    done = clone.run("bash", "-c", f"{init} --offline", HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dataset.licence" in done.stdout
    assert len(list(clone.root.glob("data/*.safetensors"))) == 2  # the sample's weights are there and stay pinned
    assert {out["path"] for out in yaml.safe_load(clone.read("data.dvc"))["outs"]} == {"data"}
    clone.change_params(**TOY, **GATES)
    done = clone.run(*repro.split(), timeout=900, PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(clone.read("reports/comparison/leaderboard.json"))["rows"]) == 2
    for said in ("tune@resnet18: stage 5 of 16", "val loss ", "dataset.licence", "podium promote candidate --check"):
        assert said in done.stdout, said
    again = clone.run(*repro.split(), timeout=300, PATH=warm_path)
    assert "nothing to do" in again.stdout
    status = clone.run("podium", "status").stdout
    assert "Out of date" not in status
    assert "In force: photos" in status
    assert os.fspath(tmp_path) not in clone.read("params.yaml")
