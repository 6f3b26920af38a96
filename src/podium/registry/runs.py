"""The runs of an experiment made from files: a parent per state, below it runs per model and study, trials below these.

Every function may be called again: what is there is kept, what is missing is added.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from podium.analysis.conditions import describe_differences
from podium.analysis.decision import verdict
from podium.core.errors import DataError, one_line
from podium.core.layout import DVC_LOCK, DVC_YAML, HISTORY, MISTAKE_PICTURES, TRIALS
from podium.records.evaluation import Interval
from podium.records.training import EpochResult, TuningResult
from podium.registry.run_writer import PARENT, RunWriter, outer_run, run_tags
from podium.report.results import ModelResults, Results, read_table
from podium.report.studies import draw_study, read_study

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

COMPLETE = "podium.complete"
_DIGEST_LENGTH = 32  # MLflow takes at most 36 characters
_NOT_IN_A_NAME = re.compile(r"[^\w.\- :]")


def find_experiment_run(writer: RunWriter, results: Results) -> "Run | None":
    """The experiment's run for this state, if there is one."""
    found = writer.find(kind="experiment", state=results.state)
    return found[0] if found else None


def is_complete(run: "Run", results: Results) -> bool:
    """Whether the last thing publish writes to the parent is there, for the present files."""
    return bool(run.data.tags.get(COMPLETE) == results.files)


def write_experiment_run(writer: RunWriter, results: Results, run: "Run | None") -> str:
    """Brings the experiment's own run in line with the files.

    Returns:
        The run's id.
    """
    if run is None:
        name = f"{results.params.experiment} {results.state[:8]}"
        tags = {"podium.kind": "experiment", "podium.state": results.state}
        outer = outer_run()
        run_id = writer.create(name, {**tags, **({PARENT: outer} if outer else {})}, "stages/publish.py")
    else:
        run_id = run.info.run_id
    decision, best = results.decision, results.winner
    for key, value in {
        "podium.winner": decision.winner,
        "podium.fingerprint": decision.fingerprint,
        **results.comparison_tags,
        "podium.validation_passed": str(results.validation.passed).lower(),
        "podium.dvc_lock_sha256": results.dvc_lock,
        "mlflow.note.content": note(results),
    }.items():
        writer.client.set_tag(run_id, key, value)
    writer.log_metrics(
        run_id, {"test_accuracy": best.metrics.accuracy.value, "test_macro_f1": best.metrics.macro_f1.value}
    )
    root = results.layout.root
    for path in (results.layout.params, root / DVC_YAML, root / DVC_LOCK, results.layout.report):
        if path.is_file():
            writer.client.log_artifact(run_id, str(path))
    for path in (results.layout.validation_report, *sorted(results.layout.comparison.glob("*.json"))):
        writer.client.log_artifact(run_id, str(path), "reports")
    return run_id


def finish_experiment_run(writer: RunWriter, run_id: str, results: Results) -> None:
    """Marks the parent as complete; the last thing publish writes."""
    writer.client.set_terminated(run_id)
    writer.client.set_tag(run_id, COMPLETE, results.files)


