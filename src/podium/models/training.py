"""A trained model, from its job to its files: what `train` and `repeat` share.

Killed and resumed, a training ends with the same bytes.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open
from torch import nn

from podium.config.models import ModelConfig, Network
from podium.config.runtime import Resources, Runtime
from podium.core import identity
from podium.core.errors import DataError
from podium.core.files import replacing_folder
from podium.core.jobs import tell
from podium.core.layout import BEST, HISTORY, MODEL_CARD, WEIGHTS, Layout
from podium.data.tensors import digest_like, save_weights, sha256_tensors
from podium.models import distributed, zoo
from podium.models.activations import remove_other_entries
from podium.models.callbacks import Callback, reporting
from podium.models.checkpoint import Checkpoint, FitResult, lock_folder
from podium.models.compute import instruction_set
from podium.models.engine import fit
from podium.models.job import Job, apply_values, open_job
from podium.records.fetch import TRAINED_ON_KEY, pack_digests, unpack_digests
from podium.records.training import EpochResult, ModelCard, TuningResult, add_times, epoch_columns, write_table


@dataclass(frozen=True)
class Training:
    """A training that may begin: the job with the tuned values applied, by which stage, of which model.

    Attributes:
        layout: the project's paths.
        stage: `train` or `repeat`, as MLflow's run says.
        model: a key of `models` in the params.
        job: what is trained.
        tuned: what the study of the model found.
        processes: how many are to train it together.
        identity: all that the result is a function of besides, as JSON values.
    """

    layout: Layout
    stage: str
    model: str
    job: Job
    tuned: TuningResult
    processes: int
    identity: Mapping[str, object]

    @property
    def fingerprint(self) -> str:
        """Names the training, and its result where as many processes as are to train it did so to the end."""
        return self.fingerprint_by(self.processes)

    def fingerprint_by(self, processes: int | str) -> str:
        """Names the result of other numbers of processes; see `Progress.trained_by`."""
        runtime = {**self.job.compute.identity, "processes": processes}
        return identity.fingerprint({**self.identity, "runtime": runtime})

    def is_done(self, folder: Path) -> bool:
        """Whether a folder holds what this training gives, whole."""
        try:
            card = ModelCard.read(folder / MODEL_CARD)
        except DataError:
            return False
        weights = folder / WEIGHTS
        return (
            card.fingerprint == self.fingerprint
            and weights.is_file()
            and digest_like(weights, card.weights_sha256) == card.weights_sha256
        )

    def run(self, folder: Path, callbacks: Sequence[Callback] = (), patience: float = 0.0) -> None:
        """Trains and writes `weights.safetensors`, `model.json` and `history.csv` to a folder, all or none.

        Args:
            folder: of the model.
            callbacks: are told what happens.
            patience: seconds to wait for another process that holds the checkpoint.

        Raises:
            PodiumError: weights are missing or do not fit, or training diverged.
        """
        layout, job, model, fingerprint = self.layout, self.job, self.model, self.fingerprint
        module, begun_at = job.build(), layout.checkpoint(fingerprint)
        if not distributed.is_main_process():
            fit(job, module, checkpoint=Checkpoint(begun_at))
            return
        begun = time.time()
        with reporting(callbacks, self.stage, model, fingerprint), lock_folder(begun_at, patience):
            printing = _PrintEpochs(job.label, job.recipe.epochs)
            fitted = fit(job, module, [printing, *callbacks], Checkpoint(begun_at))
            fingerprint = self.fingerprint_by(fitted.progress.trained_by)
            with replacing_folder(folder) as out:
                _write(out, model, job, module, fitted, tuned=self.tuned, fingerprint=fingerprint)
            seconds = fitted.progress.seconds
            measured = {"seconds_per_epoch": sum(seconds) / len(seconds), "started": begun, "ended": time.time()}
            add_times(layout, fingerprint, measured)
            if not job.config.is_probe:  # another probe may have what this one has no use for
                remove_other_entries(layout.features(model), fitted.activations)
            shutil.rmtree(begun_at, ignore_errors=True)


def open_training(
    layout: Layout,
    stage: str,
    model: str,
    *,
    config: ModelConfig,
    runtime: Runtime,
    resources: Resources,
    seed: int,
    label: str = "",
) -> Training:
    """Opens train and val and what the study found, before any time is spent.

    Args:
        layout: the project's paths.
        stage: whose code is part of the fingerprint.
        model: a key of `models` in the params.
        config: its section.
        runtime: how numbers are computed.
        resources: what may be used for it.
        seed: of this training.
        label: for people; stage and model by default.

    Returns:
        What may begin.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit.
    """
    label = label or f"{stage} {model}"
    own = open_job(layout, label, model, config, runtime=runtime, resources=resources, seed=seed)
    tuned = TuningResult.read(layout.tuning(model) / BEST)
    parts = {**own.identity(layout, stage), "tuned": tuned.parameters}
    job = replace(own, config=apply_values(config, tuned.parameters))
    wanted = runtime.processes if runtime.elastic else distributed.to_be(runtime.processes)
    return Training(layout, stage, model, job, tuned, 1 if config.is_probe else wanted, parts)


@dataclass(frozen=True)
class _PrintEpochs(Callback):
    """Tells a line an epoch."""

    label: str
    epochs: int

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """Loss and accuracy on train and val."""
        tell(
            f"{self.label}: epoch {row.epoch} of {self.epochs}, "
            f"{'' if row.learning_rate is None else f'learning rate {row.learning_rate:.1e}, '}"
            f"train loss {row.train_loss:.3f}, accuracy {row.train_accuracy:.3f}, "
            f"val loss {row.val_loss:.3f}, accuracy {row.val_accuracy:.3f} ({seconds:.1f} s)"
        )


def _trained_on(job: Job) -> str:
    """Digests of the photographs that the weights have seen: those trained on, and those of the first weights."""
    before: list[str] = []
    if job.pretrained_file is not None:
        with safe_open(job.pretrained_file, framework="numpy") as first:
            before = unpack_digests((first.metadata() or {}).get(TRAINED_ON_KEY, ""))
    return pack_digests([*before, *job.train.index["photo_sha256"]])


def _write(
    out: Path, model: str, job: Job, module: nn.Module, fitted: FitResult, *, tuned: TuningResult, fingerprint: str
) -> None:
    """Writes weights, history and card to `out`. `module` is only counted; `fitted` has the weights."""
    metadata = {"fingerprint": fingerprint, "format": "pt", TRAINED_ON_KEY: _trained_on(job)}
    save_weights(out / WEIGHTS, fitted.best, metadata)
    rows = fitted.progress.history
    write_table(out / HISTORY, epoch_columns(rows), (row.model_dump(exclude_none=True) for row in rows))
    epochs = len(fitted.progress.history)
    groups = job.train.index.groupby("label", sort=True)["group"].first()
    ModelCard(
        model=model,
        **{key: getattr(job.config, key) for key in Network.model_fields},
        classes=list(job.train.classes),
        class_counts={label: int((job.train.labels == code).sum()) for code, label in enumerate(job.train.classes)},
        groups={str(label): str(group) for label, group in groups.items()},
        preprocessing=job.train.preprocessing,
        mean=job.mean,
        std=job.std,
        parameters=zoo.count_parameters(module),
        flops=zoo.flops(module, job.train.preprocessing.image_size),
        weights_bytes=(out / WEIGHTS).stat().st_size,
        weights_sha256=sha256_tensors(out / WEIGHTS),
        pretrained=job.pretrained,
        trainable=job.config.trainable,
        distil=job.config.distil,
        teacher_fingerprint=job.teacher_card and job.teacher_card.fingerprint,
        recipe=None if job.config.is_probe else job.recipe,
        learning_rate=None if job.config.is_probe else job.recipe.learning_rate,
        tuned=tuned.parameters,
        tuning_images=tuned.images_budget,
        epochs=epochs,
        best_epoch=fitted.progress.best.epoch,
        images_seen=epochs * len(job.train),
        micro_batch_size=fitted.progress.micro_batch_size,
        cached_prefix=fitted.activations is not None,
        stopped_early=epochs < job.recipe.epochs,
        seed=job.seed,
        runtime={**job.compute.identity, "processes": fitted.progress.trained_by, "instruction_set": instruction_set()},
        versions=identity.library_versions(),
        data_digests={"train": job.train.digest, "val": job.val.digest},
        fingerprint=fingerprint,
    ).write(out / MODEL_CARD)
