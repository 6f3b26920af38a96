"""The runs of studies in MLflow, made from files: one a study with its plots and tables, and below it one a trial.

What is there is kept, what is missing is added.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from podium.records.training import TuningResult
from podium.registry import live, store
from podium.registry.runs import COMPLETE, log_missing, rows_of
from podium.report.results import ModelResults, Results, read_table
from podium.report.studies import draw

if TYPE_CHECKING:
    from mlflow import MlflowClient


def write_study(client: "MlflowClient", experiment: str, results: Results, model: ModelResults, parent: str) -> None:
    """Rebuilds the run of a study and those of its trials, unless they are there.

    Args:
        client: an open client.
        experiment: MLflow's id of it.
        results: what the files say.
        model: whose study.
        parent: id of the experiment's own run.
    """
    result, name = model.tuning, model.name
    found = store.find_runs(client, experiment, kind="tune", fingerprint=result.fingerprint)
    if found and found[0].data.tags.get(COMPLETE) == result.fingerprint:
        _write_files(client, results, model, str(found[0].info.run_id))
        return
    if found:
        run_id = str(found[0].info.run_id)
        if store.PARENT not in found[0].data.tags:
            client.set_tag(run_id, store.PARENT, parent)
    else:
        tags = {**live.train_tags(name, result.fingerprint), "podium.kind": "tune", store.PARENT: parent}
        run_id = store.create_run(client, experiment, f"tune {name}", tags, "stages/tune.py")
    _write_trials(client, experiment, results, model, run_id)
    settings = {"trials": result.trials, "epochs_per_trial": result.epochs_per_trial, "best_trial": result.trial}
    chosen = {f"best/{key}": value for key, value in result.parameters.items()}
    live.log_parameters(client, run_id, {**settings, **chosen})
    log_missing(client, run_id, _study_metrics(result))
    client.set_tag(run_id, "podium.at_the_edge", ", ".join(result.at_the_edge) or "none")
    _write_files(client, results, model, run_id)
    client.set_terminated(run_id)
    client.set_tag(run_id, COMPLETE, result.fingerprint)


def _write_files(client: "MlflowClient", results: Results, model: ModelResults, run_id: str) -> None:
    """Plots and tables, unless they are there; files of a run may be lost where its tables are not."""
    if client.list_artifacts(run_id, "plots"):
        return
    client.log_artifacts(run_id, str(results.layout.tuning(model.name)), "reports")
    with tempfile.TemporaryDirectory() as folder:
        draw(results, model, Path(folder))
        client.log_artifacts(run_id, folder, "plots")


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


def _write_trials(client: "MlflowClient", experiment: str, results: Results, model: ModelResults, parent: str) -> None:
    """Brings the runs of the trials in line with `trials.csv` and `history.csv`."""
    folder = results.layout.tuning(model.name)
    trials, history = read_table(folder / "trials.csv"), read_table(folder / "history.csv")
    fixed = {"number", "state", "val_loss", "val_accuracy", "epochs"}
    for row in trials.to_dict("records"):
        number = int(row["number"])
        run_id, new = live.open_trial(client, experiment, parent, model.name, model.tuning.fingerprint, number=number)
        if new:
            live.log_parameters(client, run_id, {str(k): v for k, v in row.items() if k not in fixed})
        live.log_epochs(client, run_id, rows_of(history[history["trial"] == number].drop(columns="trial")))
        state = str(row["state"])  # finished, pruned or diverged
        client.set_tag(run_id, "podium.ending", state)
        client.set_terminated(run_id, status="FAILED" if state == "diverged" else "FINISHED")
