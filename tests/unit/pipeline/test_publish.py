import html
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import pyarrow.parquet as pq
import pytest
import yaml

from podium.analysis.learning_curve import SHARES, fit_curve
from podium.analysis.mistakes import read_mistakes
from podium.config.params import load
from podium.console.openings import read_openings
from podium.core.errors import DataError, TrackingError
from podium.core.files import sha256_text, write_json
from podium.core.layout import Layout
from podium.models import cost
from podium.pipeline import compare, evaluate, publish
from podium.records.evaluation import Decision, Metrics
from podium.records.training import EpochResult, LearningCurve, LearningPoint, ModelCard, TrialResult, add_times
from podium.registry import audit, integrity, package, promotion
from podium.registry.promotion import PromotionRequest
from podium.report.results import evidence_digest, read_results
from podium.tracking import store as stores
from podium.tracking.live import LiveView
from podium.tracking.run_writer import NOTE, RunWriter, run_tags
from tests.servers import postgresql
from tests.unit.conftest import CLASSES, Experiment
from tests.unit.registry.promotions import ignore, lenient

PARENT = "mlflow.parentRunId"


class Seen:
    """What MLflow holds of the experiment."""

    def __init__(self, experiment):
        self.client = stores.open_client(experiment.layout)
        found = self.client.get_experiment_by_name(experiment.params.experiment)
        self.runs = self.client.search_runs([found.experiment_id], max_results=1000)
        self.models = self.client.search_logged_models([found.experiment_id])
        self.versions = self.client.search_model_versions(f"name = '{experiment.params.publish.registered_model}'")

    def of_kind(self, kind):
        return [run for run in self.runs if run.data.tags["podium.kind"] == kind]

    def counts(self):
        kinds = {kind: len(self.of_kind(kind)) for kind in ("experiment", "train", "tune", "trial", "link")}
        return {**kinds, "models": len(self.models), "versions": len(self.versions)}


COMMIT = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"]
ALL = {"experiment": 1, "train": 2, "tune": 2, "trial": 4, "link": 0, "models": 2, "versions": 1}


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(autouse=True)
def one_package(monkeypatch, request, tmp_path_factory):
    """Builds each package once per session and evidence: what is in it is tested in test_package.py."""
    kept = request.config.stash.setdefault(_KEPT, {})
    real = package.build_package

    @contextmanager
    def built(layout, model, runtime, described, exports=()):
        key = (model, evidence_of(layout, model), *exports)
        if key not in kept:
            with real(layout, model, runtime, described, exports) as folder:
                kept[key] = tmp_path_factory.mktemp("package") / model
                shutil.copytree(folder, kept[key])
        one = tmp_path_factory.mktemp("package") / model
        shutil.copytree(kept[key], one)
        (one / "built.txt").write_text(str(one))  # a package holds when it was built: no two are the same
        yield one

    monkeypatch.setattr(package, "build_package", built)


@pytest.fixture(autouse=True)
def one_measuring(monkeypatch, request):
    """Measures once per session what a model costs: what is measured is tested in test_cost.py."""
    kept, real = request.config.stash.setdefault(_COSTS, {}), cost.measure_costs

    def measured(classifiers, images, batch_size):
        key = tuple(each.card.weights_sha256 for each in classifiers)
        if key not in kept:
            kept[key] = real(classifiers, images, batch_size)
        return kept[key]

    monkeypatch.setattr(cost, "measure_costs", measured)


_KEPT, _COSTS = pytest.StashKey[dict](), pytest.StashKey[dict]()


def evidence_of(layout, model):
    reports = (layout.evaluation(model) / "metrics.json", layout.validation_report)
    return evidence_digest([*reports, layout.evaluation(model) / "predictions.parquet"])


def measured_anew(experiment, config, **changes):
    """As after another evaluation of the same weights."""
    path = experiment.layout.evaluation(config.name) / "metrics.json"
    Metrics.read(path).model_copy(update=changes).write(path)


def candidate(experiment):
    return str(stores.open_client(experiment.layout).get_registered_model("podium-tiny").aliases["candidate"])


def packaged_file(experiment, version, name):
    """A file in the `artifacts/` of a version's package."""
    model_id = version.source.removeprefix("models:/")
    (model,) = [model for model in Seen(experiment).models if model.model_id == model_id]
    return Path(url2pathname(urlsplit(model.artifact_location).path)) / "artifacts" / name


def test_a_learning_curve_is_made_once_where_it_is_asked_for(experiment, monkeypatch):
    layout, params = experiment.layout, experiment.params
    asked = params.model_copy(update={"compare": params.compare.model_copy(update={"learning_curve": True})})
    winner, trained = Decision.read(layout.comparison / "decision.json"), []

    def measure(layout, params, model):
        trained.append(model)
        points = [LearningPoint(share=s, draw=0, images=round(80 * s), accuracy=0.9) for s in SHARES]
        fit_curve(model, winner.fingerprint, points, images=80, val_images=9, seed=0).write(layout.learning_curve)

    monkeypatch.setattr("podium.analysis.learning_curve.measure_learning_curve", measure)
    publish._measure_learning_curve(layout, params)
    assert trained == []
    for _ in range(2):
        publish._measure_learning_curve(layout, asked)
    assert trained == [winner.winner]
    curve = LearningCurve.read(layout.learning_curve).model_copy(update={"fingerprint": "0" * 64})
    curve.write(layout.learning_curve)  # of a winner of another time
    publish._measure_learning_curve(layout, asked)
    assert trained == [winner.winner] * 2


