"""The runs of an experiment in MLflow, made from files: one parent per state, a child per model.

Every function may be called again: what is there is kept, what is missing is added.
"""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.analysis.conditions import sentences
from podium.records.evaluation import Interval
from podium.records.training import EpochResult
from podium.registry import live, store
from podium.report.results import ModelResults, Results, read_table

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

COMPLETE = "podium.complete"
_DIGEST_LENGTH = 32  # MLflow takes at most 36 characters
_NOT_IN_A_NAME = re.compile(r"[^\w.\- :]")


def find_parent(client: "MlflowClient", experiment: str, results: Results) -> "Run | None":
    """The experiment's run for this state, if there is one."""
    found = store.find_runs(client, experiment, kind="experiment", state=results.state)
    return found[0] if found else None


def is_complete(run: "Run", results: Results) -> bool:
    """Whether the last thing publish writes to the parent is there, for the present files."""
    return bool(run.data.tags.get(COMPLETE) == results.files)


def write_parent(client: "MlflowClient", experiment: str, results: Results, run: "Run | None") -> str:
    """Brings the experiment's own run in line with the files.

    Args:
        client: an open client.
        experiment: MLflow's id of it.
        results: what the files say.
        run: the present one; made when None.

    Returns:
        The run's id.
    """
    if run is None:
        name = f"{results.params.experiment} {results.state[:8]}"
        tags = {"podium.kind": "experiment", "podium.state": results.state}
        outer = store.outer_run()
        run_id = store.create_run(
            client, experiment, name, {**tags, **({store.PARENT: outer} if outer else {})}, "stages/publish.py"
        )
    else:
        run_id = run.info.run_id
    decision, best = results.decision, results.winner
    for key, value in {
        "podium.winner": decision.winner,
        "podium.fingerprint": decision.fingerprint,
        "podium.tie": str(decision.tie).lower(),
        **results.comparison_tags,
        "podium.validation_passed": str(results.validation.passed).lower(),
        "podium.dvc_lock_sha256": results.dvc_lock,
        "mlflow.note.content": note(results),
    }.items():
        client.set_tag(run_id, key, value)
    log_missing(
        client, run_id, {"test_accuracy": best.metrics.accuracy.value, "test_macro_f1": best.metrics.macro_f1.value}
    )
    root = results.layout.root
    for path in (results.layout.params, root / "dvc.yaml", root / "dvc.lock", results.layout.report):
        if path.is_file():
            client.log_artifact(run_id, str(path))
    for path in (results.layout.validation_report, *sorted(results.layout.comparison.glob("*.json"))):
        client.log_artifact(run_id, str(path), "reports")
    return run_id


def finish_parent(client: "MlflowClient", run_id: str, results: Results) -> None:
    """Marks the parent as complete; the last thing publish writes."""
    client.set_terminated(run_id)
    client.set_tag(run_id, COMPLETE, results.files)


def write_child(client: "MlflowClient", experiment: str, results: Results, model: ModelResults, parent: str) -> str:
    """Brings the run of one model in line with the files, adopting the live one of its training.

    Args:
        client: an open client.
        experiment: MLflow's id of it.
        results: what the files say.
        model: whose run.
        parent: id of the experiment's own run.

    Returns:
        The run's id.
    """
    run = _child(client, experiment, results, model, parent)
    run_id: str = run.info.run_id
    layout, name = results.layout, model.name
    live.log_parameters(client, run_id, {k: v for k, v in _parameters(model).items() if k not in run.data.params})
    live.log_epochs(client, run_id, _epochs(layout.model(name) / "history.csv"))
    log_missing(client, run_id, test_metrics(model))
    _log_changed(client, run, {f"measured/{key}": value for key, value in model.times.items()})
    _log_datasets(client, run, results, model)
    for folder, place in (
        (layout.evaluation_report(name), "reports"),
        (layout.evaluation(name) / "mistakes", "mistakes"),
    ):
        if folder.is_dir():
            client.log_artifacts(run_id, str(folder), place)
    for plot in sorted(layout.evaluation(name).glob("*.png")):
        client.log_artifact(run_id, str(plot), "plots")
    for table in sorted(layout.evaluation(name).glob("*.csv")):
        client.log_artifact(run_id, str(table), "reports")
    client.set_terminated(run_id)
    return run_id


def note(results: Results) -> str:
    """What MLflow shows as the run's description: the verdict and the leaderboard, in Markdown."""
    lines = [f"**{results.decision.winner}**: {results.decision.reason}", ""]
    conditions = " ".join(sentences(results.decision.differences))
    lines += [f"> {conditions}", ""] if conditions else []
    lines += ["| | model | accuracy | macro F1 | loss |", "|---|---|---|---|---|"]
    for row in results.leaderboard.rows:
        accuracy, macro_f1 = _with_interval(row.accuracy), _with_interval(row.macro_f1)
        lines.append(f"| {row.rank} | {row.model} | {accuracy} | {macro_f1} | {row.loss:.3f} |")
    return "\n".join(lines)


