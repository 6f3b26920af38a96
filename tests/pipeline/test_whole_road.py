"""The whole DAG through the real `dvc repro`: complete, repeatable, restorable, and clear when something is wrong."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest

from tests.small_project import SmallProject

MODELS = ("small_resnet", "small_convnext")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def client(project: SmallProject) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")


def runs_by_kind(project: SmallProject) -> dict[str, int]:
    mlflow_client = client(project)
    experiment = mlflow_client.get_experiment_by_name("small")
    counts: dict[str, int] = {}
    for run in mlflow_client.search_runs([experiment.experiment_id]):
        kind = run.data.tags.get("podium.kind", "?")
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def test_every_stage_ran_and_left_its_results(finished):
    assert finished.first_run.returncode == 0, finished.first_run.stdout + finished.first_run.stderr
    leaderboard = json.loads(finished.read("reports/comparison/leaderboard.json"))
    assert sorted(row["model"] for row in leaderboard["rows"]) == sorted(MODELS)
    decision = json.loads(finished.read("reports/comparison/decision.json"))
    assert decision["winner"] in MODELS
    assert decision["reason"]
    for model in MODELS:
        folder = finished.root / "artifacts/models" / model
        assert {p.name for p in folder.iterdir()} == {"weights.safetensors", "model.json", "history.csv"}
        assert (finished.root / "artifacts/evaluation" / model / "predictions.parquet").is_file()
        assert (finished.root / "artifacts/evaluation" / model / "confusion_matrix.png").is_file()
    report = finished.read("reports/report.html")
    assert "사과 (sagwa)" in report
    assert "🍈" in report


def test_the_broken_file_and_the_copy_are_named(finished):
    assert "lemon/broken.jpg" in finished.read("artifacts/prepared/rejected.csv")
    profile = finished.read("artifacts/prepared/profile.json")
    assert "copy of 03.png" in profile
    assert json.loads(finished.read("reports/validation.json"))["passed"] is True


def test_mlflow_shows_the_experiment_its_models_trials_and_a_candidate(finished):
    # one parent, a run per model, a study per model with its two trials
    assert runs_by_kind(finished) == {"experiment": 1, "train": 2, "tune": 2, "trial": 4}
    model = client(finished).get_registered_model("small")
    assert str(model.aliases["candidate"]) == "1"


def test_a_second_repro_changes_nothing(finished):
    lock = finished.read("dvc.lock")
    before = runs_by_kind(finished)
    again = finished.run("dvc", "repro", PATH=finished.path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("Running stage") == 2  # code and publish, which are asked each time
    assert finished.read("dvc.lock") == lock
    assert runs_by_kind(finished) == before
    assert len(client(finished).search_model_versions("name='small'")) == 1


def test_running_every_stage_again_gives_the_same_bytes(finished, warm_path):
    lock = finished.read("dvc.lock")
    forced = finished.run("dvc", "repro", "--force", "compare", timeout=900, PATH=warm_path)
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert "Running stage 'train@small_resnet'" in forced.stdout
    assert finished.read("dvc.lock") == lock


def test_a_training_killed_half_way_resumes_to_the_same_weights(finished):
    weights = finished.root / "artifacts/models/small_resnet/weights.safetensors"
    lock, expected = finished.read("dvc.lock"), digest(weights)
    checkpoints = finished.root / ".podium" / "checkpoints"
    dvc = subprocess.Popen(
        ["dvc", "repro", "--force", "--single-item", "train@small_resnet"],
        cwd=finished.root,
        env=finished.environment,  # a fork of the warm process outlives the one that is killed by a moment
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 1200
    while dvc.poll() is None and time.monotonic() < deadline:
        if checkpoints.is_dir() and any(checkpoints.rglob("checkpoint.safetensors")):
            os.killpg(dvc.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    assert dvc.wait(timeout=600) == -signal.SIGKILL, "training ended before it could be killed"
    assert not weights.exists(), "DVC removes outputs before a run, so what follows was written after the kill"
    again = ("dvc", "repro", "--force", "--single-item", "train@small_resnet")  # not from DVC's cache
    resumed = finished.run(*again, PATH=finished.path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resum" in resumed.stdout + resumed.stderr
    assert digest(weights) == expected
    assert finished.read("dvc.lock") == lock


def test_a_wiped_mlflow_is_filled_again_without_retraining(finished):
    before = runs_by_kind(finished)
    tags = client(finished).get_model_version("small", "1").tags
    store, aside = finished.root / "mlflow.db", finished.root / ".podium" / "mlflow.db.aside"
    store.rename(aside)
    try:
        again = finished.run("dvc", "repro", PATH=finished.path)
        assert again.returncode == 0, again.stdout + again.stderr
        assert again.stdout.count("Running stage") == 2
        assert runs_by_kind(finished) == before
        restored = client(finished).get_model_version("small", "1").tags
    finally:
        aside.replace(store)  # with the promotions of other tests in it
    assert restored["podium.fingerprint"] == tags["podium.fingerprint"]
    assert restored["podium.weights_sha256"] == tags["podium.weights_sha256"]


def test_training_goes_on_without_mlflow_and_publish_fills_it_in_later(finished):
    without = {"PATH": finished.path, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    trained = finished.run("dvc", "repro", "--force", "--single-item", "train@small_resnet", **without)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (trained.stdout + trained.stderr).count("warning:") == 1
    refused = finished.run("dvc", "repro", "publish", **without)
    assert refused.returncode != 0
    assert "dvc repro publish" in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    assert finished.run("dvc", "repro", "publish", PATH=finished.path).returncode == 0


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"train": {"epoch": 3}}, "did you mean 'epochs'?"),
        ({"preprocess": {"image_size": 3}}, "preprocess.image_size"),
        ({"dataset": {"location": "data/nowhere"}}, "data/nowhere"),
        ({"models": {"small_resnet": {"architecture": "resnet10x", "weights": "none"}}}, "resnet10x"),
    ],
)
def test_a_mistake_stops_repro_with_one_line(finished, warm_path, edit, expected):
    params, lock = finished.read("params.yaml"), finished.read("dvc.lock")
    try:
        finished.change_params(**edit)
        failed = finished.run("dvc", "repro", timeout=900, PATH=warm_path)
    finally:
        (finished.root / "params.yaml").write_text(params)
        (finished.root / "dvc.lock").write_text(lock)
        finished.run("dvc", "checkout", "-q", "--force")
    assert failed.returncode != 0
    ours = [line for line in failed.stderr.splitlines() if line.startswith("error:")]
    assert len(ours) == 1
    assert expected in ours[0]
    assert "Traceback" not in failed.stdout + failed.stderr


def test_two_repros_at_once_do_not_mix(finished):
    lock = finished.read("dvc.lock")
    first = subprocess.Popen(
        ["dvc", "repro", "--force", "--single-item", "train@small_resnet"],
        cwd=finished.root,
        env=finished.environment,  # it is to last until the second one asks
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in first.stdout:
        if "Running stage" in line:
            break
    second = finished.run("dvc", "repro", "--force", "--single-item", "train@small_resnet", PATH=finished.path)
    first.communicate(timeout=600)
    assert first.returncode == 0
    assert second.returncode != 0
    assert "is busy" in second.stderr
    assert "Traceback" not in second.stderr
    assert finished.read("dvc.lock") == lock


def test_mlflow_run_is_another_way_in(finished):
    command = ("mlflow", "run", ".", "-e", "main", "--env-manager", "local", "--experiment-name", "small")
    done = finished.run(*command, PATH=finished.path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_experiment_of_dvc_runs_with_one_param_changed(finished, warm_path):
    commit = finished.run("git", "add", "-A"), finished.run("git", "commit", "-q", "-m", "results")
    assert commit[1].returncode == 0
    params, lock = finished.read("params.yaml"), finished.read("dvc.lock")
    try:
        done = finished.run("dvc", "exp", "run", "-S", "evaluate.top_k=2", "-n", "top2", timeout=600, PATH=warm_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(finished.read("reports/evaluation/small_resnet/metrics.json"))["top_k"] == 2
    finally:
        finished.run("git", "checkout", "-q", "--", ".")
        finished.run("dvc", "checkout", "-q", "--force")
    assert (finished.read("params.yaml"), finished.read("dvc.lock")) == (params, lock)
