"""The test split through the real `dvc repro`: sealed until `evaluate`, and every opening of it on record."""

import shutil

import pytest

from benchmarks.scratch import Scratch
from podium.console.openings import read_openings
from podium.core.layout import Layout
from tests.kill_chains import build


@pytest.fixture(scope="module")
def run(tmp_path_factory, warm_path):
    """A project with one small network, and how commands are run in it."""
    project = build(tmp_path_factory.mktemp("openings") / "project")

    def run(*command: str) -> str:
        done = project.run(*command, timeout=600, PATH=warm_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return project, run


def openings(project: Scratch) -> list[str]:
    return [line.purpose for line in read_openings(Layout(project.root))]


def test_all_before_evaluate_runs_without_the_test_images_and_a_changed_recipe_is_one_more_opening(run):
    project, command = run
    command("dvc", "repro", "preprocess")
    test, away = project.root / "artifacts/prepared/test", project.root / "away"
    test.rename(away)
    teacher = Layout(project.root).teacher("tiny").parent  # what the stage `distil` copies there
    teacher.mkdir(parents=True, exist_ok=True)
    shutil.copy(project.root / "artifacts/code/distil/tiny.json", teacher / "distil.json")
    for stage in ("validate", "tune --model tiny", "train --model tiny"):
        command("python", "-m", *f"stages.{stage}".split())
    assert "validation images" in command("python", "-m", "stages.evaluate", "--model", "tiny", "--on", "val")
    refused = project.run("python", "-m", "stages.evaluate", "--model", "tiny")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "Traceback" not in refused.stderr
    assert openings(project) == []
    away.rename(test)

    said = command("dvc", "repro")
    assert "Test set used once." in said
    assert openings(project) == ["evaluate tiny of killed"]
    command("dvc", "repro", "--force", "--single-item", "evaluate@tiny")
    assert len(openings(project)) == 1
    project.change_params(train={"epochs": 3})
    assert "Test set used 2 times: on" in command("dvc", "repro")
    assert len(openings(project)) == 2


def test_an_experiment_in_a_copy_counts_and_applying_an_older_one_forgets_nothing(run):
    project, command = run
    if not openings(project):
        command("dvc", "repro")
    command("git", "add", "-A")
    command("git", "commit", "-q", "-m", "results")
    before = len(openings(project))
    command("dvc", "exp", "run", "--temp", "-S", "train.epochs=2", "-n", "two")
    assert len(openings(project)) == before + 1
    command("dvc", "exp", "apply", "two")
    assert len(openings(project)) == before + 1
    command("dvc", "repro", "publish")
    assert project.read("reports/test_openings.jsonl").count("\n") == before + 1
