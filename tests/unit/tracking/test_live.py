import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient

from benchmarks.scratch import Scratch
from podium.console.process import Terminated, stoppable
from podium.core.files import sha256_text
from podium.core.layout import Layout
from podium.models.callbacks import reporting
from podium.pipeline import publish
from podium.records.training import EpochResult, TrialResult
from podium.tracking import live
from podium.tracking import store as stores
from podium.tracking.live import LiveView
from podium.tracking.run_writer import RunWriter
from tests.servers import serving

PARENT = "mlflow.parentRunId"


def epoch(number):
    return EpochResult(
        epoch=number,
        step=number * 10,
        learning_rate=0.01,
        train_loss=1 / number,
        train_accuracy=0.5,
        val_loss=2 / number,
        val_accuracy=0.4,
        val_objective=3 / number,
    )


def live_view(layout, *run) -> LiveView:
    view = LiveView(layout, "sample")
    view.on_train_begin(*run)
    return view


def runs_of(layout, kind):
    client = stores.open_client(layout)
    return client, RunWriter(client, layout, "sample").find(kind=kind)


@pytest.fixture
def nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_training_run_shows_each_epoch(store):
    watcher = live_view(store, "train", "resnet18", "f" * 64)
    for number in (1, 2):
        watcher.on_epoch_end(epoch(number), 0.0)
    watcher.on_train_end("finished")
    client, (run,) = runs_of(store, "train")
    assert run.info.run_name == "resnet18: training"
    assert run.info.status == "FINISHED"
    assert run.data.tags["podium.model"] == "resnet18"
    assert run.data.tags["podium.fingerprint"] == "f" * 64
    names = [f"epoch/{name}" for name in ("train_accuracy", "train_loss", "val_accuracy", "val_loss", "val_objective")]
    assert sorted(run.data.metrics) == [*names, "schedule/learning_rate"]  # as MLflow sorts them
    for key in run.data.metrics:
        assert [m.step for m in client.get_metric_history(run.info.run_id, key)] == [1, 2]