def test_how_often_the_test_set_was_used_is_told_and_a_spent_budget_makes_the_page_new(experiment, capsys):
    publish.publish_experiment(experiment.layout, experiment.params)
    assert "Test set used 2 times: on 24 images" in capsys.readouterr().out
    assert "Test set used 2 times: on 24 images" in experiment.layout.report.read_text(encoding="utf-8")
    budget = experiment.params.evaluate.model_copy(update={"openings_budget": 1})
    publish.publish_experiment(experiment.layout, experiment.params.model_copy(update={"evaluate": budget}))
    assert "warning: Test set used 2 times (budget 1)" in capsys.readouterr().out
    page = experiment.layout.report.read_text(encoding="utf-8")
    assert '<p class="warning">Test set used 2 times (budget 1)' in page
    experiment.layout.test_openings.write_text("{}\n")
    publish.publish_experiment(experiment.layout, experiment.params)
    assert "line 1 was cut or edited" in experiment.layout.report.read_text(encoding="utf-8")


def test_publishing_twice_leaves_the_same_runs_and_one_version(experiment, capsys):
    publish.publish_experiment(experiment.layout, experiment.params)
    first = Seen(experiment)
    assert first.counts() == ALL
    before = [(run.info.run_id, run.info.end_time, run.data.metrics) for run in first.runs]
    publish.publish_experiment(experiment.layout, experiment.params)
    second = Seen(experiment)
    assert [(run.info.run_id, run.info.end_time, run.data.metrics) for run in second.runs] == before
    assert second.counts() == ALL
    assert capsys.readouterr().out.splitlines()[-1].endswith("nothing to do")


def test_what_the_models_cost_is_measured_once_and_shown_in_runs_and_report(experiment, monkeypatch):
    measured = []
    real = cost.measure_costs
    monkeypatch.setattr(
        cost, "measure_costs", lambda models, *rest: measured.append(len(models)) or real(models, *rest)
    )
    publish.publish_experiment(experiment.layout, experiment.params)
    publish.publish_experiment(experiment.layout, experiment.params)
    assert measured == [2], "all models in one turn, once"
    for model in read_results(*_both(experiment)).models:
        assert 0 < model.times["latency_p50_seconds"] <= model.times["latency_p95_seconds"] < 5
        (run,) = [r for r in Seen(experiment).of_kind("train") if r.data.tags["podium.model"] == model.name]
        assert run.data.metrics["measured/images_per_second"] == model.times["images_per_second"] > 0
    assert "for the slowest 5%" in experiment.layout.report.read_text(encoding="utf-8")


def test_git_gets_copies_of_what_was_decided_and_a_stage_that_left_nothing_is_named(experiment):
    layout = experiment.layout
    publish.publish_experiment(layout, experiment.params)
    for name in ("leaderboard.json", "decision.json"):
        assert (layout.comparison_report / name).read_bytes() == (layout.comparison / name).read_bytes()
    assert layout.validation_copy.read_bytes() == layout.validation_report.read_bytes()
    for model in experiment.params.models:
        copied = layout.evaluation_report(model) / "metrics.json"
        assert copied.read_bytes() == (layout.evaluation(model) / "metrics.json").read_bytes()
    layout.validation_report.unlink()
    with pytest.raises(DataError, match=r"validation\.json does not exist: run `dvc repro`"):
        publish.publish_experiment(layout, experiment.params)


