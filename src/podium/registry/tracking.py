"""The live view of a running study or training run in MLflow. It may fail; training must not, nor wait for it.

A daemon thread fed by a queue does all of MLflow's work, `import mlflow` included. What it could not show, `publish`
fills in from the files later. Depends on `core`, `models.watcher` and `registry.store`.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from podium.config.tuning import Value
from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.models.watcher import Ending, Watcher, WatcherFactory
from podium.records.training import EpochResult
from podium.registry import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FLUSH_SECONDS = 20.0
EPOCH_METRICS = ("learning_rate", "train_accuracy", "train_loss", "val_accuracy", "val_loss")
_BATCH = 1000  # metrics that MLflow takes in one request
_STATUS: dict[Ending, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}


def live_view(layout: Layout, experiment: str) -> WatcherFactory:
    """Shows studies and training runs in MLflow while they go on.

    Args:
        layout: the project's paths.
        experiment: `experiment` in params.yaml.

    Returns:
        A factory of watchers. Making one returns at once; no watcher ever raises or waits, except that `close`
        gives MLflow up to `FLUSH_SECONDS` to take what is still queued.
    """

    def watch(kind: str, model: str, fingerprint: str) -> Watcher:
        return _RootWatcher(layout, experiment, kind, model, fingerprint)

    return watch


def train_tags(model: str, fingerprint: str) -> dict[str, str]:
    """The tags by which a training run is found again."""
    return {"podium.kind": "train", "podium.model": model, "podium.fingerprint": fingerprint}


def log_epochs(client: "MlflowClient", run_id: str, rows: Sequence[EpochResult]) -> None:
    """Logs one value per metric and epoch, leaving out the epochs that the run already has.

    Args:
        client: an open client.
        run_id: the run to write to.
        rows: results of epochs, in order.
    """
    known = {metric.step for metric in client.get_metric_history(run_id, EPOCH_METRICS[-1])}
    _log(client, run_id, [row for row in rows if row.epoch not in known])


def open_trial(
    client: "MlflowClient", experiment: str, parent: str, model: str, fingerprint: str, *, number: int
) -> tuple[str, bool]:
    """The run of one trial, nested below its study's run; the one of a killed process is used again.

    Args:
        client: an open client.
        experiment: MLflow's id of it.
        parent: run id of the study.
        model: a key of `models`.
        fingerprint: of the study.
        number: of the trial, from 0.

    Returns:
        The run's id, and whether it was made just now.
    """
    found = store.find_runs(client, experiment, kind="trial", fingerprint=fingerprint, trial=str(number))
    if found:
        return str(found[0].info.run_id), False
    tags = {
        "podium.kind": "trial",
        "podium.model": model,
        "podium.fingerprint": fingerprint,
        "podium.trial": str(number),
        store.PARENT: parent,
    }
    return store.create_run(client, experiment, f"trial {number}", tags, "stages/tune.py"), True


def log_parameters(client: "MlflowClient", run_id: str, parameters: Mapping[str, object]) -> None:
    """Logs parameters in one request; values are written with `str`."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])


