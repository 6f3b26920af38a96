"""The one writer of runs: training runs and trials while they go on, and everything from files afterwards.

What is there is kept, what is missing is added, so every method may be called again.
"""

import getpass
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from podium.core.layout import Layout
from podium.records.training import EpochResult
from podium.registry.store import is_local, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
EPOCH_METRICS = ("learning_rate", "train_accuracy", "train_loss", "val_accuracy", "val_loss")
_BATCH = 1000  # metrics that MLflow takes in one request


class RunWriter:
    """Finds, makes and fills the runs of one MLflow experiment."""

    def __init__(self, client: "MlflowClient", layout: Layout, name: str) -> None:
        """Makes the experiment on first use, and restores it when somebody deleted it."""
        self.client = client
        self.experiment = _experiment_id(client, layout, name)

    def find(self, **tags: str) -> "list[Run]":
        """All runs that carry some of Podium's tags and that nobody deleted, oldest first.

        Args:
            **tags: values of `podium.<name>` tags.
        """
        wanted = " and ".join(f"tags.`podium.{name}` = '{value}'" for name, value in tags.items())
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], wanted, order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
            )
            found.extend(page)
            token = page.token
            if not token:
                return found

    def create(self, name: str, tags: Mapping[str, str], source: str) -> str:
        """Starts a run that shows who made it and from what, as MLflow's own API would.

        Returns:
            The run's id.
        """
        about = {"mlflow.user": _user(), "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
        run = self.client.create_run(self.experiment, tags={**about, **tags}, run_name=name)
        run_id: str = run.info.run_id
        return run_id

    def open_trial(self, parent: str, model: str, fingerprint: str, number: int) -> tuple[str, bool]:
        """The run of one trial, nested below its study's run; the one of a killed process is used again.

        Returns:
            The run's id, and whether it was made just now.
        """
        found = self.find(kind="trial", fingerprint=fingerprint, trial=str(number))
        if found:
            return str(found[0].info.run_id), False
        tags = {**run_tags("trial", model, fingerprint), "podium.trial": str(number), PARENT: parent}
        return self.create(f"trial {number}", tags, "stages/tune.py"), True

    def log_parameters(self, run_id: str, parameters: Mapping[str, object]) -> None:
        """Logs parameters in one request; values are written with `str`."""
        from mlflow.entities import Param

        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])

    def log_metrics(self, run_id: str, values: Mapping[str, float], *, changed: bool = False) -> None:
        """Logs the metrics that a run does not have yet, in one request, at step 0.

        Args:
            run_id: the run to write to.
            values: by name.
            changed: log those too of which the run has another value.
        """
        from mlflow.entities import Metric

        known, now = self.client.get_run(run_id).data.metrics, int(time.time() * 1000)
        new = [key for key, value in values.items() if key not in known or (changed and known[key] != value)]
        if new:
            self.client.log_batch(run_id, metrics=[Metric(key, values[key], now, 0) for key in new])

    def epochs_of(self, run_id: str) -> set[int]:
        """The epochs that a run has already."""
        return {metric.step for metric in self.client.get_metric_history(run_id, EPOCH_METRICS[-1])}

    def log_epochs(self, run_id: str, rows: Sequence[EpochResult]) -> None:
        """Logs one value per metric and epoch, in as few requests as MLflow takes.

        Args:
            run_id: the run to write to.
            rows: results of epochs that the run does not have.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, getattr(row, key), now, row.epoch) for row in rows for key in EPOCH_METRICS]
        for start in range(0, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + _BATCH])


def run_tags(kind: str, model: str, fingerprint: str) -> dict[str, str]:
    """The tags by which a run of a model is found again; `kind` is `tune`, `trial` or `train`."""
    return {"podium.kind": kind, "podium.model": model, "podium.fingerprint": fingerprint}


def outer_run() -> str | None:
    """The run that `mlflow run` opened around this process, if any: a parent to name, never a run to write to."""
    return os.environ.get("MLFLOW_RUN_ID")


def _experiment_id(client: "MlflowClient", layout: Layout, name: str) -> str:
    """MLflow's id of an experiment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # Where a local store keeps artifacts would otherwise depend on the working directory.
        place = (layout.main_root / "mlruns" / name).as_uri() if is_local(tracking_uri(layout)) else None
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _user() -> str:
    """The login name, or `unknown`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"
