"""The one writer of runs: training runs and trials while they go on, and everything from files afterwards.

What is there is kept, what is missing is added, so every method may be called again.
"""

import getpass
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from podium.core.files import sha256_text
from podium.core.layout import DVC_YAML, Layout
from podium.core.machine import processor_name
from podium.records.training import EpochResult
from podium.tracking.store import is_server, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from PIL import Image

PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
NOTE = "mlflow.note.content"  # the tag that MLflow shows as a description, in Markdown
CPU = "podium.cpu"  # the tag with the processor type that trained
OPEN = "open"  # the state of an experiment's run that is not published yet
EPOCH_METRICS = {
    **{f"epoch/{x}": x for x in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_objective")},
    "schedule/learning_rate": "learning_rate",
}
"""Field of an epoch's result by MLflow's name, whose first part is a section of charts; MLflow sorts them by name."""
_WORKSPACE, _HOST, _FOLDER, _PROCESS = (f"podium.{name}" for name in ("workspace", "host", "folder", "process"))
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # what MLflow's own examples set
_BATCH = 1000  # metrics that MLflow takes in one request


@dataclass(frozen=True)
class Measured:
    """What metrics were measured of, so that MLflow shows them on the model's and on the dataset's page."""

    model_id: str
    dataset: str
    digest: str


class RunWriter:
    """Finds, makes and fills the runs of one MLflow experiment."""

    def __init__(self, client: "MlflowClient", layout: Layout, name: str) -> None:
        """Makes the experiment on first use, and restores it when somebody deleted it."""
        self.client, self.name, self._locks = client, name, layout.locks
        self.workspace = workspace_of(layout)
        self.here = {
            _WORKSPACE: self.workspace,
            _HOST: platform.node(),
            _FOLDER: str(layout.root),
            _PROCESS: _name_process(psutil.Process()),
            CPU: processor_name(),
        }  # whose a run is while it goes on
        self.experiment = _experiment_id(client, layout, name)

    def find(self, **tags: str) -> "list[Run]":
        """All runs that carry some of Podium's tags and that nobody deleted, oldest first.

        Args:
            **tags: values of `podium.<name>` tags.
        """
        return self._search({f"podium.{name}": value for name, value in tags.items()})

    def find_killed(self) -> "list[Run]":
        """Runs that nobody goes on with, of all experiments; see `was_killed`. To be asked by `publish`."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        begun = search_runs(self.client, experiments, {}, "attributes.status = 'RUNNING'")
        return [run for run in begun if was_killed(run.data.tags, self.workspace)]

    def children(self, parent: str) -> "list[Run]":
        """The runs nested below another one, oldest first."""
        return self._search({PARENT: parent})

    def _search(self, tags: Mapping[str, str]) -> "list[Run]":
        """All runs of the experiment with these tags, oldest first."""
        return search_runs(self.client, [self.experiment], tags)

    def create(self, name: str, tags: Mapping[str, str], source: str, start: int | None = None) -> str:
        """Starts a run that shows who made it and from what, as MLflow's own API would.

        Args:
            name: what MLflow shows.
            tags: of the run.
            source: the script it is of.
            start: milliseconds since 1970 at which it began; None for now.

        Returns:
            The run's id.
        """
        about = {"mlflow.user": _user(), "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
        every = {**about, **self.here, **tags}
        run = self.client.create_run(self.experiment, tags=every, run_name=name, start_time=start)
        run_id: str = run.info.run_id
        return run_id

    def set_tags(self, run: "Run", tags: Mapping[str, str]) -> None:
        """Sets the tags that a run lacks or has with another value."""
        for key, value in tags.items():
            if run.data.tags.get(key) != value:
                self.client.set_tag(run.info.run_id, key, value)

    def finish(self, run_id: str, end: int | None, status: str = "FINISHED") -> None:
        """Ends a run at a time (milliseconds, None for now), unless it has ended that way: then its times stay."""
        info = self.client.get_run(run_id).info
        if info.status != status or info.end_time is None:
            self.client.set_terminated(run_id, status=status, end_time=end)

    def open_experiment(self) -> str:
        """The run of the experiment that is under way in this workspace: live runs are nested below it at once.

        Returns:
            The run's id.
        """
        from filelock import FileLock

        self._locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self._locks / "experiment.lock"):  # two stages may begin at once
            found = self.find(kind="experiment", state=OPEN, workspace=self.workspace)
            if found:
                return str(found[0].info.run_id)
            outer = outer_run()
            tags = {"podium.kind": "experiment", "podium.state": OPEN}
            return self.create(f"{self.name}: under way", {**tags, **({PARENT: outer} if outer else {})}, DVC_YAML)

    def open_trial(self, parent: str, model: str, fingerprint: str, number: int) -> tuple[str, bool]:
        """The run of one trial, nested below its study's run; the one of a killed process is used again.

        Returns:
            The run's id, and whether it was made just now.
        """
        found = self._search({PARENT: parent, "podium.trial": str(number)})
        if found:
            self.set_tags(found[0], self.here)
            return str(found[0].info.run_id), False
        start = self.client.get_run(parent).info
        own = {"podium.trial": str(number), PARENT: parent}
        tags = {**run_tags("trial", model, fingerprint), **own}
        began = start.start_time if start.end_time else None  # one that is told afterwards lay within its study
        return self.create(f"{model}: trial {number}", tags, "stages/tune.py", began), True

    def log_parameters(self, run_id: str, parameters: Mapping[str, object]) -> None:
        """Logs parameters in one request; values are written with `str`."""
        from mlflow.entities import Param

        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])

    def log_metrics(
        self, run_id: str, values: Mapping[str, float], *, changed: bool = False, of: Measured | None = None
    ) -> None:
        """Logs the metrics that a run does not have yet, in one request, at step 0, as of the end of the run.

        Args:
            run_id: the run to write to.
            values: by name.
            changed: log those too of which the run has another value.
            of: the logged model and the dataset they are shown with too.
        """
        from mlflow.entities import Metric

        run = self.client.get_run(run_id)
        known, when = run.data.metrics, run.info.end_time or int(time.time() * 1000)
        new = [key for key, value in values.items() if key not in known or (changed and known[key] != value)]
        about = {"model_id": of.model_id, "dataset_name": of.dataset, "dataset_digest": of.digest} if of else {}
        if new:
            self.client.log_batch(run_id, metrics=[Metric(key, values[key], when, 0, **about) for key in new])

    def epochs_of(self, run_id: str) -> set[int]:
        """The epochs that a run has already."""
        return {metric.step for metric in self.client.get_metric_history(run_id, "epoch/val_loss")}

    def log_epochs(self, run_id: str, rows: Sequence[EpochResult], when: int | None = None) -> None:
        """Logs one value per metric and epoch, in as few requests as MLflow takes.

        Args:
            run_id: the run to write to.
            rows: results of epochs that the run does not have.
            when: milliseconds since 1970, None for now.
        """
        from mlflow.entities import Metric

        now = when or int(time.time() * 1000)
        metrics = [
            Metric(key, value, now, row.epoch)
            for row in rows
            for key, name in EPOCH_METRICS.items()
            if (value := getattr(row, name)) is not None
        ]
        for start in range(0, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + _BATCH])

    def log_pictures(self, run_id: str, key: str, pictures: Mapping[int, "Callable[[], Image.Image]"]) -> None:
        """Logs the pictures whose steps a run does not have yet, for MLflow's grid of images.

        Args:
            run_id: the run to write to.
            key: what MLflow calls the series.
            pictures: by step, each drawn when it is needed.
        """
        files = [file.path for file in self.client.list_artifacts(run_id, "images")]
        known = {path.split("+")[2] for path in files if path.endswith("+compressed.webp")}  # MLflow writes it last
        for step, draw in pictures.items():
            if str(step) not in known:
                self.client.log_image(run_id, draw(), key=key, step=step)


def search_runs(
    client: "MlflowClient", experiments: Sequence[str], tags: Mapping[str, str], *conditions: str
) -> "list[Run]":
    """All runs of experiments (MLflow's ids) with these tags that nobody deleted, oldest first.

    Args:
        client: of the store.
        experiments: to search in.
        tags: by name.
        *conditions: more of them, as MLflow writes them.
    """
    wanted = " and ".join([*(f"tags.`{name}` = '{value}'" for name, value in tags.items()), *conditions])
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            list(experiments), wanted, order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
        )
        found.extend(page)
        token = page.token
        if not token:
            return found


def workspace_of(layout: Layout) -> str:
    """Names this folder on this machine; live runs carry it (tag `podium.workspace`)."""
    return sha256_text(f"{platform.node()}\0{layout.root}")[:16]


def was_killed(tags: Mapping[str, str], workspace: str) -> bool:
    """Whether nobody goes on with a run that says RUNNING; false where that cannot be known from here.

    Args:
        tags: of the run.
        workspace: the one in which `publish` asks: no other stage is at work there. A run of another one on this
            machine is over when its folder is gone (as that of `dvc exp run --temp` and `--queue`), or the process of
            its stage; the run of an experiment lives longer than a stage.
    """
    if tags.get(_WORKSPACE) == workspace:
        return True
    if tags.get(_HOST) != platform.node() or _FOLDER not in tags:
        return False
    if not Path(tags[_FOLDER]).is_dir():
        return True
    return tags.get("podium.kind") != "experiment" and not _runs(tags[_PROCESS])


def _name_process(process: psutil.Process) -> str:
    """Its number and when it began: numbers are used again."""
    return f"{process.pid} {process.create_time():.0f}"


def _runs(named: str) -> bool:
    """Whether the process of this name is there."""
    try:
        process = psutil.Process(int(named.partition(" ")[0]))
        return _name_process(process) == named and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_tags(kind: str, model: str, fingerprint: str) -> dict[str, str]:
    """The tags by which a run of a model is found again; `kind` is `tune`, `trial`, `train`, `repeat` or `link`."""
    return {"podium.kind": kind, "podium.model": model, "podium.fingerprint": fingerprint}


def run_name(kind: str, model: str) -> str:
    """What MLflow shows as the name of a model's run: the model first, then what was done with it."""
    return f"{model}: {'study' if kind == 'tune' else 'another seed' if kind == 'repeat' else 'training'}"


def page(experiment: str, run_id: str | None = None) -> str:
    """The part of an address after the server's, that shows an experiment or a run in MLflow's view for training.

    MLflow 3.17 opens in its view for agents whatever the experiment's kind, unless the address says otherwise.
    """
    return f"#/experiments/{experiment}{f'/runs/{run_id}' if run_id else ''}?workflowType=machine_learning"


def outer_run() -> str | None:
    """The run that `mlflow run` opened around this process, if any: a parent to name, never a run to write to."""
    return os.environ.get("MLFLOW_RUN_ID")


def _experiment_id(client: "MlflowClient", layout: Layout, name: str) -> str:
    """MLflow's id of an experiment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # Where a database keeps artifacts would otherwise depend on the working directory.
        place = None if is_server(tracking_uri(layout)) else (layout.main_root / "mlruns" / name).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=_KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for key, value in _KIND.items():
        if key not in found.tags:  # what a person chose on the page stays
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _user() -> str:
    """The login name, or `unknown`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"
