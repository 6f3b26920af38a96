"""Several processes of one job on a Ray cluster, which torch joins: Ray Train's TorchTrainer places and restarts them.

Ray keeps nothing of theirs: they save what they need to go on in the project's folder, which all nodes share.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from podium.core.errors import PodiumError
from podium.core.jobs import Cluster, Job, Tell, run_job, teller
from podium.core.layout import Layout
from podium.core.machine import Machine
from podium.core.ray_executor import RETRIES, find_differences, in_short, refusal, shared_file

_STARTS = 100  # a minute each, while others keep the processors busy; nodes that lack are seen by the stage
_PATIENCE = (
    24 * 3600
)  # seconds; the first process may work for long while the others wait, and Ray sees one that is lost


def run_processes(function: Callable[[Job], object], job: Job, cluster: Cluster) -> None:
    """Runs a function on one job in `cluster.processes` processes at once; called by a job on the cluster.

    What they tell is told by this job. When one is lost, all are started again. Where the cluster is `elastic`, they
    may then be fewer, and more again once nodes join.

    Raises:
        PodiumError: what one of them raised; or they were lost again and again, or there was no room for them.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # there is no argument for it
    one = {"CPU": cluster.cpus, "GPU": cluster.gpus} if cluster.gpus else {"CPU": cluster.cpus}
    with shared_file(cluster) as shared, TemporaryDirectory(dir=Layout(cluster.root).work) as folder:
        trainer = TorchTrainer(
            _Process(function, job, teller(), Machine.here(), shared),
            torch_config=TorchConfig(timeout_s=_PATIENCE),
            scaling_config=ScalingConfig(
                num_workers=(1, cluster.processes) if cluster.elastic else cluster.processes,
                use_gpu=cluster.gpus > 0,
                resources_per_worker=one,
            ),
            run_config=RunConfig(
                storage_path=folder,  # where Ray looks whether all nodes share it
                failure_config=FailureConfig(max_failures=RETRIES, controller_failure_limit=_STARTS),
                callbacks=[_end_at_own_errors()],
                logging_config=LoggingConfig("ERROR"),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            own = getattr(error, "controller_failure", error)
            if isinstance(own, PodiumError):
                raise own from error
            raise PodiumError(
                f"processes that train together were lost on the Ray cluster ({in_short(own)}): run the stage again to "
                "go on"
            ) from error


def _end_at_own_errors() -> Any:
    """Ray starts processes again whatever ended them; what they raised themselves they would only raise again."""
    from ray.train import UserCallback

    class EndAtOwnErrors(UserCallback):  # type: ignore[misc]  # Ray leaves it untyped
        def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
            for error in worker_exceptions.values():
                if isinstance(error, PodiumError):
                    raise error

    return EndAtOwnErrors()


@dataclass(frozen=True)
class _Process:
    """What each of them does, on its node."""

    function: Callable[[Any], object]
    job: Any
    told: Tell
    expected: Machine
    shared: Path | None

    def __call__(self) -> None:
        if differences := find_differences(self.expected, self.shared):
            raise refusal(socket.gethostname(), differences)
        run_job(self.function, self.job, self.told)