def test_the_machine_is_watched_while_a_stage_runs(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    watcher = live_view(store, "train", "resnet18", "f" * 64)
    seen = set()
    for _ in range(600):
        if runs := runs_of(store, "train")[1]:
            seen = {key for key in runs[0].data.metrics if key.startswith("system/")}
        if seen:
            break
    watcher.on_train_end("finished")
    assert "system/cpu_utilization_percentage" in seen


def test_live_runs_are_nested_at_once_and_the_page_opens_in_the_view_for_training(store):
    for kind, model in (("tune", "resnet18"), ("train", "resnet18"), ("train", "convnext")):
        watcher = live_view(store, kind, model, kind[0] * 63 + model[0])
        watcher.on_epoch_end(epoch(1), 0.0, None)
        watcher.on_train_end("finished")
    client, (parent,) = runs_of(store, "experiment")
    assert (parent.info.run_name, parent.info.status) == ("sample: under way", "RUNNING")
    _, runs = runs_of(store, "train")
    assert {run.data.tags[PARENT] for run in (*runs, *runs_of(store, "tune")[1])} == {parent.info.run_id}
    experiment = client.get_experiment_by_name("sample")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_that_another_workspace_writes_to_is_left_alone(store):
    client = stores.open_client(store)
    writer = RunWriter(client, store, "sample")
    tags = {"podium.kind": "train", "podium.fingerprint": "a" * 64, "podium.workspace": "another"}
    theirs = writer.create("m: training", tags, "stages/train.py")
    watcher = live_view(store, "train", "m", "a" * 64)
    watcher.on_epoch_end(epoch(1), 0.0)
    watcher.on_train_end("finished")
    assert client.get_run(theirs).data.metrics == {} and client.get_run(theirs).info.status == "RUNNING"
    assert len(runs_of(store, "train")[1]) == 2


def test_a_study_nests_one_run_per_trial(store):
    study = live_view(store, "tune", "resnet18", "a" * 64)
    for number, ending in enumerate(("finished", "pruned", "diverged")):
        study.on_trial_begin(number, {"learning_rate": 0.1 / (number + 1)})
        study.on_epoch_end(epoch(1), 0.0, number)
        study.on_trial_end(TrialResult(number=number, state=ending, parameters={}, epochs=()))
    study.on_train_end("finished")
    _, (parent,) = runs_of(store, "tune")
    _, trials = runs_of(store, "trial")
    assert [run.info.run_name for run in trials] == [f"resnet18: trial {n}" for n in range(3)]
    assert {run.data.tags[PARENT] for run in trials} == {parent.info.run_id}
    assert [run.data.tags["podium.ending"] for run in trials] == ["finished", "pruned", "diverged"]
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED", "FAILED"]
    assert [run.data.params["learning_rate"] for run in trials][:2] == ["0.1", "0.05"]


def test_a_trial_that_was_not_waited_for_failed_with_its_study(store):
    study = live_view(store, "tune", "resnet18", "a" * 64)
    study.on_trial_begin(0, {"learning_rate": 0.1})
    study.on_train_end("failed")
    _, (trial,) = runs_of(store, "trial")
    assert (trial.info.status, trial.data.tags["podium.ending"]) == ("FAILED", "failed")


def test_a_study_that_sigterm_stops_is_not_running_for_ever(store):
    with pytest.raises(Terminated), stoppable(), reporting([LiveView(store, "sample")], "tune", "m", "a" * 64):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    _, (run,) = runs_of(store, "tune")
    assert run.info.status == "FAILED"


def test_the_run_of_a_killed_training_goes_on_without_doubled_epochs(store):
    script = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_live import epoch, live_view
from podium.core.files import sha256_text
from podium.core.layout import Layout
watcher = live_view(Layout(Path({str(store.root)!r})), "train", "m", "k" * 64)
watcher.on_epoch_end(epoch(1), 0.0); watcher.on_epoch_end(epoch(2), 0.0)
while watcher._queue.qsize(): time.sleep(0.05)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    client, (before,) = runs_of(store, "train")
    assert before.info.status == "RUNNING"
    again = live_view(store, "train", "m", "k" * 64)
    for number in (2, 3):
        again.on_epoch_end(epoch(number), 0.0)
    again.on_train_end("finished")
    _, (run,) = runs_of(store, "train")
    assert run.info.run_id == before.info.run_id
    assert [m.step for m in client.get_metric_history(run.info.run_id, "epoch/val_loss")][-2:] == [2, 3]
    assert run.info.status == "FINISHED"


def test_repeating_a_finished_stage_changes_nothing_and_another_fingerprint_gets_its_own_run(store):
    for fingerprint in ("a", "a", "b"):
        watcher = live_view(store, "train", "m", fingerprint * 64)
        watcher.on_epoch_end(epoch(1), 0.0)
        watcher.on_train_end("finished")
    client, runs = runs_of(store, "train")
    assert [run.data.tags["podium.fingerprint"][0] for run in runs] == ["a", "b"]
    assert len(client.get_metric_history(runs[0].info.run_id, "epoch/val_loss")) == 1


def test_an_unreachable_server_costs_one_warning_and_no_time(store, monkeypatch, capsys, nobody_listens):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody_listens)
    begun = time.monotonic()
    study = live_view(store, "tune", "m", "a" * 64)
    for number in range(50):
        study.on_trial_begin(number, {"learning_rate": 0.1})
        study.on_epoch_end(epoch(1), 0.0, number)
    assert time.monotonic() - begun < 30
    study.on_train_end("finished")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"warning: MLflow at {nobody_listens} cannot be reached or used; the stage goes on; "
        "`dvc repro publish` fills it in later"
    ]


def test_a_server_that_stops_in_mid_training_costs_one_warning_and_publish_fills_the_run_in(
    experiment, empty_store, tmp_path_factory, monkeypatch, capsys
):
    layout, root = experiment.layout, tmp_path_factory.mktemp("server")
    database = f"sqlite:///{shutil.copyfile(empty_store, root / 'mlflow.db')}"
    command = ["mlflow", "server", "--backend-store-uri", database, "--port", "{port}", "--workers", "1"]
    command += ["--no-serve-artifacts", "--default-artifact-root", root.as_uri()]
    with serving(Scratch(root), command, "/health", root / "log.txt") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        watcher = LiveView(layout, experiment.params.experiment)
        watcher.on_train_begin("train", "tiny_resnet", sha256_text("train tiny_resnet"))
        watcher.on_epoch_end(epoch(1), 0.0)
        for _ in range(600):  # until the server shows it
            if [run for run in runs_in(database) if "epoch/val_loss" in run.data.metrics]:
                break
            time.sleep(0.1)
    for number in (2, 3):
        watcher.on_epoch_end(epoch(number), 0.0)
    watcher.on_train_end("finished")
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert "`dvc repro publish` fills it in later" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)  # the server is back
    publish.publish_experiment(layout, experiment.params)
    (run,) = [run for run in runs_in(database) if run.data.tags["podium.model"] == "tiny_resnet"]
    client = stores.open_client(layout)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "epoch/val_loss")] == [1, 2, 3]
    assert run.info.status == "FINISHED" and "test/accuracy" in run.data.metrics


