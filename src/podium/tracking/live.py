"""The live view of a running study or training run in MLflow. It may fail; training must not, nor wait for it.

A daemon thread fed by a queue does all of MLflow's work, `import mlflow` included. What it could not show, `publish`
fills in from the files later.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from podium.config.train import Value
from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.models.callbacks import Callback, Ending
from podium.records.training import EpochResult, State, TrialResult
from podium.tracking import store
from podium.tracking.run_writer import PARENT, RunWriter, run_name, run_tags

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_LOG = logging.getLogger(__name__)

FLUSH_SECONDS = 20.0
_STATUS: dict[State | Ending, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}


class _Recorder:
    """Writes to MLflow. Lives in the thread; anything here may raise TrackingError."""

    def __init__(self, layout: Layout, experiment: str, kind: str, model: str, fingerprint: str) -> None:
        """Connects and opens the run, which takes as long as it takes."""
        self._writer = RunWriter(store.open_client(layout), layout, experiment)
        self._kind, self._model, self._fingerprint = kind, model, fingerprint
        self._epochs: dict[str, set[int]] = {}
        self._trials: dict[int, str] = {}
        self._running: set[int] = set()
        self._run, goes_on = self._open()
        self._machine = _watch_machine(self._run, store.tracking_uri(layout)) if goes_on else None

    def _open(self) -> tuple[str, bool]:
        """The run's id, and whether it is under way.

        The run of a killed or repeated stage is used again, and its status is set when it ends; one that another
        workspace is writing to is not touched.
        """
        mine = self._writer.workspace
        for run in self._writer.find(kind=self._kind, fingerprint=self._fingerprint):
            if run.info.status == "FINISHED":
                return str(run.info.run_id), False
            if run.data.tags.get("podium.workspace") == mine:
                self._writer.set_tags(run, self._writer.here)
                self._writer.client.update_run(run.info.run_id, status="RUNNING")
                return str(run.info.run_id), True
        tags = run_tags(self._kind, self._model, self._fingerprint)
        tags[PARENT] = self._writer.open_experiment()
        name = run_name(self._kind, self._model)
        return self._writer.create(name, tags, f"stages/{self._kind}.py"), True

    def epoch(self, trial: int | None, row: EpochResult) -> None:
        """Logs an epoch of a trial, or for None of the whole, unless the run has it already."""
        run_id = self._run if trial is None else self._trials[trial]
        if run_id not in self._epochs:
            self._epochs[run_id] = self._writer.epochs_of(run_id)
        if row.epoch not in self._epochs[run_id]:
            self._writer.log_epochs(run_id, [row])
            self._epochs[run_id].add(row.epoch)

    def trial(self, number: int, parameters: Mapping[str, Value]) -> None:
        """Opens the run of a trial."""
        run_id, new = self._writer.open_trial(self._run, self._model, self._fingerprint, number)
        if new:
            self._writer.log_parameters(run_id, parameters)
        self._trials[number] = run_id
        self._running.add(number)

    def close_trial(self, number: int, ending: State | Ending) -> None:
        """Ends the run of a trial, with how it ended."""
        run_id = self._trials[number]
        self._running.discard(number)
        self._writer.client.set_tag(run_id, "podium.ending", ending)
        self._writer.client.set_terminated(run_id, status=_STATUS[ending])

    def close(self, ending: Ending) -> None:
        """Ends the run; trials that are still under way were not waited for."""
        if self._machine is not None:
            self._machine.finish()
        for number in sorted(self._running):
            self.close_trial(number, "failed")
        self._writer.finish(self._run, None, _STATUS[ending])


def _watch_machine(run_id: str, uri: str) -> "SystemMetricsMonitor | None":
    """MLflow's own thread that samples processor, memory, disk and GPU every ten seconds, unless it is switched off."""
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    if not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        return None
    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


_Message = Callable[[_Recorder], None]


class LiveView(Callback):
    """Shows a study or training run in MLflow while it goes on: a queue, which one thread empties until it fails.

    No method ever raises or waits, except that `on_train_end` gives MLflow up to `FLUSH_SECONDS` to take what is still
    queued.
    """

    def __init__(self, layout: Layout, experiment: str) -> None:
        """Starts nothing yet."""
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
            with store.translate_errors(self._uri):
                recorder = _Recorder(self._layout, self._experiment, kind, model, fingerprint)
            while (message := self._queue.get()) is not None:
                with store.translate_errors(self._uri):
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
            f"MLflow at {store.public_uri(self._uri)} {what}; the stage goes on; `dvc repro publish` fills it in later"
        )