def write_model_run(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> str:
    """Brings the run of one model in line with the files, adopting the live one of its training.

    Returns:
        The run's id.
    """
    run = _child(writer, results, model, parent)
    run_id: str = run.info.run_id
    layout, name = results.layout, model.name
    writer.log_parameters(run_id, {k: v for k, v in _parameters(model).items() if k not in run.data.params})
    _log_epochs(writer, run_id, read_table(layout.model(name) / HISTORY))
    writer.log_metrics(run_id, metrics_of(model))
    writer.log_metrics(run_id, {f"measured/{key}": value for key, value in model.times.items()}, changed=True)
    _log_datasets(writer, run, results, model)
    for folder, place in (
        (layout.evaluation_report(name), "reports"),
        (layout.evaluation(name) / MISTAKE_PICTURES, "mistakes"),
    ):
        if folder.is_dir():
            writer.client.log_artifacts(run_id, str(folder), place)
    for plot in sorted(layout.evaluation(name).glob("*.png")):
        writer.client.log_artifact(run_id, str(plot), "plots")
    for table in sorted(layout.evaluation(name).glob("*.csv")):
        writer.client.log_artifact(run_id, str(table), "reports")
    writer.client.set_terminated(run_id)
    return run_id


def write_study_run(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> None:
    """Rebuilds the run of a study and those of its trials, unless they are there."""
    result, name = model.tuning, model.name
    found = writer.find(kind="tune", fingerprint=result.fingerprint)
    if found and found[0].data.tags.get(COMPLETE) == result.fingerprint:
        _write_files(writer, results, model, str(found[0].info.run_id))
        return
    if found:
        run_id = str(found[0].info.run_id)
        if PARENT not in found[0].data.tags:
            writer.client.set_tag(run_id, PARENT, parent)
    else:
        tags = {**run_tags("tune", name, result.fingerprint), PARENT: parent}
        run_id = writer.create(f"tune {name}", tags, "stages/tune.py")
    _write_trials(writer, results, model, run_id)
    settings = {"trials": result.trials, "epochs_per_trial": result.epochs_per_trial, "best_trial": result.trial}
    chosen = {f"best/{key}": value for key, value in result.parameters.items()}
    writer.log_parameters(run_id, {**settings, **chosen})
    writer.log_metrics(run_id, _study_metrics(result))
    writer.client.set_tag(run_id, "podium.at_the_edge", ", ".join(result.at_the_edge) or "none")
    _write_files(writer, results, model, run_id)
    writer.client.set_terminated(run_id)
    writer.client.set_tag(run_id, COMPLETE, result.fingerprint)


def note(results: Results) -> str:
    """What MLflow shows as the run's description: the verdict and the leaderboard, in Markdown."""
    lines = [verdict(results.decision), ""]
    conditions = " ".join(describe_differences(results.decision.differences))
    lines += [f"> {conditions}", ""] if conditions else []
    lines += ["| | model | accuracy | macro F1 | loss |", "|---|---|---|---|---|"]
    for row in results.leaderboard.rows:
        accuracy, macro_f1 = _with_interval(row.accuracy), _with_interval(row.macro_f1)
        lines.append(f"| {row.rank} | {row.model} | {accuracy} | {macro_f1} | {row.loss:.3f} |")
    return "\n".join(lines)


def metrics_of(model: ModelResults) -> dict[str, float]:
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
        values.update(_name_rates(f"test_{kind}", rates))
    return values


def _child(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> "Run":
    """The run of a model: the one of this state, else the live one of its training, else a new one."""
    fingerprint = model.card.fingerprint
    runs = writer.find(kind="train", fingerprint=fingerprint)
    mine = [run for run in runs if run.data.tags.get("podium.state") == results.state]
    orphans = [run for run in runs if PARENT not in run.data.tags]
    tags = {**run_tags("train", model.name, fingerprint), "podium.state": results.state, PARENT: parent}
    if not mine and not orphans:
        run_id = writer.create(f"train {model.name}", tags, "stages/train.py")
        return writer.client.get_run(run_id)
    run = (mine or orphans)[0]
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            writer.client.set_tag(run.info.run_id, key, value)
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


def _name_rates(prefix: str, rates: Mapping[str, float]) -> dict[str, float]:
    """Rates by `<prefix>/<label>`; labels that would get the same name are numbered."""
    named: dict[str, float] = {}
    for label, rate in rates.items():
        clean = _NOT_IN_A_NAME.sub("_", label).strip(". ")[:100] or "_"
        name, number = f"{prefix}/{clean}", 2
        while name in named:
            name, number = f"{prefix}/{clean} {number}", number + 1
        named[name] = rate
    return named


def _log_datasets(writer: RunWriter, run: "Run", results: Results, model: ModelResults) -> None:
    """Names the splits and their digests as the run's inputs, unless it has any."""
    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    digests = {**model.card.data_digests, "test": model.metrics.test_digest}
    for split, digest in digests.items():
        folder = results.layout.prepared / split
        place = json.dumps({"uri": folder.relative_to(results.layout.root).as_posix()})
        described = Dataset(f"{results.params.experiment} {split}", digest[:_DIGEST_LENGTH], "local", place)
        inputs.append(DatasetInput(described, [InputTag("mlflow.data.context", split)]))
    writer.client.log_inputs(run.info.run_id, inputs)


def _write_files(writer: RunWriter, results: Results, model: ModelResults, run_id: str) -> None:
    """Plots and tables, unless they are there; files of a run may be lost where its tables are not."""
    if writer.client.list_artifacts(run_id, "plots"):
        return
    writer.client.log_artifacts(run_id, str(results.layout.tuning(model.name)), "reports")
    with tempfile.TemporaryDirectory() as folder:
        draw_study(read_study(results, model), Path(folder))
        writer.client.log_artifacts(run_id, folder, "plots")


def _study_metrics(result: TuningResult) -> dict[str, float]:
    """What is a number about the study, by the name MLflow shows; words and truth values are parameters."""
    numbers = {key: value for key, value in result.parameters.items() if not isinstance(value, bool | str)}
    return {
        "best_val_loss": result.val_loss,
        "best_val_accuracy": result.val_accuracy,
        "pruned": float(result.pruned),
        "pruned_share": result.pruned / result.trials,
        "images_budget": float(result.images_budget),
        "images_seen": float(result.images_seen),
        **{f"best/{key}": float(value) for key, value in numbers.items()},
    }


def _write_trials(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> None:
    """Brings the runs of the trials in line with `trials.csv` and `history.csv`."""
    folder = results.layout.tuning(model.name)
    trials, history = read_table(folder / TRIALS), read_table(folder / HISTORY)
    fixed = {"number", "state", "val_loss", "val_accuracy", "epochs"}
    for row in trials.to_dict("records"):
        number = int(row["number"])
        run_id, new = writer.open_trial(parent, model.name, model.tuning.fingerprint, number)
        if new:
            writer.log_parameters(run_id, {str(k): v for k, v in row.items() if k not in fixed})
        _log_epochs(writer, run_id, history[history["trial"] == number].drop(columns="trial"))
        state = str(row["state"])  # finished, pruned or diverged
        writer.client.set_tag(run_id, "podium.ending", state)
        writer.client.set_terminated(run_id, status="FAILED" if state == "diverged" else "FINISHED")


def _log_epochs(writer: RunWriter, run_id: str, table: "pd.DataFrame") -> None:
    """Logs the epochs in a table with the columns of `EpochResult`, leaving out those that the run already has."""
    known = writer.epochs_of(run_id)
    try:
        rows = [EpochResult.model_validate(row) for row in table.to_dict("records")]
    except ValidationError as error:
        raise DataError(f"a {HISTORY} is damaged ({one_line(error)}): run `dvc repro`") from error
    writer.log_epochs(run_id, [row for row in rows if row.epoch not in known])


def _with_interval(rate: Interval) -> str:
    """`91.2% (88.0% to 94.1%)`."""
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