def runs_in(database):
    """The runs of trainings in a database."""
    client = MlflowClient(database, database)
    places = [found.experiment_id for found in client.search_experiments()]
    return client.search_runs(places, "tags.`podium.kind` = 'train'")


def test_a_server_that_never_answers_does_not_hold_the_stage_up(store, monkeypatch, capsys):
    monkeypatch.setattr(stores, "PROBE_SECONDS", 600.0)
    monkeypatch.setattr(live, "FLUSH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        watcher = live_view(store, "train", "m", "a" * 64)
        watcher.on_epoch_end(epoch(1), 0.0)
        watcher.on_train_end("finished")
        assert time.monotonic() - begun < 300
        assert "the stage goes on" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_costs_one_warning(store, capsys):
    (store.root / "mlflow.db").write_bytes(b"this is not a database, whatever its name says\n" * 100)
    watcher = live_view(store, "train", "m", "a" * 64)
    watcher.on_epoch_end(epoch(1), 0.0)
    watcher.on_train_end("finished")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("uri", ["postgresql://me:secret@127.0.0.1/x", "ftp://127.0.0.1/x"])
def test_a_store_mlflow_cannot_open_here_costs_one_warning(store, monkeypatch, capsys, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    watcher = live_view(store, "train", "m", "a" * 64)
    watcher.on_epoch_end(epoch(1), 0.0)
    watcher.on_train_end("finished")
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: MLflow at ") and "secret" not in said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_was_not_shown_is_told_whatever_ended_the_thread(store, monkeypatch, capsys):
    def broken(self, trial, row):
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(live._Recorder, "epoch", broken)
    watcher = live_view(store, "train", "m", "a" * 64)
    watcher.on_epoch_end(epoch(1), 0.0)
    watcher.on_train_end("finished")
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1 and "did not take all" in warnings[0]


def test_the_live_view_starts_before_mlflow_is_imported(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
from podium.core.files import sha256_text
from podium.core.layout import Layout
from podium.tracking.live import LiveView
begun = time.monotonic()
LiveView(Layout(Path({str(tmp_path)!r})), "sample").on_train_begin("train", "m", "k" * 64)
assert "mlflow" not in sys.modules and "torch" not in sys.modules
assert time.monotonic() - begun < 0.5
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_throw_away_copy_of_an_experiment_uses_the_main_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = Layout(tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc")
    assert stores.tracking_uri(copy) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_password_in_the_address_is_not_shown():
    assert stores.public_uri("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert stores.public_uri("sqlite:////a/b@c/mlflow.db") == "sqlite:////a/b@c/mlflow.db"


def test_a_project_whose_path_has_spaces_and_letters_of_any_script(tmp_path, empty_store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "my 과일 project"
    root.mkdir()
    shutil.copyfile(empty_store, root / "mlflow.db")
    layout = Layout(root)
    client = stores.open_client(layout)
    run_id = RunWriter(client, layout, "sample").create("r", {}, "stages/train.py")
    (root / "note.txt").write_text("x")
    client.log_artifact(run_id, str(root / "note.txt"))
    assert (root / "mlruns" / "sample" / run_id / "artifacts" / "note.txt").is_file()


def test_stages_that_begin_at_once_open_one_run_of_the_experiment(store):
    client, together = stores.open_client(store), Barrier(4)
    RunWriter(client, store, "sample")

    def begin(number):
        writer = RunWriter(client, store, "sample")
        together.wait()
        return writer.open_experiment()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(begin, range(4)))) == 1
    assert len(runs_of(store, "experiment")[1]) == 1
