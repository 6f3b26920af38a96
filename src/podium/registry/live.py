"""The live view of a running study or training run in MLflow. It may fail; training must not, nor wait for it.

A daemon thread fed by a queue does all of MLflow's work, `import mlflow` included. What it could not show, `publish`
fills in from the files later.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from podium.config.tuning import Value
from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.models.callbacks import Callback, Ending
from podium.records.training import EpochResult, State, TrialResult
from podium.registry import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 20.0
EPOCH_METRICS = ("learning_rate", "train_accuracy", "train_loss", "val_accuracy", "val_loss")
_BATCH = 1000  # metrics that MLflow takes in one request
_STATUS: dict[State | Ending, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}


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
        self._running: set[int] = set()
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
        self._running.add(number)

    def close_trial(self, number: int, ending: State | Ending) -> None:
        """Ends the run of a trial, with how it ended."""
        run_id = self._trials[number]
        self._running.discard(number)
        self._client.set_tag(run_id, "podium.ending", ending)
        self._client.set_terminated(run_id, status=_STATUS[ending])

    def close(self, ending: Ending) -> None:
        """Ends the run; trials that are still under way were not waited for."""
        for number in sorted(self._running):
            self.close_trial(number, "failed")
        self._client.set_terminated(self._run, status=_STATUS[ending])


_Message = Callable[[_Recorder], None]


class LiveView(Callback):
    """Shows a study or training run in MLflow while it goes on: a queue, which one thread empties until it fails.

    No method ever raises or waits, except that `on_train_end` gives MLflow up to `FLUSH_SECONDS` to take what is still
    queued.
    """

    def __init__(self, layout: Layout, experiment: str) -> None:
        """Starts nothing yet.

        Args:
            layout: the project's paths.
            experiment: `experiment` in params.yaml.
        """
        self._layout, self._experiment = layout, experiment
        self._uri = store.tracking_uri(layout)
        self._warned = threading.Event()
        self._queue: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()

    def on_train_begin(self, kind: str, model: str, fingerprint: str) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._work, args=(kind, model, fingerprint), name="mlflow", daemon=True)
        self._thread.start()

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """Queues the metrics of an epoch."""
        self._queue.put(lambda recorder: recorder.epoch(trial, row))

    def on_trial_begin(self, number: int, parameters: Mapping[str, Value]) -> None:
        """Queues the run of a trial."""
        kept = dict(parameters)
        self._queue.put(lambda recorder: recorder.trial(number, kept))

    def on_trial_end(self, result: TrialResult) -> None:
        """Queues the end of a trial."""
        self._queue.put(lambda recorder: recorder.close_trial(result.number, result.state))

    def on_train_end(self, ending: Ending) -> None:
        """Queues the end, and waits a bounded time for all that is queued."""
        self._queue.put(lambda recorder: recorder.close(ending))
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)
        if self._thread.is_alive():
            self._warn("did not take all in time")
        elif not self._queue.empty():
            self._warn("did not take all")

    def _work(self, kind: str, model: str, fingerprint: str) -> None:
        """What the thread does: messages in turn, until None comes or MLflow fails."""
        try:
            with store.reaching(self._uri):
                recorder = _Recorder(self._layout, self._experiment, kind, model, fingerprint)
            while (message := self._queue.get()) is not None:
                with store.reaching(self._uri):
                    message(recorder)
        except TrackingError:
            self._warn("cannot be reached or used")
        except OSError as error:
            self._warn(f"cannot be used ({error.strerror or error})")

    def _warn(self, what: str) -> None:
        """Says it once: the thread may fail after `on_train_end` has stopped waiting for it."""
        if self._warned.is_set():
            return
        self._warned.set()
        _LOG.warning(
            f"MLflow at {store.shown(self._uri)} {what}; the stage goes on; `dvc repro publish` fills it in later"
        )
