"""The way of a model into staging and out to a caller, as a person would go it."""

import base64
import json
import subprocess

import mlflow
import pytest
import requests

from podium.report.html import USE_CURL, USE_IN_PYTHON, Registered
from tests.servers import serving


def aliases(project) -> dict[str, str]:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")
    return {alias: str(version) for alias, version in client.get_registered_model("small").aliases.items()}


def test_a_promotion_prints_its_gates_and_moves_the_alias(finished, promoted):
    assert promoted.returncode == 0, promoted.stdout + promoted.stderr
    for gate in ("accuracy", "macro_f1", "golden_batch", "weights_hash", "data_validation", "comparison", "latency"):
        assert gate in promoted.stdout
    assert aliases(finished)["staging"] == "1"


def test_history_tells_who_when_and_why(finished, promoted):
    done = finished.run("podium", "history", "--json")
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)[-1]
    assert (entry["reason"], str(entry["to"]), entry["forced"]) == ("first", "1", False)


def test_a_failed_gate_refuses_and_says_by_how_much(finished, promoted):
    params = finished.read("params.yaml")
    try:
        finished.change_params(promote={"minimum_accuracy": 1.0, "minimum_macro_f1": 1.0})
        refused = finished.run("podium", "promote", "1", "--to", "staging", "--reason", "again")
    finally:
        (finished.root / "params.yaml").write_text(params)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert aliases(finished)["staging"] == "1"


def test_status_shows_the_leaderboard_and_what_to_do_next(finished, promoted):
    done = finished.run("podium", "status")
    assert done.returncode == 0, done.stderr
    for part in ("small_resnet", "small_convnext", "make ui", "reports/report.html", "candidate, staging"):
        assert part in done.stdout


def test_the_lineage_of_the_staging_model_is_checked_down_to_its_images(finished, promoted):
    done = finished.run("podium", "lineage", "models:/small@staging", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    steps, states = [found["version"]], {}
    for step in steps:
        states[step["kind"]] = step["state"]
        steps += step["made_from"]
    assert found["changed"] == []
    assert states.pop("git commit") == "told"  # published before it was committed
    assert states == dict.fromkeys(states, "checked")
    assert len(states) == 9
    assert steps[-1]["facts"]["location"] == "data/photos"
    seen = json.loads(finished.run("podium", "lineage", "--image", "data/photos/lemon/00.png", "--json").stdout)
    split, (version,) = seen["images"][0]["split"], seen["versions"]
    assert {"train": "trained", "val": "chosen", "test": "tested"}[split] in version["saw"]


def test_the_staging_model_answers_over_http(finished, promoted, tmp_path):
    image = (finished.root / "data/photos/lemon/00.png").read_bytes()
    command = ["mlflow", "models", "serve", "-m", "models:/small@staging", "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", "{port}"]
    store = f"sqlite:///{finished.root}/mlflow.db"
    extra = {"MLFLOW_TRACKING_URI": store, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with serving(finished, command, "/ping", tmp_path / "log", **extra) as address:
        encoded = base64.b64encode(image).decode()
        two = {"dataframe_split": {"columns": ["image"], "data": [[encoded], [encoded]]}}
        answer = requests.post(f"{address}/invocations", json=two, timeout=300)
        assert answer.status_code == 200, answer.text
        first, second = answer.json()["predictions"]
        assert first["label"] in {"사과", "lemon", "melon 🍈"}
        assert first == second
        bad = {"dataframe_split": {"columns": ["image"], "data": [[encoded], ["bm90IGFuIGltYWdl"]]}}
        refused = requests.post(f"{address}/invocations", json=bad, timeout=300)
        assert refused.status_code == 400
        assert "row 1" in refused.json()["message"]
        assert "Traceback" not in refused.text
    # What the report and the README say works as it stands there.
    command = ["podium", "serve", "models:/small@staging", "--port", "{port}"]
    with serving(finished, command, "/ready", tmp_path / "log of podium serve") as address:
        (finished.root / "photo.jpg").write_bytes(image)
        said = subprocess.run(
            ["sh", "-c", USE_CURL.replace("http://127.0.0.1:5001", address)],
            cwd=finished.root,
            capture_output=True,
            text=True,
            check=True,
        )
        (alone,) = json.loads(said.stdout)["predictions"]
        assert alone["label"] == first["label"]
        assert alone["score"] == pytest.approx(first["score"], abs=1e-5)  # a batch of one adds in another order
    code = USE_IN_PYTHON.format(model="models:/small@staging", uri=Registered.uri)
    done = finished.run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert first["label"] in done.stdout