def test_a_model_run_shows_parameters_history_results_data_plots_and_the_model(experiment):
    add_times(experiment.layout, read_results(*_both(experiment)).winner.card.fingerprint, {"latency": 0.01})
    publish.publish_experiment(experiment.layout, experiment.params)
    seen = Seen(experiment)
    winner = read_results(*_both(experiment)).winner
    (run,) = [r for r in seen.of_kind("train") if r.data.tags["podium.model"] == winner.name]
    (parent,) = seen.of_kind("experiment")
    assert run.data.tags[PARENT] == parent.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params["train.optimizer"] == "adamw"
    assert run.data.params["train.learning_rate"] == "0.002"
    assert run.data.params["train.augment.flip"] == "True"
    history = seen.client.get_metric_history(run.info.run_id, "epoch/val_loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.3), (2, 0.65), (3, pytest.approx(1.3 / 3))]
    assert run.data.metrics["test/accuracy"] == winner.metrics.accuracy.value
    assert {"test/group_accuracy", "test/group_macro_f1", "measured/latency"} <= set(run.data.metrics)
    assert {name.split("/")[0] for name in run.data.metrics} == {"epoch", "schedule", "test", "size", "measured"}
    classes = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tables/classes.csv").splitlines()
    assert classes[0] == "class,precision,recall,recall_low,recall_high,f1,support"
    assert [line.split(",")[0] for line in classes[1:]] == list(winner.metrics.per_class)
    assert [(d.tags[0].value, d.dataset.digest) for d in run.inputs.dataset_inputs][-1] == (
        "test",
        winner.metrics.test_digest[:32],
    )
    assert [output.model_id for output in run.outputs.model_outputs] == [
        m.model_id for m in seen.models if m.tags["podium.model"] == winner.name
    ]
    plots = {item.path for item in seen.client.list_artifacts(run.info.run_id, "plots")}
    assert {"plots/confusion_matrix.png", "plots/learning_curves.png"} <= plots
    pictures = [file.path for file in seen.client.list_artifacts(run.info.run_id, "images")]
    mistakes = read_mistakes(experiment.layout.evaluation(winner.name) / "mistakes.parquet")
    kept = sum(mistake.picture is not None for mistake in mistakes)
    assert sum(path.endswith(".png") for path in pictures) == kept + 1 > 1  # and a sheet of them
    assert {int(path.split("+")[2]) for path in pictures} >= {0}
    table = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tables/mistakes.csv").splitlines()
    assert table[0] == "image_id,path,label,predicted,confidence,label_probability,coarse_right,slices"
    assert len(table) == 1 + len(mistakes)
    logged = {item.path for item in seen.client.list_artifacts(parent.info.run_id)}
    assert {"params.yaml", "report.html", "reports"} <= logged
    assert winner.name in parent.data.tags["mlflow.note.content"]
    assert parent.info.run_name == f"{winner.metrics.accuracy.value:.1%} {winner.name}"
    assert parent.data.metrics["winner/accuracy"] == winner.metrics.accuracy.value
    assert len(parent.outputs.model_outputs) == 2
    for told in (run, parent):
        test = told.inputs.dataset_inputs[-1].dataset
        assert json.loads(test.profile) == {"images": 24, "classes": 3, "images_per_class": dict.fromkeys(CLASSES, 8)}
    (model,) = [m for m in seen.models if m.tags["podium.model"] == winner.name]
    measured = {m.key: (m.value, m.dataset_name) for m in model.metrics}
    assert measured["test/accuracy"] == (winner.metrics.accuracy.value, "tiny test")


def test_an_unfair_comparison_is_told_by_tags_and_notes_until_it_is_accepted(experiment):
    layout, params = experiment.layout, experiment.params
    card = layout.evaluation("tiny_resnet") / "metrics.json"
    metrics = Metrics.read(card)
    changed = metrics.conditions.model_copy(update={"pretraining": "in1k"})
    metrics.model_copy(update={"conditions": changed}).write(card)
    accepting = params.compare.model_copy(update={"accept": {"pretraining": "it is asked for"}})
    for compared, comparable, differences, note in (
        (params.compare, "false", "pretraining", "Not comparable: the models differ in pretraining"),
        (accepting, "true", "pretraining (accepted: it is asked for)", "Accepted by compare.accept"),
        (params.compare, "false", "pretraining", "Not comparable"),  # as at first, when MLflow holds all of it already
    ):
        compare.compare_models(layout, list(params.models), compared)
        publish.publish_experiment(layout, params)
        (version,) = Seen(experiment).versions
        state = read_results(layout, params).state
        (parent,) = [r for r in Seen(experiment).of_kind("experiment") if r.data.tags["podium.state"] == state]
        for tags in (version.tags, parent.data.tags):
            assert (tags["podium.comparable"], tags["podium.differences"]) == (comparable, differences)
        assert note in parent.data.tags["mlflow.note.content"]
        assert note in version.description


def test_report_and_card_name_the_store_that_is_in_use(experiment, monkeypatch, tmp_path_factory):
    layout = experiment.layout
    publish.publish_experiment(layout, experiment.params)
    for said in (Seen(experiment).versions[0].description, html.unescape(layout.report.read_text(encoding="utf-8"))):
        assert 'set_tracking_uri("sqlite:///mlflow.db")' in said
    elsewhere = f"sqlite:///{tmp_path_factory.mktemp('team')}/team.db"
    shutil.copyfile(layout.root / "mlflow.db", elsewhere.removeprefix("sqlite:///"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    stores.open_client(layout).delete_model_version("podium-tiny", "1")
    publish.publish_experiment(layout, experiment.params)
    for said in (Seen(experiment).versions[0].description, html.unescape(layout.report.read_text(encoding="utf-8"))):
        assert f'set_tracking_uri("{elsewhere}")' in said
        assert f"export MLFLOW_TRACKING_URI={elsewhere}\n" in said


def test_the_registered_version_carries_what_promotion_looks_up(experiment):
    root = experiment.layout.root
    for command in (["init", "-q"], COMMIT):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  train:\n    cmd: x\n", encoding="utf-8")
    publish.publish_experiment(experiment.layout, experiment.params)
    (version,) = Seen(experiment).versions
    assert version.tags["podium.git_dirty"] == "true"  # nothing of it is committed
    for command in (["add", "-f", "dvc.lock", "params.yaml", "reports"], COMMIT):
        subprocess.run(["git", *command], cwd=root, check=True)
    publish.publish_experiment(experiment.layout, experiment.params)
    (version,) = Seen(experiment).versions
    out = read_results(*_both(experiment))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert version.tags == {
        "podium.fingerprint": out.winner.card.fingerprint,
        "podium.evidence": evidence_of(experiment.layout, out.winner.name),
        "podium.model": out.winner.name,
        "podium.weights_sha256": out.winner.card.weights_sha256,
        "podium.data_digest": out.validation.manifest_sha256,
        "podium.test_digest": out.winner.metrics.test_digest,
        "podium.test_images": out.test_images,
        "podium.validation_passed": "true",
        "podium.git_commit": head.strip(),
        "podium.git_dirty": "false",
        "podium.dvc_lock_sha256": out.dvc_lock,
        "podium.state": out.state,
        "podium.accuracy": repr(out.winner.metrics.accuracy.value),
        "podium.macro_f1": repr(out.winner.metrics.macro_f1.value),
        "podium.outcome": "undecided",
        "podium.undecided_because": experiment.params.compare.accept["undecided"],
        "podium.comparable": "true",
        "podium.differences": "none",
    }
    aliases = stores.open_client(experiment.layout).get_registered_model("podium-tiny").aliases
    assert {alias: str(number) for alias, number in aliases.items()} == {"candidate": str(version.version)}
    assert out.winner.card.architecture in version.description
    # DVC adds publish's own entry afterwards: what the tag says must not change by it.
    with (root / "dvc.lock").open("a") as lock:
        lock.write("  publish:\n    cmd: y\n")
    assert read_results(*_both(experiment)).dvc_lock == out.dvc_lock


def test_wiping_the_store_and_publishing_again_restores_everything(experiment, empty_store):
    stage = [sys.executable, "-m", "stages.publish"]
    repository = Path(__file__).parents[3]
    settings = {**os.environ, "PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}"}
    # twice in processes of its own: this one would go on reading the database that was deleted
    subprocess.run(stage, cwd=experiment.layout.root, env=settings, capture_output=True, check=True)
    (experiment.layout.root / "mlflow.db").unlink()
    shutil.rmtree(experiment.layout.root / "mlruns")
    shutil.copyfile(empty_store, experiment.layout.root / "mlflow.db")
    done = subprocess.run(stage, cwd=experiment.layout.root, env=settings, capture_output=True, text=True, check=True)
    assert "registered podium-tiny version 1" in done.stdout
    assert done.stderr == ""
    seen = Seen(experiment)
    assert seen.counts() == ALL
    trials = {run.data.tags["podium.trial"]: run for run in seen.of_kind("trial")}
    assert trials["1"].data.tags["podium.ending"] == "pruned"
    assert trials["1"].data.params == {"train.learning_rate": "0.01"}
    assert len(seen.client.get_metric_history(trials["0"].info.run_id, "epoch/val_loss")) == 2
    tunes = {run.info.run_id: run for run in seen.of_kind("tune")}
    assert {run.data.tags[PARENT] for run in seen.of_kind("trial")} == set(tunes)
    for run_id, run in tunes.items():
        assert (run.data.metrics["study/images_seen"], run.data.metrics["study/pruned"]) == (18, 1)
        assert (run.data.params["best/train.learning_rate"], run.data.tags["podium.at_the_edge"]) == ("0.002", "none")
        plots = [plot.path for plot in seen.client.list_artifacts(run_id, "plots")]
        assert plots == ["plots/course.png", "plots/epochs.png", "plots/searched_keys.png"]


def test_artifacts_that_were_deleted_come_back(experiment):
    publish.publish_experiment(experiment.layout, experiment.params)
    shutil.rmtree(experiment.layout.root / "mlruns")
    publish.publish_experiment(experiment.layout, experiment.params)
    seen = Seen(experiment)
    assert seen.counts() == ALL
    for run in (*seen.of_kind("train"), *seen.of_kind("tune")):
        assert seen.client.list_artifacts(run.info.run_id, "plots")


def test_live_runs_are_adopted_and_completed(experiment):
    out = read_results(*_both(experiment))
    for config in out.models:
        study = LiveView(experiment.layout, experiment.params.experiment)
        study.on_train_begin("tune", config.name, config.tuning.fingerprint)
        study.on_trial_begin(0, {"train.learning_rate": 0.002})
        study.on_epoch_end(_epoch(1), 0.0, 0)
        study.on_trial_end(TrialResult(number=0, state="finished", parameters={}, epochs=(_epoch(1),)))
        study.on_train_end("finished")
        training = LiveView(experiment.layout, experiment.params.experiment)
        training.on_train_begin("train", config.name, config.card.fingerprint)
        training.on_epoch_end(_epoch(1), 0.0)
        training.on_train_end("failed")  # as a kill leaves it: one epoch of three
    live = {run.info.run_id for run in Seen(experiment).runs}
    publish.publish_experiment(experiment.layout, experiment.params)
    seen = Seen(experiment)
    assert seen.counts() == ALL
    assert live <= {run.info.run_id for run in seen.runs}
    for run in seen.of_kind("train"):
        assert [m.step for m in seen.client.get_metric_history(run.info.run_id, "epoch/val_loss")] == [1, 2, 3]
        assert run.info.status == "FINISHED"


def statuses(experiment):
    return sorted(str(model.status) for model in Seen(experiment).models)


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, OSError])
def test_an_interrupted_upload_leaves_no_pending_model(experiment, monkeypatch, stopped):
    def interrupted(self, model_id, folder):
        raise stopped

    with monkeypatch.context() as patch, pytest.raises(stopped):
        patch.setattr("mlflow.MlflowClient.log_model_artifacts", interrupted)
        publish.publish_experiment(experiment.layout, experiment.params)
    assert statuses(experiment) == []
    publish.publish_experiment(experiment.layout, experiment.params)
    assert statuses(experiment) == ["READY", "READY"]
    assert Seen(experiment).counts() == ALL


def test_an_upload_that_was_killed_is_gone_on_with(experiment, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(package, "_gone_if_cut_off", lambda client, logged: nullcontext())
        patch.setattr(package, "_upload", lambda *_: (_ for _ in ()).throw(InterruptedError))
        publish.publish_experiment(experiment.layout, experiment.params)
    assert statuses(experiment) == ["PENDING"]
    publish.publish_experiment(experiment.layout, experiment.params)
    assert statuses(experiment) == ["READY", "READY"]
    assert Seen(experiment).counts() == ALL


def test_what_a_kill_left_is_ended_though_the_experiment_is_another_one_now(experiment, capsys):
    """A study and an upload killed with -9, then other params: nobody goes on with them."""
    layout, params = experiment.layout, experiment.params
    publish.publish_experiment(layout, params)
    client = stores.open_client(layout)
    for name in (params.experiment, "another"):
        writer = RunWriter(client, layout, name)
        study = {**run_tags("tune", "gone", "f" * 64), "podium.workspace": writer.workspace}
        run_id = writer.create("gone: study", {**study, PARENT: writer.open_experiment()}, "stages/tune.py")
        writer.open_trial(run_id, "gone", "f" * 64, 0)
    tags = {"podium.fingerprint": "f" * 64, "podium.evidence": "e" * 64}
    experiment_id = client.get_experiment_by_name(params.experiment).experiment_id
    client.create_logged_model(experiment_id, name="gone", tags=tags)
    theirs = client.create_logged_model(experiment_id, name="theirs").model_id  # no model of Podium
    elsewhere = client.create_run(experiment_id, tags={**study, "podium.workspace": "another"}).info.run_id
    capsys.readouterr()
    publish.publish_experiment(layout, params)
    said = capsys.readouterr().out
    assert "runs of stages that were killed were marked as such: gone: study" in said
    assert "1 models whose upload was killed were deleted" in said
    everywhere = [each.experiment_id for each in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(everywhere) if run.info.run_id != elsewhere} == {
        "FINISHED",
        "KILLED",
    }
    assert client.get_run(elsewhere).info.status == "RUNNING"
    seen = Seen(experiment)
    assert {model.name for model in seen.models} == {*params.models, "theirs"}
    client.delete_logged_model(theirs)
    publish.publish_experiment(layout, params)
    assert capsys.readouterr().out.endswith("nothing to do\n")


@pytest.mark.parametrize(
    ("what", "status"),
    [("folder gone", "KILLED"), ("process gone", "KILLED"), ("at work", "RUNNING"), ("another host", "RUNNING")],
)
def test_a_run_of_another_workspace_is_ended_when_nobody_can_go_on_with_it(experiment, tmp_path_factory, what, status):
    """As `dvc exp run --queue` leaves it when it is killed: DVC deletes the folder."""
    layout, params = experiment.layout, experiment.params
    publish.publish_experiment(layout, params)
    client, other = stores.open_client(layout), Layout(tmp_path_factory.mktemp("other"))
    writer = RunWriter(client, other, params.experiment)
    changed = {"process gone": {"podium.process": "1 1"}, "another host": {"podium.host": "h"}}.get(what, {})
    writer.here |= changed
    study = run_tags("tune", "gone", "f" * 64)
    parent = writer.open_experiment()
    run_id = writer.create("gone: study", {**study, PARENT: parent}, "stages/tune.py")
    trial, _ = writer.open_trial(run_id, "gone", "f" * 64, 0)
    if what in ("folder gone", "another host"):
        shutil.rmtree(other.root)
    publish.publish_experiment(layout, params)
    assert {client.get_run(run).info.status for run in (run_id, trial)} == {status}
    under_way = "KILLED" if what == "folder gone" else "RUNNING"  # of the experiment, other stages may follow
    assert client.get_run(parent).info.status == under_way


def test_times_in_mlflow_are_those_of_the_work(experiment):
    out = read_results(*_both(experiment))
    for number, model in enumerate(out.models):
        for fingerprint, start in ((model.tuning.fingerprint, 1000), (model.card.fingerprint, 2000)):
            times = {"started": start + 100.0 * number, "ended": start + 100.0 * number + 60}
            add_times(experiment.layout, fingerprint, times)
    publish.publish_experiment(experiment.layout, experiment.params)
    seen = Seen(experiment)
    spans = {run.info.run_name: (run.info.start_time, run.info.end_time) for run in seen.runs}
    for number, model in enumerate(out.models):
        assert spans[f"{model.name}: study"] == (1_000_000 + 100_000 * number, 1_060_000 + 100_000 * number)
        assert spans[f"{model.name}: training"] == (2_000_000 + 100_000 * number, 2_060_000 + 100_000 * number)
    (parent,) = seen.of_kind("experiment")
    assert (parent.info.start_time, parent.info.end_time) == (1_000_000, 2_160_000)


def test_each_state_shows_its_studies_and_training_runs_by_links(experiment):
    layout, params = experiment.layout, experiment.params
    publish.publish_experiment(layout, params)
    first = {run.info.run_id for run in Seen(experiment).runs}
    compare.compare_models(layout, list(params.models), params.compare.model_copy(update={"significance": 0.04}))
    publish.publish_experiment(layout, params)
    seen = Seen(experiment)
    assert seen.counts() == {**ALL, "experiment": 2, "link": 4}
    (parent,) = [run for run in seen.of_kind("experiment") if run.info.run_id not in first]
    links = seen.of_kind("link")
    names = {f"{model}: {what}" for model in params.models for what in ("study", "training")}
    assert {run.info.run_name for run in links} == names
    for link in links:
        assert link.data.tags[PARENT] == parent.info.run_id
        full = seen.client.get_run(link.data.tags["podium.run"])
        assert (link.info.start_time, link.info.end_time) == (full.info.start_time, full.info.end_time)
        assert full.info.run_id in link.data.tags["mlflow.note.content"]
        assert link.data.metrics.items() <= full.data.metrics.items() and link.data.metrics
    publish.publish_experiment(layout, params)
    assert len(Seen(experiment).runs) == len(seen.runs)


@pytest.mark.parametrize("kind", ["train", "tune", "trial"])
def test_a_run_that_somebody_deleted_is_filled_again(experiment, kind, capsys):
    publish.publish_experiment(experiment.layout, experiment.params)
    gone = Seen(experiment).of_kind(kind)[0]
    stores.open_client(experiment.layout).delete_run(gone.info.run_id)
    publish.publish_experiment(experiment.layout, experiment.params)
    assert "nothing to do" not in capsys.readouterr().out
    assert Seen(experiment).counts() == ALL
    publish.publish_experiment(experiment.layout, experiment.params)
    assert capsys.readouterr().out.endswith("nothing to do\n")


def test_a_loser_measured_anew_gets_its_own_runs_and_package_but_no_version(experiment):
    publish.publish_experiment(experiment.layout, experiment.params)
    out = read_results(*_both(experiment))
    (loser,) = [config for config in out.models if config.name != out.winner.name]
    measured_anew(experiment, loser, ece=0.123)
    publish.publish_experiment(experiment.layout, experiment.params)
    assert Seen(experiment).counts() == {**ALL, "experiment": 2, "train": 3, "models": 3, "link": 3}


def test_the_winner_measured_anew_is_a_new_version_with_the_new_evidence(experiment):
    layout = experiment.layout
    publish.publish_experiment(layout, experiment.params)
    out = read_results(*_both(experiment))
    kept = (layout.evaluation(out.winner.name) / "metrics.json").read_bytes()
    measured_anew(experiment, out.winner, test_digest="ab" * 32)
    publish.publish_experiment(layout, experiment.params)
    new, old = sorted(Seen(experiment).versions, key=lambda version: -int(version.version))
    assert (str(new.version), candidate(experiment)) == ("2", "2")
    assert new.tags["podium.fingerprint"] == old.tags["podium.fingerprint"]
    assert new.tags["podium.test_digest"] == "ab" * 32
    assert Metrics.read(packaged_file(experiment, new, "metrics.json")).test_digest == "ab" * 32
    publish.publish_experiment(layout, experiment.params)
    (layout.evaluation(out.winner.name) / "metrics.json").write_bytes(kept)
    publish.publish_experiment(layout, experiment.params)
    assert (len(Seen(experiment).versions), candidate(experiment)) == (2, "1")


def test_new_evidence_of_the_promoted_weights_can_be_promoted(experiment):
    params = lenient(experiment.params)
    publish.publish_experiment(experiment.layout, params)
    promotion.promote(experiment.layout, params, PromotionRequest("candidate", "staging", "first"), ignore)
    measured_anew(experiment, read_results(*_both(experiment)).winner, ece=0.123)
    publish.publish_experiment(experiment.layout, params)
    moved = promotion.promote(
        experiment.layout, params, PromotionRequest("candidate", "staging", "measured anew"), ignore
    )
    assert (moved.from_version, moved.to_version) == ("1", "2")


def test_report_and_publish_say_how_the_winner_stands_to_the_holder_of_staging(experiment, capsys):
    layout, params = experiment.layout, lenient(experiment.params)
    publish.publish_experiment(layout, params)
    page = layout.report.read_text(encoding="utf-8")
    assert "nothing is at staging yet." in page
    promotion.promote(layout, params, PromotionRequest("candidate", "staging", "first"), ignore)
    out = read_results(*_both(experiment))
    capsys.readouterr()
    publish.publish_experiment(layout, params)  # nothing to do, but the report tells of now
    assert f"{out.winner.name} is version 1 at staging" in layout.report.read_text(encoding="utf-8")
    assert capsys.readouterr().out.endswith("nothing to do\n")
    (other,) = [config for config in out.models if config.name != out.winner.name]
    decided = {**out.decision.model_dump(), "winner": other.name, "fingerprint": other.card.fingerprint}
    write_json(layout.comparison / "decision.json", decided)
    stores.open_client(layout).set_model_version_tag("podium-tiny", "1", "podium.accuracy", "1.0")
    publish.publish_experiment(layout, params)
    told = capsys.readouterr().out
    verdict = f"is better than version 1 at staging ({out.winner.name}): accuracy "
    assert f"It is undecided whether {other.name} {verdict}" in told
    assert "warning: candidate is version 2 with accuracy" in told
    assert f"{other.name} {verdict}" in layout.report.read_text(encoding="utf-8")


def test_other_predictions_alone_are_other_evidence(experiment):
    publish.publish_experiment(experiment.layout, experiment.params)
    winner = read_results(*_both(experiment)).winner
    path = experiment.layout.evaluation(winner.name) / "predictions.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    publish.publish_experiment(experiment.layout, experiment.params)
    assert candidate(experiment) == "2"


@pytest.mark.parametrize("how", ["model deleted", "all collected"])
def test_a_version_whose_logged_model_is_gone_is_repaired_with_record_and_alias(experiment, how):
    params = lenient(experiment.params)
    publish.publish_experiment(experiment.layout, params)
    promotion.promote(experiment.layout, params, PromotionRequest("candidate", "staging", "first"), ignore)
    (version,) = Seen(experiment).versions
    client = stores.open_client(experiment.layout)
    client.delete_logged_model(version.source.removeprefix("models:/"))
    if how == "all collected":
        client.delete_experiment(client.get_experiment_by_name("tiny").experiment_id)
        uri = stores.tracking_uri(experiment.layout)
        subprocess.run(["mlflow", "gc", "--backend-store-uri", uri, "--tracking-uri", uri], check=True)
    publish.publish_experiment(experiment.layout, params)
    seen = Seen(experiment)
    assert seen.counts() == ALL
    held = seen.client.get_registered_model("podium-tiny")
    assert {alias: str(number) for alias, number in held.aliases.items()} == {"candidate": "1", "staging": "1"}
    record = audit.read_record(experiment.layout, "podium-tiny", held.tags)
    why = {"model deleted": [], "all collected": ["brought up to date"]}[how]
    assert [entry.reason for entry in record.entries] == ["registered", "first", *why]
    assert integrity.audit_model(experiment.layout, params)[1] == []
    mlflow.set_tracking_uri(stores.tracking_uri(experiment.layout))
    assert mlflow.pyfunc.load_model("models:/podium-tiny@staging").metadata.signature is not None
    publish.publish_experiment(experiment.layout, params)
    assert len(Seen(experiment).runs) == len(seen.runs)


def test_a_throw_away_workspace_publishes_runs_and_a_version_only_when_asked(experiment, capsys):
    root = experiment.layout.root / ".dvc" / "tmp" / "exps" / "tmpabc"
    ignored = shutil.ignore_patterns(".dvc", "mlflow.db*", ".podium")
    shutil.copytree(experiment.layout.root, root, ignore=ignored)
    publish.publish_experiment(Layout(root), experiment.params)
    assert Seen(experiment).counts() == {**ALL, "versions": 0}
    assert "this workspace will be deleted" in capsys.readouterr().out
    asked = experiment.params.publish.model_copy(update={"register_queued": True})
    publish.publish_experiment(Layout(root), experiment.params.model_copy(update={"publish": asked}))
    assert Seen(experiment).counts() == ALL


def test_a_copied_project_writes_into_its_own_folder(experiment, tmp_path_factory, capsys):
    layout, params = experiment.layout, experiment.params
    publish.publish_experiment(layout, params)
    copy = Layout(tmp_path_factory.mktemp("copy") / "of [a] project")
    shutil.copytree(layout.root, copy.root)
    before = sorted(layout.root.rglob("*"))
    measured_anew(Experiment(copy, params), read_results(copy, params).winner, ece=0.123)
    capsys.readouterr()
    publish.publish_experiment(copy, params)
    assert f"copied or moved from {layout.root}" in capsys.readouterr().err
    assert sorted(layout.root.rglob("*")) == before
    seen = Seen(Experiment(copy, params))
    places = [run.info.artifact_uri for run in seen.runs] + [model.artifact_location for model in seen.models]
    assert {place.startswith(copy.root.as_uri()) for place in places} == {True}
    assert seen.client.get_model_version_download_uri("podium-tiny", "1").startswith(copy.root.as_uri())
    assert Seen(experiment).counts() == ALL


@pytest.mark.parametrize("kind", ["local", "postgresql"])
def test_two_publishes_at_once_leave_what_one_leaves(experiment, monkeypatch, kind):
    """In an empty database they make MLflow's tables at once, too."""
    with postgresql() if kind == "postgresql" else nullcontext() as uri:
        if uri:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        publish_twice_at_once(experiment)


def publish_twice_at_once(experiment):
    stage = [sys.executable, "-m", "stages.publish"]
    repository = Path(__file__).parents[3]
    settings = {**os.environ, "PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}"}
    ran = [
        subprocess.Popen(stage, cwd=experiment.layout.root, env=settings, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(process.communicate()[1], process.returncode) for process in ran] == [("", 0)] * 2
    seen = Seen(experiment)
    assert seen.counts() == ALL
    assert {run.info.status for run in seen.runs} == {"FINISHED"}
    for run in seen.of_kind("experiment"):
        assert len(seen.client.get_metric_history(run.info.run_id, "winner/accuracy")) == 1


@pytest.mark.parametrize(("name", "left"), [("golden.json", None), ("model.json", None), ("metrics.json", b"{")])
def test_a_package_that_lost_a_piece_of_its_evidence_is_repaired(experiment, name, left):
    publish.publish_experiment(experiment.layout, experiment.params)
    (version,) = Seen(experiment).versions
    path = packaged_file(experiment, version, name)
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    publish.publish_experiment(experiment.layout, experiment.params)
    assert path.read_bytes() == whole
    assert Seen(experiment).counts() == ALL


def test_a_folder_that_a_version_of_plain_mlflow_names_is_left_alone(experiment, tmp_path_factory):
    publish.publish_experiment(experiment.layout, experiment.params)
    precious = tmp_path_factory.mktemp("precious")
    (precious / "notes.txt").write_text("mine")
    seen = Seen(experiment)
    seen.client.create_model_version("podium-tiny", str(precious), tags=seen.versions[0].tags)
    publish.publish_experiment(experiment.layout, experiment.params)
    assert [path.name for path in precious.iterdir()] == ["notes.txt"]
    assert candidate(experiment) == "1"


def test_candidate_follows_the_winner_back_to_an_older_version(experiment):
    layout, out = experiment.layout, read_results(*_both(experiment))
    publish.publish_experiment(layout, experiment.params)
    decision = layout.comparison / "decision.json"
    kept = decision.read_bytes()
    (other,) = [config for config in out.models if config.name != out.winner.name]
    write_json(decision, {**out.decision.model_dump(), "winner": other.name, "fingerprint": other.card.fingerprint})
    publish.publish_experiment(layout, experiment.params)
    assert candidate(experiment) == "2"
    decision.write_bytes(kept)
    publish.publish_experiment(layout, experiment.params)
    assert Seen(experiment).counts()["versions"] == 2
    assert candidate(experiment) == "1"


def test_an_unreachable_server_leaves_the_report_and_a_later_publish_fills_in(experiment, monkeypatch, unused_port):
    monkeypatch.setattr(stores, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:secret@127.0.0.1:{unused_port}")
    with pytest.raises(TrackingError, match=r"cannot be reached: start it .* `dvc repro publish`") as caught:
        publish.publish_experiment(experiment.layout, experiment.params)
    assert "secret" not in str(caught.value)
    assert experiment.layout.report.is_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    publish.publish_experiment(experiment.layout, experiment.params)
    assert Seen(experiment).counts() == ALL


def test_inside_mlflow_run_the_outer_run_becomes_the_parent_and_is_not_written_to(experiment, monkeypatch):
    client = stores.open_client(experiment.layout)
    outer = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", outer)
    publish.publish_experiment(experiment.layout, experiment.params)
    (parent,) = Seen(experiment).of_kind("experiment")
    assert parent.data.tags[PARENT] == outer
    untouched = client.get_run(outer)
    assert untouched.data.params == {} and untouched.data.metrics == {} and untouched.info.status == "RUNNING"


def test_measured_times_that_came_later_are_added_without_a_new_run(experiment):
    publish.publish_experiment(experiment.layout, experiment.params)
    out = read_results(*_both(experiment))
    add_times(experiment.layout, out.winner.card.fingerprint, {"seconds_per_epoch": 2.5})
    publish.publish_experiment(experiment.layout, experiment.params)
    seen = Seen(experiment)
    assert seen.counts() == ALL
    assert [run.data.metrics.get("measured/seconds_per_epoch") for run in seen.of_kind("train")].count(2.5) == 1


def test_an_evaluation_of_another_model_is_refused(experiment):
    path = experiment.layout.evaluation("tiny_resnet") / "metrics.json"
    Metrics.read(path).model_copy(update={"fingerprint": "0" * 64}).write(path)
    with pytest.raises(DataError, match="judges another model than artifacts/models/tiny_resnet"):
        publish.publish_experiment(experiment.layout, experiment.params)


def test_a_deleted_experiment_is_restored(experiment):
    publish.publish_experiment(experiment.layout, experiment.params)
    client = stores.open_client(experiment.layout)
    client.delete_experiment(client.get_experiment_by_name("tiny").experiment_id)
    publish.publish_experiment(experiment.layout, experiment.params)
    assert client.get_experiment_by_name("tiny").lifecycle_stage == "active"
    assert Seen(experiment).counts() == ALL


def _both(experiment):
    return experiment.layout, experiment.params


def _epoch(number):
    return EpochResult(
        epoch=number,
        step=number * 2,
        learning_rate=0.002 / number,
        train_loss=1.2 / number,
        train_accuracy=0.3 * number,
        val_loss=1.3 / number,
        val_accuracy=0.25 * number,
    )


def test_further_seeds_are_runs_of_their_own_and_no_version(experiment, capsys):
    layout = experiment.layout
    raw = yaml.safe_load(layout.params.read_text(encoding="utf-8"))
    layout.params.write_text(yaml.safe_dump({**raw, "seeds": [0, 7]}), encoding="utf-8")
    params = load(layout.params)
    for name in params.models:
        shutil.copytree(layout.model(name), layout.repeat(name, 7))
        card = layout.repeat(name, 7) / "model.json"
        ModelCard.read(card).model_copy(update={"seed": 7, "fingerprint": sha256_text(f"{name} 7")}).write(card)
        evaluate.evaluate_model(layout, name, params.evaluate, params.runtime, params.seed, seeds=[7])
    compare.compare_models(layout, list(params.models), params.compare, [7])
    assert "± SD" in capsys.readouterr().out
    assert {opening.fingerprint for opening in read_openings(layout)} >= {sha256_text(f"{n} 7") for n in params.models}
    publish.publish_experiment(layout, params)
    seen = Seen(Experiment(layout, params))
    assert seen.counts() == ALL
    (parent,) = seen.of_kind("experiment")
    again = seen.of_kind("repeat")
    assert sorted(run.info.run_name for run in again) == ["tiny_convnext: seed 7", "tiny_resnet: seed 7"]
    for run in again:
        assert (run.data.tags["podium.seed"], run.data.tags[PARENT]) == ("7", parent.info.run_id)
        assert {"test/accuracy", "epoch/val_loss"} <= run.data.metrics.keys() and run.data.params["seed"] == "7"
    page = layout.report.read_text(encoding="utf-8")
    assert "(2 seeds)" in page and "seeds 0 and 7: the intervals hold what other seeds would give" in page
    assert "(2 seeds)" in layout.report_in_short.read_text(encoding="utf-8") and "(2 seeds)" in parent.data.tags[NOTE]
    assert {path.name for path in (layout.evaluation_report("tiny_resnet") / "repeats").iterdir()} == {"7.json"}
    capsys.readouterr()
    publish.publish_experiment(layout, params)
    assert "nothing to do" in capsys.readouterr().out