def _log(client: "MlflowClient", run_id: str, rows: Sequence[EpochResult]) -> None:
    """Logs epochs in as few requests as MLflow takes."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(key, getattr(row, key), now, row.epoch) for row in rows for key in EPOCH_METRICS]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])


class _Recorder:
    """Writes to MLflow. Lives in the thread; anything here may raise TrackingError."""

    def __init__(self, layout: Layout, experiment: str, kind: str, model: str, fingerprint: str) -> None:
        """Connects and opens the run, which takes as long as it takes."""
        self._client = store.client(layout)
        self._kind, self._model, self._fingerprint = kind, model, fingerprint
        self._steps: dict[str, set[int]] = {}
        self._trials: dict[int, str] = {}
        self._experiment = store.experiment_id(self._client, layout, experiment)
        self._run = self._open()

    def _open(self) -> str:
        """The run's id; the run of a killed or repeated stage is used again."""
        found = store.find_runs(self._client, self._experiment, kind=self._kind, fingerprint=self._fingerprint)
        if not found:
            tags = {**train_tags(self._model, self._fingerprint), "podium.kind": self._kind}
            name, source = f"{self._kind} {self._model}", f"stages/{self._kind}.py"
            return store.create_run(self._client, self._experiment, name, tags, source)
        return self._again(found[0])

    def _again(self, run: "Run") -> str:
        """A run of a killed or repeated stage goes on; its status is set again when it ends."""
        run_id: str = run.info.run_id
        if run.info.status != "FINISHED":
            self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _id(self, trial: int | None) -> str:
        """A trial's run, or for None the run of the whole."""
        return self._run if trial is None else self._trials[trial]

    def epoch(self, trial: int | None, row: EpochResult) -> None:
        """Logs an epoch, unless the run has it already."""
        run_id = self._id(trial)
        if run_id not in self._steps:
            history = self._client.get_metric_history(run_id, EPOCH_METRICS[-1])
            self._steps[run_id] = {metric.step for metric in history}
        if row.epoch not in self._steps[run_id]:
            _log(self._client, run_id, [row])
            self._steps[run_id].add(row.epoch)

    def trial(self, number: int, parameters: Mapping[str, Value]) -> None:
        """Opens the run of a trial."""
        run_id, new = open_trial(
            self._client, self._experiment, self._run, self._model, self._fingerprint, number=number
        )
        if new:
            log_parameters(self._client, run_id, parameters)
        self._trials[number] = run_id

    def close(self, trial: int | None, ending: Ending) -> None:
        """Ends a run, with how it ended."""
        run_id = self._id(trial)
        if trial is not None:
            self._client.set_tag(run_id, "podium.ending", ending)
        self._client.set_terminated(run_id, status=_STATUS[ending])


_Message = Callable[[_Recorder], None]


class _RootWatcher:
    """Puts messages into a queue; one thread takes them out until the first failure."""

    def __init__(self, layout: Layout, experiment: str, kind: str, model: str, fingerprint: str) -> None:
        self._uri = store.tracking_uri(layout)
        self._about = (layout, experiment, kind, model, fingerprint)
        self._warned = threading.Event()
        self._queue: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def put(self, message: _Message) -> None:
        """Queues a message; after a failure nobody reads it."""
        self._queue.put(message)

    def epoch(self, row: EpochResult) -> None:
        """One epoch is done."""
        self.put(lambda recorder: recorder.epoch(None, row))

    def trial(self, number: int, parameters: Mapping[str, Value]) -> Watcher:
        """A trial of a study starts."""
        kept = dict(parameters)
        self.put(lambda recorder: recorder.trial(number, kept))
        return _TrialWatcher(self, number)

    def close(self, ending: Ending) -> None:
        """The run is over: waits a bounded time for what is queued."""
        self.put(lambda recorder: recorder.close(None, ending))
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)
        if self._thread.is_alive():
            self._warn("did not take all in time")
        elif not self._queue.empty():
            self._warn("did not take all")

    def _work(self) -> None:
        """What the thread does: messages in turn, until None comes or MLflow fails."""
        try:
            recorder = self._opened()
            while (message := self._queue.get()) is not None:
                with store.reaching(self._uri):
                    message(recorder)
        except TrackingError:
            self._warn("cannot be reached or used")
        except OSError as error:
            self._warn(f"cannot be used ({error.strerror or error})")

    def _opened(self) -> _Recorder:
        """The recorder; what MLflow raises meanwhile becomes TrackingError."""
        with store.reaching(self._uri):
            return _Recorder(*self._about)

    def _warn(self, what: str) -> None:
        """Says it once: the thread may fail after `close` has stopped waiting for it."""
        if self._warned.is_set():
            return
        self._warned.set()
        print(
            f"warning: MLflow at {store.shown(self._uri)} {what}; the stage goes on; "
            "`dvc repro publish` fills it in later",
            file=sys.stderr,
        )


class _TrialWatcher:
    """One trial of a study; it shares the study's queue."""

    def __init__(self, root: _RootWatcher, number: int) -> None:
        self._root, self._number = root, number

    def epoch(self, row: EpochResult) -> None:
        """One epoch is done."""
        self._root.put(lambda recorder: recorder.epoch(self._number, row))

    def trial(self, number: int, parameters: Mapping[str, Value]) -> Watcher:
        """A trial has no trials of its own; one that asks is shown beside it."""
        return self._root.trial(number, parameters)

    def close(self, ending: Ending) -> None:
        """The trial is over."""
        self._root.put(lambda recorder: recorder.close(self._number, ending))
