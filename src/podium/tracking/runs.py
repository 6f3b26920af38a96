"""The runs of an experiment made from files: a parent per state, below it runs per model and study, trials below these.

Every function may be called again: what is there is kept, what is missing is added. What an earlier state holds already
is not copied: below a later one stands a link to it, with its main numbers.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from podium.analysis.conditions import describe_differences
from podium.analysis.decision import METRIC_TITLES, describe_rate, verdict
from podium.analysis.interventions import accuracy_gaps
from podium.analysis.leaderboard import describe_majority
from podium.console.origins import find_origins
from podium.core.layout import DVC_LOCK, DVC_YAML, HISTORY
from podium.records.evaluation import Interval
from podium.report.results import ModelResults, Results, TrainedResults, commit_tags, read_table
from podium.tracking.run_links import (
    COMPLETE,
    delete_doubles,
    full_run,
    is_mine,
    key_of,
    link_below,
    log_table,
    milliseconds,
)
from podium.tracking.run_tables import write_mistakes, write_tables
from podium.tracking.run_writer import CPU, NOTE, OPEN, PARENT, Measured, RunWriter, outer_run, run_name, run_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

STAGE = "podium.stage."
"""How the tags begin that say of each stage how its results came to be."""
_EVIDENCE = "podium.evidence"
_DIGEST_LENGTH = 32  # MLflow takes at most 36 characters
_MEASURED_AT = ("started", "ended")  # keys of the measured times that are moments, no durations


def find_experiment_run(writer: RunWriter, results: Results) -> "Run | None":
    """The experiment's run for this state, if there is one."""
    found = writer.find(kind="experiment", state=results.state)
    return found[0] if found else None


def is_complete(writer: RunWriter, run: "Run", results: Results) -> bool:
    """Whether the experiment's run, and each run below it, holds the last thing publish writes to it."""
    if run.data.tags.get(COMPLETE) != results.files:
        return False
    told = {key_of(child): child for child in writer.children(run.info.run_id)}
    for model in results.models:
        training = told.get(("train", model.card.fingerprint))
        study = told.get(("tune", model.tuning.fingerprint))
        if training is None or study is None or training.data.tags.get(COMPLETE) != model.evidence:
            return False
        if study.data.tags.get(COMPLETE) != model.tuning.fingerprint:
            return False
        if any(
            (again := told.get(("repeat", other.card.fingerprint))) is None
            or again.data.tags.get(COMPLETE) != other.evidence
            for other in model.repeats
        ):
            return False
        full = [full_run(writer, child) for child in (training, study)]
        if full[0] is None or full[1] is None:
            return False
        if len(writer.children(full[1].info.run_id)) < model.tuning.trials:
            return False
    return True


def write_experiment_run(writer: RunWriter, results: Results, run: "Run | None") -> str:
    """Brings the experiment's own run in line with the files; the one under which its stages ran becomes it.

    Returns:
        The run's id.
    """
    opened = writer.find(kind="experiment", state=OPEN, workspace=writer.workspace)
    if run is None and opened:
        run = opened.pop(0)
    if run is None:
        tags = {"podium.kind": "experiment", "podium.state": results.state}
        outer = outer_run()
        of_all = [times for model in results.models for times in (model.study_times, model.times)]
        starts = [times["started"] for times in of_all if "started" in times]
        above = {PARENT: outer} if outer else {}
        run_id = writer.create(
            results.title, {**tags, **above}, "stages/publish.py", milliseconds(min(starts, default=None))
        )
        run = writer.client.get_run(run_id)
    run_id = str(run.info.run_id)
    for other in opened:  # the state was there before, and something ran again
        for child in writer.children(other.info.run_id):
            writer.client.set_tag(child.info.run_id, PARENT, run_id)
        writer.client.delete_run(other.info.run_id)
    decision, best = results.decision, results.winner
    writer.set_tags(
        run,
        {
            "podium.state": results.state,
            "podium.winner": decision.winner,
            "podium.fingerprint": decision.fingerprint,
            **results.comparison_tags,
            "podium.validation_passed": str(results.validation.passed).lower(),
            "podium.dvc_lock_sha256": results.dvc_lock,
            **({} if any(tag.startswith(STAGE) for tag in run.data.tags) else _stage_tags(results)),
            **commit_tags(results.layout.root, run.data.tags),
            NOTE: note(results),
        },
    )
    writer.client.update_run(run_id, name=results.title)
    writer.log_metrics(run_id, main_numbers(best, "winner"), changed=True)
    log_datasets(writer, run, results, best)
    _write_experiment_files(writer, results, run_id)
    return run_id


def _stage_tags(results: Results) -> dict[str, str]:
    """Of each stage whether it was executed for this state, or its results were there or brought by DVC."""
    return {f"{STAGE}{name.replace('@', '.')}": origin for name, origin in find_origins(results.layout).items()}


def finish_experiment_run(writer: RunWriter, run_id: str, results: Results) -> None:
    """Ends the parent when the last run below it ended, and marks it as complete; the last thing publish writes."""
    ends = [child.info.end_time for child in writer.children(run_id) if child.info.end_time]
    writer.finish(run_id, max(ends, default=None))
    writer.client.set_tag(run_id, COMPLETE, results.files)


