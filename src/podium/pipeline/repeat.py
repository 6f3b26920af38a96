"""Stage repeat@m: the same training with each further seed of `seeds`; what was trained before stays.

DVC leaves the folder as it is (`persist`), so that one more seed costs one training, and a kill at most one. On a
cluster the seeds are trained side by side.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.core.executor import open_executor
from podium.core.files import replacing_folder, write_json
from podium.core.jobs import tell
from podium.core.layout import SEEDS, Layout
from podium.core.storage import Checkout, StoredFile
from podium.models.callbacks import Callback, Ending
from podium.records.training import EpochResult

if TYPE_CHECKING:
    from podium.models.training import Training


def repeat_training(
    layout: Layout,
    model: str,
    seeds: Sequence[int],
    *,
    config: ModelConfig,
    runtime: Runtime,
    resources: Resources,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
) -> None:
    """Trains a model with every seed and removes what is there of others; what is there already is not trained again.

    Args:
        layout: the project's paths.
        model: a key of `models` in the params.
        seeds: the further ones, without that of the registered model.
        config: the model's section.
        runtime: how numbers are computed.
        resources: what may be used for it.
        callbacks: new ones for each training.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit, or training diverged.
    """
    home = layout.repeats(model)
    _remove_others(home, seeds)
    if seeds:
        from podium.models.compute import choose_device, find_cluster
        from podium.models.distributed import process_group
        from podium.models.job import upload_inputs

        train, device = _TrainSeed(layout, model, config, runtime, resources), choose_device(runtime)
        cluster = find_cluster(layout.root, runtime, resources, by_storage=True)
        told: dict[int, Sequence[Callback]] = {}

        def on_event(event: tuple[int, str, tuple[object, ...]]) -> None:
            seed, name, arguments = event
            if name == "on_train_begin":  # once more where a node was lost
                told[seed] = callbacks()
            for callback in told[seed]:
                getattr(callback, name)(*arguments)

        with process_group(device):
            if missing := [seed for seed in seeds if not train.is_kept(seed)]:
                if cluster is not None and cluster.storage is not None:
                    tuned = layout.tuning(model)
                    train = replace(train, checkout=upload_inputs(cluster.storage, layout, model, config, [tuned]))
                lower = "train.micro_batch_size"
                with open_executor(train, 1, lower=lower, cluster=cluster, on_event=on_event) as executor:
                    list(executor.map(missing, train.keep))
    write_json(home / SEEDS, list(seeds))


def _remove_others(home: Path, seeds: Sequence[int]) -> None:
    """Removes seeds that are no longer asked for, and what a kill left."""
    home.mkdir(parents=True, exist_ok=True)
    for entry in home.iterdir():
        if entry.is_dir() and entry.name not in map(str, seeds):
            shutil.rmtree(entry, ignore_errors=True)  # another process that trains with this one may be faster


@dataclass(frozen=True)
class _TrainSeed:
    """Trains a model with one seed, here or on a node; with a `checkout` it works there and not in the project."""

    layout: Layout
    model: str
    config: ModelConfig
    runtime: Runtime
    resources: Resources
    checkout: Checkout | None = None

    def is_kept(self, seed: int) -> bool:
        """Whether it was trained before, and says so."""
        training = self._open(seed)
        if kept := training.is_done(self.layout.repeat(self.model, seed)):
            print(f"{training.job.label}: kept", flush=True)
        return kept

    def __call__(self, seed: int) -> "_Trained":
        training = self._open(seed)
        folder, times = training.layout.repeat(self.model, seed), training.layout.times(training.fingerprint)
        training.run(folder, [_Tell(seed)])
        if self.checkout is None:
            return _Trained(seed)
        upload, root = self.checkout.storage.upload, training.layout.root
        return _Trained(seed, upload([folder], folder), upload([times], root))

    def keep(self, trained: "_Trained") -> None:
        """Brings what a node left in the storage to the project."""
        if self.checkout is not None:
            download = self.checkout.storage.download
            with replacing_folder(self.layout.repeat(self.model, trained.seed)) as out:
                for file in trained.files:
                    download(file, out / file.name)
            for file in trained.times:
                download(file, self.layout.root / file.name)

    def _open(self, seed: int) -> "Training":
        from podium.models.training import open_training

        return open_training(
            self.layout if self.checkout is None else Layout(self.checkout.root),
            "repeat",
            self.model,
            config=self.config,
            runtime=self.runtime,
            resources=self.resources,
            seed=seed,
            label=f"repeat {self.model} seed {seed}",
        )


@dataclass(frozen=True)
class _Trained:
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
