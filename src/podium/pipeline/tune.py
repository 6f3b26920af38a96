"""Stage tune@m: a study of the learning rate (and whatever else is listed) on train and val; killed, it goes on."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from podium.config.runtime import Resources, Runtime
from podium.config.train import Value
from podium.core import identity
from podium.core.errors import ModelError
from podium.core.files import replacing_folder
from podium.core.layout import BEST, HISTORY, TRIALS, Layout
from podium.core.storage import Checkout
from podium.models.callbacks import Callback, reporting
from podium.models.checkpoint import lock_folder
from podium.models.compute import find_cluster
from podium.models.engine import fit
from podium.models.job import Job, apply_values, open_job, rescale_schedule, upload_inputs
from podium.models.study import Study
from podium.models.trials import run_trials, winner
from podium.records.training import TrialResult, TuningResult, add_times, epoch_columns, write_table


def tune_model(
    layout: Layout,
    model: str,
    study: Study,
    *,
    runtime: Runtime,
    resources: Resources,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Runs a study and writes `best.json`, `trials.csv` and `history.csv`, all or none.

    Raises:
        PodiumError: data or weights are missing or do not fit, a range is not allowed, or every trial diverged.
    """
    objective = _Objective(layout, model, study, runtime, resources)
    job = objective.job
    fingerprint = _fingerprint(layout, job, study)
    cluster = find_cluster(layout.root, runtime, resources, by_storage=True)
    asked = f"resources.trials_at_once is {resources.trials_at_once}" if cluster is None else "there is a cluster"
    if study.tune.together < (resources.trials_at_once if cluster is None else 2):
        print(
            f"tune {model}: {asked}, but tune.together asks for only {study.tune.together} at once, so no more run "
            "side by side",
            flush=True,
        )
    folder = layout.study(fingerprint)
    callbacks = [*callbacks, _PrintTrials(model, study.tune.epochs)]
    begun = time.time()
    with reporting(callbacks, "tune", model, fingerprint), lock_folder(folder):
        if cluster is not None and cluster.storage is not None:
            objective = replace(objective, checkout=upload_inputs(cluster.storage, layout, model, study.config))
        results = run_trials(study, folder, objective, callbacks, processes=resources.trials_at_once, cluster=cluster)
        with replacing_folder(layout.tuning(model)) as out:
            _write(out, model, job, study=study, results=results, fingerprint=fingerprint)
        add_times(layout, fingerprint, {"started": begun, "ended": time.time()})
        shutil.rmtree(folder, ignore_errors=True)


def _fingerprint(layout: Layout, job: Job, study: Study) -> str:
    """Names the study: everything that can change what it finds."""
    return identity.fingerprint(
        {
            **job.identity(layout, "tune"),
            "search": {key: span.model_dump(mode="json") for key, span in study.spans.items()},
            "warm_start": [dict(values) for values in study.warm_start],
            "trials": study.tune.model_dump(mode="json", exclude={"search"}),
            "optuna": version("optuna"),
        }
    )


@dataclass(frozen=True)
class _Objective:
    """Runs trials, here or in a worker process; each process opens the job once, for all trials it is given.

    With a `checkout` it reads that instead of the project's folder.
    """

    layout: Layout
    model: str
    study: Study
    runtime: Runtime
    resources: Resources
    checkout: Checkout | None = None

    @cached_property
    def job(self) -> Job:
        """Data, first weights and the model as it is before tuning, opened on first use."""
        return open_job(
            self.layout if self.checkout is None else Layout(self.checkout.root),
            f"tune {self.model}",
            self.model,
            self.study.config,
            runtime=self.runtime,
            resources=self.resources,
            seed=self.study.seed,
        )

    def __getstate__(self) -> dict[str, object]:
        """All but the job: its images are mapped from files, and would be copied."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def __call__(self, number: int, parameters: dict[str, Value], callback: Callback) -> None:
        """Trains one trial from the study's first weights; `callback` is told of each epoch and may end it."""
        tuned = apply_values(self.study.config, parameters)
        short = tuned.model_copy(update={"train": rescale_schedule(tuned.train, self.study.tune.epochs)})
        job = replace(self.job, label=f"tune {self.model}: trial {number}", config=short)
        fit(job, job.build(), [callback])


@dataclass(frozen=True)
class _PrintTrials(Callback):
    """Prints a line a trial."""

    model: str
    epochs: int

    def on_trial_end(self, result: TrialResult) -> None:
        """Values, how it ended, and loss and accuracy of its best epoch."""
        values = ", ".join(f"{key} {_format(value)}" for key, value in result.parameters.items())
        best = result.best
        reached = f": val loss {best.val_loss:.3f}, accuracy {best.val_accuracy:.3f}" if best else ""
        print(
            f"tune {self.model}: trial {result.number}, {values}, {result.state} "
            f"after {len(result.epochs)} of {self.epochs} epochs{reached}",
            flush=True,
        )


def _write(out: Path, model: str, job: Job, *, study: Study, results: list[TrialResult], fingerprint: str) -> None:
    """Writes the result, and warns of chosen values at an end of their range.

    Raises:
        ModelError: no trial came to an end.
    """
    chosen = winner(results)
    if chosen is None:
        raise ModelError(
            f"no trial of {model} came to an end, the loss was no number in all {len(results)}: "
            "lower the learning rate, or lengthen train.warmup_epochs"
        )
    trial, best = chosen
    at_the_edge = study.at_the_edge(trial.parameters)
    TuningResult(
        model=model,
        parameters=trial.parameters,
        trial=trial.number,
        val_loss=best.val_loss,
        val_accuracy=best.val_accuracy,
        trials=len(results),
        pruned=sum(result.state != "finished" for result in results),
        epochs_per_trial=study.tune.epochs,
        images_budget=study.budget * len(job.train),
        images_seen=sum(result.epochs_begun for result in results) * len(job.train),
        at_the_edge=at_the_edge,
        fingerprint=fingerprint,
    ).write(out / BEST)
    _write_tables(out, results, sorted(study.spans))
    for key in at_the_edge:
        ends = study.spans[key].ends
        searched = f" ({_format(ends[0])} to {_format(ends[1])})" if ends else ""
        print(
            f"warning: tune {model}: the best {key}, {_format(trial.parameters[key])}, lies at an end of what was "
            f"searched{searched}: a better value may lie beyond; widen the range",
            flush=True,
        )


def _write_tables(out: Path, results: list[TrialResult], keys: list[str]) -> None:
    """`trials.csv` with a row a trial, `history.csv` with a row an epoch of a trial."""
    write_table(
        out / TRIALS,
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
        out / HISTORY,
        ["trial", *epoch_columns(row for result in results for row in result.epochs)],
        ({"trial": result.number, **row.model_dump(exclude_none=True)} for result in results for row in result.epochs),
    )


def _format(value: Value) -> str:
    """A tuned value for people: numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
