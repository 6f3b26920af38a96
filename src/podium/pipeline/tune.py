"""Verb tune@m: a study of the learning rate (and whatever else is listed) on train and val; killed, it goes on."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from podium.core import identity
from podium.core.config.contender import Contender
from podium.core.config.runtime import Runtime
from podium.core.config.tuning import Span, Tune, Value
from podium.core.errors import ModelError
from podium.core.files import replacing_folder
from podium.core.layout import Layout
from podium.core.records.training import EpochResult, TuningResult
from podium.models.checkpoint import claimed, discard
from podium.models.engine import Diverged, fit
from podium.models.history import EPOCH_COLUMNS, shown, write_table
from podium.models.recipe import stretched, with_values
from podium.models.search import Objective, Pruned, Report, Study, TrialResult, winner
from podium.models.task import Task, open_task
from podium.models.watcher import Ending, Watcher, WatcherFactory


def run(
    layout: Layout,
    model: str,
    *,
    contender: Contender,
    search: dict[str, Span],
    warm_start: Sequence[Mapping[str, Value]],
    tune: Tune,
    runtime: Runtime,
    seed: int,
    watch: WatcherFactory,
) -> None:
    """Runs a study and writes `best.json`, `trials.csv` and `history.csv`, all or none.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        contender: its complete section; `search` replaces values of it.
        search: what is tried, by dotted key.
        warm_start: values to try first.
        tune: trials and epochs, the same for every model.
        runtime: how to compute.
        seed: of the experiment.
        watch: makes the watcher of this study.

    Raises:
        PodiumError: data or weights are missing or do not fit, a range is not allowed, or every trial diverged.
    """
    study = Study(contender, search, tune, seed, warm_start)
    task = open_task(layout, model, contender, runtime, seed)
    fingerprint = identity.fingerprint(
        {
            **task.identity(layout, "tune"),
            "search": {key: span.model_dump(mode="json") for key, span in search.items()},
            "warm_start": [dict(values) for values in warm_start],
            "trials": tune.model_dump(mode="json", exclude={"search"}),
            "optuna": version("optuna"),
        }
    )
    watcher = watch("tune", model, fingerprint)
    ending: Ending = "failed"
    folder = layout.study(fingerprint)
    try:
        with claimed(folder):
            objective = _objective(task, tune, watcher)
            results = study.run(folder, objective, lambda result: print(_trial_line(model, tune, result), flush=True))
            with replacing_folder(layout.tuning(model)) as out:
                _write(out, task, results, tune=tune, keys=sorted(search), fingerprint=fingerprint)
            discard(folder)
        ending = "finished"
    finally:
        watcher.close(ending)


def _objective(task: Task, tune: Tune, watcher: Watcher) -> Objective:
    def objective(number: int, parameters: dict[str, Value], report: Report) -> None:
        candidate = with_values(task.contender, parameters)
        candidate = candidate.model_copy(update={"train": stretched(candidate.train, tune.epochs)})
        watched = watcher.trial(number, parameters)
        ending: Ending = "failed"

        def epoch_done(row: EpochResult, seconds: float) -> None:
            watched.epoch(row)
            report(row)

        label = f"tune {task.model}: trial {number + 1}/{tune.trials}"
        try:
            fit(task.job(label, candidate), task.build(candidate), epoch_done)
            ending = "finished"
        except (Pruned, Diverged) as ended:
            ending = "pruned" if isinstance(ended, Pruned) else "diverged"
            raise
        finally:
            watched.close(ending)

    return objective


def _trial_line(model: str, tune: Tune, result: TrialResult) -> str:
    values = "  ".join(f"{key.removeprefix('train.')} {shown(value)}" for key, value in result.parameters.items())
    best = result.best
    reached = f"  val {best.val_loss:.3f} / {best.val_accuracy:.3f}" if best else ""
    return (
        f"tune {model}: trial {result.number + 1}/{tune.trials}  {values}  {result.state} "
        f"after {len(result.epochs)} of {tune.epochs} epochs{reached}"
    )


def _write(out: Path, task: Task, results: list[TrialResult], *, tune: Tune, keys: list[str], fingerprint: str) -> None:
    chosen = winner(results)
    if chosen is None or chosen.best is None:
        raise ModelError(
            f"no trial of {task.model} came to an end, the loss was no number in all {len(results)}: "
            "lower tune.search.train.learning_rate, or lengthen train.warmup_epochs"
        )
    TuningResult(
        model=task.model,
        parameters=chosen.parameters,
        trial=chosen.number,
        val_loss=chosen.best.val_loss,
        val_accuracy=chosen.best.val_accuracy,
        trials=len(results),
        pruned=sum(result.state != "finished" for result in results),
        epochs_per_trial=tune.epochs,
        images_budget=tune.trials * tune.epochs * len(task.train),
        images_seen=sum(len(result.epochs) for result in results) * len(task.train),
        at_the_edge=[],
        fingerprint=fingerprint,
    ).write(out / "best.json")
    write_table(
        out / "trials.csv",
        ["number", "state", "val_loss", "val_accuracy", "epochs", *keys],
        (
            {
                "number": result.number,
                "state": result.state,
                "val_loss": result.best.val_loss if result.best else None,
                "val_accuracy": result.best.val_accuracy if result.best else None,
                "epochs": len(result.epochs),
                **result.parameters,
            }
            for result in results
        ),
    )
    write_table(
        out / "history.csv",
        ["trial", *EPOCH_COLUMNS],
        ({"trial": result.number, **row.model_dump()} for result in results for row in result.epochs),
    )