def write_model_run(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> str:
    """Brings the run of one model in line with the files, adopting the live one of its training.

    Returns:
        The id of the run that tells of it in full, which may be one of an earlier state.
    """
    run = _model_run(writer, results, model, parent)
    run_id: str = run.info.run_id
    layout, name = results.layout, model.name
    writer.log_parameters(run_id, {k: v for k, v in parameters_of(model).items() if k not in run.data.params})
    times = {f"measured/{key}": value for key, value in model.times.items() if key not in _MEASURED_AT}
    end = milliseconds(model.times.get("ended"))
    log_table(writer, run_id, read_table(layout.model(name) / HISTORY), end)
    writer.log_metrics(run_id, times, changed=True)
    log_datasets(writer, run, results, model)
    for folder, place in ((layout.evaluation_report(name), "reports"), (layout.explanation(name), "explanation")):
        writer.client.log_artifacts(run_id, str(folder), place)
    write_tables(writer, model, run_id)
    write_mistakes(writer, layout.evaluation(name), run_id)
    for plot in sorted(layout.evaluation(name).glob("*.png")):
        writer.client.log_artifact(run_id, str(plot), "plots")
    writer.finish(run_id, end)
    return run_id


def finish_model_run(
    writer: RunWriter, results: Results, model: ModelResults, *, parent: str, run_id: str, model_id: str
) -> None:
    """Logs the test results, of the run as of its logged model and the test split, and marks the run as complete."""
    measured = Measured(model_id, _dataset_name(results, "test"), model.metrics.test_digest[:_DIGEST_LENGTH])
    writer.log_metrics(run_id, metrics_of(model), of=measured)
    run = writer.client.get_run(run_id)
    known = {"podium.test_images": results.test_images, **commit_tags(results.layout.root, run.data.tags)}
    writer.set_tags(run, {**known, _EVIDENCE: model.evidence, COMPLETE: model.evidence})
    if run.data.tags.get(PARENT) != parent:
        link_below(writer, parent, run, model.name, main_numbers(model))
    delete_doubles(writer, run)


def write_repeat_runs(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> None:
    """Brings the runs of a model's further seeds in line with the files, adopting the live ones of their training."""
    for repeat in model.repeats:
        _write_repeat_run(writer, results, model.name, repeat, parent)


def _write_repeat_run(writer: RunWriter, results: Results, name: str, repeat: TrainedResults, parent: str) -> None:
    """Fills the run of one training; where an earlier state has it, a link below this state's run leads there."""
    fingerprint, seed = repeat.card.fingerprint, repeat.card.seed
    found = writer.find(kind="repeat", fingerprint=fingerprint)
    tags = {**run_tags("repeat", name, fingerprint), "podium.seed": str(seed)}
    if found:
        run = max(found, key=lambda known: COMPLETE in known.data.tags)
        run_id = str(run.info.run_id)
        writer.set_tags(run, tags if PARENT in run.data.tags else {**tags, PARENT: parent})
    else:
        begun = milliseconds(repeat.times.get("started"))
        run_id = writer.create(run_name("repeat", name), {**tags, PARENT: parent}, "stages/repeat.py", begun)
        run = writer.client.get_run(run_id)
    writer.client.update_run(run_id, name=f"{name}: seed {seed}")
    writer.log_parameters(run_id, {k: v for k, v in parameters_of(repeat).items() if k not in run.data.params})
    end = milliseconds(repeat.times.get("ended"))
    log_table(writer, run_id, read_table(results.layout.repeat(name, seed) / HISTORY), end)
    writer.finish(run_id, end)
    writer.log_metrics(run_id, metrics_of(repeat), changed=True)
    writer.set_tags(run, {COMPLETE: repeat.evidence})
    run = writer.client.get_run(run_id)
    if run.data.tags.get(PARENT) != parent:
        link_below(writer, parent, run, name, main_numbers(repeat))
    delete_doubles(writer, run)


def note(results: Results) -> str:
    """What MLflow shows as the run's description: the verdict and the leaderboard, in Markdown."""
    lines = [verdict(results.decision), ""]
    conditions = " ".join(describe_differences(results.decision.differences))
    lines += [f"> {conditions}", ""] if conditions else []
    lines += ["| | model | accuracy | macro F1 | loss |", "|---|---|---|---|---|"]
    for row in results.leaderboard.rows:
        rates = " | ".join(
            describe_rate(row, metric) if row.over_seeds else _with_interval(getattr(row, metric))
            for metric in METRIC_TITLES
        )
        lines.append(f"| {row.rank} | {row.model} | {rates} | {row.loss:.3f} |")
    lines += ["", majority] if (majority := describe_majority(results.leaderboard.majority)) else []
    return "\n".join(lines)


def metrics_of(model: TrainedResults) -> dict[str, float]:
    """Test results by MLflow's names; a class name keeps only characters that MLflow takes."""
    from podium.analysis.metrics import METRICS

    m = model.metrics
    values = {
        **main_numbers(model),
        "test/accuracy_low": m.accuracy.low,
        "test/accuracy_high": m.accuracy.high,
        "size/parameters": float(m.parameters),
        "size/flops": float(m.flops),
        "size/images_seen": float(m.images_seen),
    }
    for name in METRICS:
        value = getattr(m, name, None)  # one added since the model was evaluated is not there
        if value is not None:
            values[f"test/top_{m.top_k}_accuracy" if name == "top_k_accuracy" else f"test/{name}"] = float(value)
    if isinstance(model, ModelResults) and model.robustness is not None:
        values["test/mean_corruption_accuracy"] = model.robustness.mean_corruption_accuracy
    if isinstance(model, ModelResults):
        values |= {f"test/{name}": gap for name, gap in accuracy_gaps(model.explanation.interventions).items()}
    if m.groups is not None:
        values |= {"test/group_accuracy": m.groups.accuracy.value, "test/group_macro_f1": m.groups.macro_f1.value}
    return values


def log_datasets(writer: RunWriter, run: "Run", results: Results, model: ModelResults) -> None:
    """Names the splits and their digests as the run's inputs with what is in them, unless it has any."""
    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    digests = {**model.card.data_digests, "test": model.metrics.test_digest}
    for split, digest in digests.items():
        folder = results.layout.prepared / split
        place = json.dumps({"uri": folder.relative_to(results.layout.root).as_posix()})
        described = Dataset(
            _dataset_name(results, split),
            digest[:_DIGEST_LENGTH],
            "local",
            place,
            schema=json.dumps({"image": f"RGB, {model.card.preprocessing.image_size} px", "label": model.card.classes})[
                :60_000
            ],
            profile=json.dumps(_profile(results, split)),
        )
        inputs.append(DatasetInput(described, [InputTag("mlflow.data.context", split)]))
    writer.client.log_inputs(run.info.run_id, inputs)


def main_numbers(model: TrainedResults, section: str = "test") -> dict[str, float]:
    """What is compared first, by MLflow's name; a section of its own where the run is not that of the model alone."""
    m = model.metrics
    numbers = {"accuracy": m.accuracy.value, "macro_f1": m.macro_f1.value, "loss": m.loss}
    return {f"{section}/{name}": value for name, value in numbers.items()}


def _dataset_name(results: Results, split: str) -> str:
    """What MLflow calls a split."""
    return f"{results.params.experiment} {split}"


def _profile(results: Results, split: str) -> dict[str, object]:
    """How many images a split has, in all and of each class, and what was corrected in the whole dataset."""
    counts, corrections = results.class_counts.get(split, {}), results.sources.corrections
    told = {"corrections": corrections.said} if corrections else {}
    return {"images": sum(counts.values()), "classes": len(counts), "images_per_class": counts, **told}


def _model_run(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> "Run":
    """The run that tells of these weights and this evidence, else the live one of its training, else a new one."""
    fingerprint = model.card.fingerprint
    runs = writer.find(kind="train", fingerprint=fingerprint)
    same = [run for run in runs if run.data.tags.get(_EVIDENCE) == model.evidence]
    live = [run for run in runs if _EVIDENCE not in run.data.tags and run.info.status != "RUNNING"]
    live += [run for run in runs if _EVIDENCE not in run.data.tags and is_mine(writer, run)]
    if same:
        return min(same, key=lambda run: bool(run.data.tags.get(PARENT) != parent))
    tags = {**run_tags("train", model.name, fingerprint), PARENT: parent}
    if not live:
        begun = milliseconds(model.times.get("started"))
        tags |= {} if begun else {CPU: "unknown"}  # trained elsewhere
        return writer.client.get_run(writer.create(run_name("train", model.name), tags, "stages/train.py", begun))
    run = min(live, key=lambda run: not is_mine(writer, run))
    writer.set_tags(run, tags)
    return run


def _write_experiment_files(writer: RunWriter, results: Results, run_id: str) -> None:
    """The inputs and outcomes of the whole experiment, as artifacts of its run."""
    root = results.layout.root
    for path in (results.layout.params, root / DVC_YAML, root / DVC_LOCK, results.layout.report):
        if path.is_file():
            writer.client.log_artifact(run_id, str(path))
    for path in (results.layout.validation_report, *sorted(results.layout.comparison.glob("*.json"))):
        writer.client.log_artifact(run_id, str(path), "reports")


def parameters_of(model: TrainedResults) -> dict[str, object]:
    """What MLflow shows as the run's parameters, by dotted name."""
    card = model.card
    recipe = {} if card.recipe is None else {"train": card.recipe.model_dump()}
    section = {"attention": card.attention, "head": card.head.model_dump(), **recipe}
    return {
        **dict(_flat(section)),
        "trainable": card.trainable if isinstance(card.trainable, str) else f"from {card.trainable.from_}",
        "architecture": card.architecture,
        "classifier": card.classifier,
        **card.tuned,
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


def _with_interval(rate: Interval) -> str:
    """`91.2% (88.0% to 94.1%)`."""
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
