"""The runs of studies made from files: one per study, with its plots, and below it one per trial."""

import tempfile
from pathlib import Path

from podium.core.layout import HISTORY, TRIALS
from podium.records.training import TuningResult
from podium.report.results import ModelResults, Results, read_table
from podium.report.studies import draw_study, read_study
from podium.tracking.run_links import COMPLETE, delete_doubles, link_below, log_table, milliseconds
from podium.tracking.run_writer import PARENT, RunWriter, run_name, run_tags


def write_study_run(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> None:
    """Rebuilds the run of a study and those of its trials, unless they are there."""
    result, name = model.tuning, model.name
    found = writer.find(kind="tune", fingerprint=result.fingerprint)
    found = sorted(found, key=lambda run: run.data.tags.get(COMPLETE) != result.fingerprint)  # complete ones first
    if found:
        run_id = str(found[0].info.run_id)
        if found[0].data.tags.get(PARENT) is None:
            writer.client.set_tag(run_id, PARENT, parent)
    else:
        tags = {**run_tags("tune", name, result.fingerprint), PARENT: parent}
        begun = milliseconds(model.study_times.get("started"))
        run_id = writer.create(run_name("tune", name), tags, "stages/tune.py", begun)
        for trial in writer.find(kind="trial", fingerprint=result.fingerprint):  # of a study that somebody deleted
            writer.client.set_tag(trial.info.run_id, PARENT, run_id)
    end = milliseconds(model.study_times.get("ended"))
    if not found or found[0].data.tags.get(COMPLETE) != result.fingerprint:
        settings = {"trials": result.trials, "epochs_per_trial": result.epochs_per_trial, "best_trial": result.trial}
        chosen = {f"best/{key}": value for key, value in result.parameters.items()}
        writer.log_parameters(run_id, {**settings, **chosen})
        writer.log_metrics(run_id, _study_metrics(result))
        writer.client.set_tag(run_id, "podium.at_the_edge", ", ".join(result.at_the_edge) or "none")
    _write_trials(writer, results, model, run_id, end)
    _write_files(writer, results, model, run_id)
    writer.finish(run_id, end)
    run = writer.client.get_run(run_id)
    writer.set_tags(run, {COMPLETE: result.fingerprint})
    if run.data.tags.get(PARENT) != parent:
        link_below(writer, parent, run, model.name, _study_metrics(result))
    delete_doubles(writer, run)


def _write_files(writer: RunWriter, results: Results, model: ModelResults, run_id: str) -> None:
    """Plots and tables, unless they are there; files of a run may be lost where its tables are not."""
    if writer.client.list_artifacts(run_id, "plots"):
        return
    writer.client.log_artifacts(run_id, str(results.layout.tuning(model.name)), "reports")
    with tempfile.TemporaryDirectory() as folder:
        for name, png in draw_study(read_study(results, model)).values():
            (Path(folder) / name).write_bytes(png)
        writer.client.log_artifacts(run_id, folder, "plots")


def _study_metrics(result: TuningResult) -> dict[str, float]:
    """What is a number about the study, by the name MLflow shows; what it chose are parameters."""
    return {
        "epoch/val_loss": result.val_loss,
        "epoch/val_accuracy": result.val_accuracy,
        "study/trials": float(result.trials),
        "study/pruned": float(result.pruned),
        "study/images_budget": float(result.images_budget),
        "study/images_seen": float(result.images_seen),
    }


def _write_trials(writer: RunWriter, results: Results, model: ModelResults, parent: str, end: int | None) -> None:
    """Brings the runs of the trials in line with `trials.csv` and `history.csv`, unless all have an ending."""
    ended = [run for run in writer.children(parent) if "podium.ending" in run.data.tags and run.info.end_time]
    if len(ended) >= model.tuning.trials and writer.client.get_run(parent).data.tags.get(COMPLETE):
        return
    folder = results.layout.tuning(model.name)
    trials, history = read_table(folder / TRIALS), read_table(folder / HISTORY)
    fixed = {"number", "state", "val_loss", "val_accuracy", "epochs"}
    for row in trials.to_dict("records"):
        number = int(row["number"])
        run_id, new = writer.open_trial(parent, model.name, model.tuning.fingerprint, number)
        if new:
            writer.log_parameters(run_id, {str(k): v for k, v in row.items() if k not in fixed})
        log_table(writer, run_id, history[history["trial"] == number].drop(columns="trial"), end)
        state = str(row["state"])  # finished, pruned or diverged
        writer.client.set_tag(run_id, "podium.ending", state)
        writer.finish(run_id, end, "FAILED" if state == "diverged" else "FINISHED")