def test_metrics(model: ModelResults) -> dict[str, float]:
    """Test results by MLflow's names; a class name keeps only characters that MLflow takes."""
    from podium.analysis.metrics import METRICS

    m = model.metrics
    values = {
        "test_accuracy": m.accuracy.value,
        "test_accuracy_low": m.accuracy.low,
        "test_accuracy_high": m.accuracy.high,
        "test_macro_f1": m.macro_f1.value,
        "parameters": float(m.parameters),
        "flops": float(m.flops),
        "images_seen": float(m.images_seen),
    }
    for name in METRICS:
        value = getattr(m, name, None)  # one added since the model was evaluated is not there
        if value is not None:
            values[f"test_top_{m.top_k}_accuracy" if name == "top_k_accuracy" else f"test_{name}"] = float(value)
    if m.groups is not None:
        values |= {"test_group_accuracy": m.groups.accuracy.value, "test_group_macro_f1": m.groups.macro_f1.value}
    for kind, rates in (
        ("group_recall", {group: g.recall for group, g in (m.groups.per_group if m.groups else {}).items()}),
        ("recall", {label: c.recall for label, c in m.per_class.items()}),
        ("slice", {label: s.accuracy.value for label, s in m.slices.items()}),
    ):
        values.update(_named(f"test_{kind}", rates))
    return values


def _child(client: "MlflowClient", experiment: str, results: Results, model: ModelResults, parent: str) -> "Run":
    """The run of a model: the one of this state, else the live one of its training, else a new one."""
    fingerprint = model.card.fingerprint
    runs = store.find_runs(client, experiment, kind="train", fingerprint=fingerprint)
    mine = [run for run in runs if run.data.tags.get("podium.state") == results.state]
    orphans = [run for run in runs if store.PARENT not in run.data.tags]
    tags = {**live.train_tags(model.name, fingerprint), "podium.state": results.state, store.PARENT: parent}
    if not mine and not orphans:
        run_id = store.create_run(client, experiment, f"train {model.name}", tags, "stages/train.py")
        return client.get_run(run_id)
    run = (mine or orphans)[0]
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            client.set_tag(run.info.run_id, key, value)
    return run


def _parameters(model: ModelResults) -> dict[str, object]:
    """What MLflow shows as the run's parameters, by dotted name."""
    card = model.card
    section = {"attention": card.attention, "head": card.head.model_dump(), "train": card.recipe.model_dump()}
    return {
        **dict(_flat(section)),
        "trainable": card.trainable if isinstance(card.trainable, str) else f"from {card.trainable.from_}",
        "architecture": card.architecture,
        "weights": card.pretrained.weights,
        "pretraining": card.pretrained.pretraining,
        "image_size": card.preprocessing.image_size,
        "seed": card.seed,
        **{f"runtime.{key}": value for key, value in card.runtime.items()},
    }


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The values of nested mappings by dotted key."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _named(prefix: str, rates: Mapping[str, float]) -> dict[str, float]:
    """Rates by `<prefix>/<label>`; labels that would get the same name are numbered."""
    named: dict[str, float] = {}
    for label, rate in rates.items():
        clean = _NOT_IN_A_NAME.sub("_", label).strip(". ")[:100] or "_"
        name, number = f"{prefix}/{clean}", 2
        while name in named:
            name, number = f"{prefix}/{clean} {number}", number + 1
        named[name] = rate
    return named


def log_missing(client: "MlflowClient", run_id: str, values: Mapping[str, float]) -> None:
    """Logs the metrics that a run does not have yet."""
    known = client.get_run(run_id).data.metrics
    _log_values(client, run_id, {key: value for key, value in values.items() if key not in known})


def _log_changed(client: "MlflowClient", run: "Run", values: Mapping[str, float]) -> None:
    """Logs the metrics of which the run has another value or none."""
    known = run.data.metrics
    _log_values(client, run.info.run_id, {key: value for key, value in values.items() if known.get(key) != value})


def _log_values(client: "MlflowClient", run_id: str, values: Mapping[str, float]) -> None:
    """Logs metrics in one request, at step 0."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    if values:
        client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in values.items()])


def _log_datasets(client: "MlflowClient", run: "Run", results: Results, model: ModelResults) -> None:
    """Names the splits and their digests as the run's inputs, unless it has any."""
    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    digests = {**model.card.data_digests, "test": model.metrics.test_digest}
    for split, digest in digests.items():
        folder = results.layout.prepared / split
        place = json.dumps({"uri": folder.relative_to(results.layout.root).as_posix()})
        described = Dataset(f"{results.params.experiment} {split}", digest[:_DIGEST_LENGTH], "local", place)
        inputs.append(DatasetInput(described, [InputTag("mlflow.data.context", split)]))
    client.log_inputs(run.info.run_id, inputs)


def _epochs(path: Path) -> list[EpochResult]:
    """The rows of a `history.csv`."""
    return rows_of(read_table(path))


def rows_of(frame: "pd.DataFrame") -> list[EpochResult]:
    """The epochs in a table with the columns of `EpochResult`."""
    return [EpochResult.model_validate(row) for row in frame.to_dict("records")]


def _with_interval(rate: Interval) -> str:
    """`91.2% (88.0% to 94.1%)`."""
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
