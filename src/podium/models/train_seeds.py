"""Trains a model with some seeds, wherever that runs: here, in processes that are started for it, or on a cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.core.executor import open_executor
from podium.core.files import replacing_folder
from podium.core.jobs import Cluster, tell
from podium.core.layout import Layout
from podium.core.storage import Checkout, StoredFile
from podium.models import distributed
from podium.models.callbacks import Callback, Ending
from podium.models.compute import choose_device, find_cluster
from podium.models.job import upload_inputs
from podium.models.training import Training, open_training
from podium.records.training import EpochResult

_LEASE_SECONDS = 150.0  # within which NFS takes a lock from a node that is gone


def train_seeds(train: "TrainSeed", seeds: Sequence[int], callbacks: Callable[[], Sequence[Callback]]) -> None:
    """Trains with each of some seeds, on a cluster where there is one; `callbacks` makes those of one training.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit, or training diverged.
    """
    told: dict[int, Sequence[Callback]] = {}

    def on_event(event: str | tuple[int, str, tuple[object, ...]]) -> None:
        if isinstance(event, str):
            print(event, flush=True)
            return
        seed, name, arguments = event
        if name == "on_train_begin":  # once more where a node was lost
            told[seed] = callbacks()
        for callback in told[seed]:
            getattr(callback, name)(*arguments)

    train = train.placed()
    lower = "train.micro_batch_size"
    with open_executor(train, 1, lower=lower, cluster=train.cluster, on_event=on_event) as executor:
        list(executor.map(seeds, train.keep))


@dataclass(frozen=True)
class TrainSeed:
    """Trains a model with a seed: a job, of one process or of several that it starts.

    Attributes:
        layout: the project's paths.
        stage: `train`, or `repeat` with further seeds.
        model: a key of `models` in the params.
        config: its section.
        runtime: how numbers are computed, by how many processes.
        resources: what may be used for it.
        cluster: where it runs; None for this machine.
        checkout: where a node works that does not see the project's folder.
    """

    layout: Layout
    stage: Literal["train", "repeat"]
    model: str
    config: ModelConfig
    runtime: Runtime
    resources: Resources
    cluster: Cluster | None = None
    checkout: Checkout | None = None

    def placed(self) -> "TrainSeed":
        """The same with a cluster, where it may run on one: a checkpoint that must outlive a node is in the project."""
        if distributed.started() > 1:
            return self
        layout, processes = self.layout, self._processes
        by_storage = self.stage == "repeat" and processes == 1
        cluster = find_cluster(layout.root, self.runtime, self.resources, by_storage=by_storage)
        if cluster is None:
            return self
        checkout = None
        if cluster.storage is not None:
            checkout = upload_inputs(cluster.storage, layout, self.model, self.config, [layout.tuning(self.model)])
        cluster = replace(cluster, processes=processes, elastic=self.runtime.elastic and processes > 1)
        return replace(self, cluster=cluster, checkout=checkout)

    def open(self, seed: int) -> Training:
        """What is trained; see `open_training`."""
        return open_training(
            self.layout if self.checkout is None else Layout(self.checkout.root),
            self.stage,
            self.model,
            config=self.config,
            runtime=self.runtime,
            resources=self.resources,
            seed=seed,
            label=f"repeat {self.model} seed {seed}" if self.stage == "repeat" else "",
        )

    def folder(self, layout: Layout, seed: int) -> Path:
        """Where the model goes."""
        return layout.model(self.model) if self.stage == "train" else layout.repeat(self.model, seed)

    @property
    def _processes(self) -> int:
        """How many each training starts, 1 for none: torchrun has started them, or it computes a probe."""
        return 1 if distributed.started() > 1 or self.config.is_probe else self.runtime.processes

    def __call__(self, seed: int) -> "Trained":
        """Trains; raises a `PodiumError` as `Training.run` does."""
        if self.cluster is not None and self.cluster.processes > 1:
            from podium.core.ray_train import run_processes

            run_processes(self.run_here, seed, self.cluster)
        elif self.cluster is None and self._processes > 1:
            distributed.start(self.run_here, seed, self._processes)
        else:
            training = self.run_here(seed)
            if self.checkout is not None:
                upload, layout = self.checkout.storage.upload, training.layout
                folder = self.folder(layout, seed)
                times = upload([layout.times(training.fingerprint)], layout.root)
                return Trained(seed, upload([folder], folder), times)
        return Trained(seed)

    def run_here(self, seed: int, callbacks: Sequence[Callback] = ()) -> Training:
        """Trains in this process, which may be one of several; the stage is told before `callbacks`."""
        with distributed.process_group(choose_device(self.runtime)):
            training = self.open(seed)
            patience = 0.0 if self.cluster is None else _LEASE_SECONDS
            training.run(self.folder(training.layout, seed), [_Tell(seed), *callbacks], patience)
        return training

    def keep(self, trained: "Trained") -> None:
        """Brings what a node left in the storage to the project."""
        if self.checkout is not None:
            download = self.checkout.storage.download
            with replacing_folder(self.folder(self.layout, trained.seed)) as out:
                for file in trained.files:
                    download(file, out / file.name)
            for file in trained.times:
                download(file, self.layout.root / file.name)


@dataclass(frozen=True)
class Trained:
    """A training that came to its end, and what of it is in the storage: its results, its measured times."""

    seed: int
    files: tuple[StoredFile, ...] = ()
    times: tuple[StoredFile, ...] = ()


@dataclass(frozen=True)
class _Tell(Callback):
    """Tells the stage what happens in the training with a seed."""

    seed: int

    def on_train_begin(self, kind: str, model: str, fingerprint: str) -> None:
        """It begins."""
        tell((self.seed, "on_train_begin", (kind, model, fingerprint)))

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """An epoch is done."""
        tell((self.seed, "on_epoch_end", (row, seconds, trial)))

    def on_train_end(self, ending: Ending) -> None:
        """It is over."""
        tell((self.seed, "on_train_end", (ending,)))
