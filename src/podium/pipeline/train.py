"""Verb train@m: fit one model with the recipe and the tuned values; killed and resumed, it ends with the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from podium.config.contender import Contender
from podium.config.runtime import Resources, Runtime
from podium.core import identity
from podium.core.files import replacing_folder, sha256_file
from podium.core.layout import Layout
from podium.data.tensors import save_weights
from podium.models import zoo
from podium.models.activations import keep_only
from podium.models.callbacks import Callback, reporting
from podium.models.checkpoint import Checkpoint, claimed, discard
from podium.models.distributed import joined
from podium.models.engine import Fitted, fit
from podium.models.inference import CARD, WEIGHTS
from podium.models.recipe import with_values
from podium.models.task import Task, open_task
from podium.records.times import add_times
from podium.records.training import EpochResult, ModelCard, TuningResult, write_history

HISTORY = "history.csv"


def run(
    layout: Layout,
    model: str,
    *,
    contender: Contender,
    runtime: Runtime,
    resources: Resources,
    seed: int,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Trains a model and writes `weights.safetensors`, `model.json` and `history.csv`, all or none.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        contender: its complete section, before tuned values.
        runtime: how to compute.
        resources: what may be used for it.
        seed: of the experiment.
        callbacks: told of each epoch, by the first process.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit, or training diverged.
    """
    with joined(runtime.device) as world:
        task = open_task(layout, model, contender, runtime, seed, resources=resources, world=world)
        tuned = TuningResult.read(layout.tuning(model) / "best.json")
        final = with_values(contender, tuned.parameters)
        fingerprint = identity.fingerprint({**task.identity(layout, "train"), "tuned": tuned.parameters})
        if world.leads:
            _lead(layout, task, final=final, tuned=tuned, fingerprint=fingerprint, callbacks=callbacks)
        else:
            checkpoint = Checkpoint(layout.checkpoint(fingerprint), world)
            fit(task.job(f"train {model}", final), task.build(final), checkpoint=checkpoint)


def _lead(
    layout: Layout,
    task: Task,
    *,
    final: Contender,
    tuned: TuningResult,
    fingerprint: str,
    callbacks: Sequence[Callback],
) -> None:
    """Trains, tells the callbacks and writes; of several processes the first one does."""
    module = task.build(final)
    job = task.job(f"train {task.model}", final)
    folder = layout.checkpoint(fingerprint)
    with reporting(callbacks, "train", task.model, fingerprint), claimed(folder):
        printing = _PrintEpochs(job.label, final.train.epochs)
        fitted = fit(job, module, [printing, *callbacks], Checkpoint(folder, task.world))
        with replacing_folder(layout.model(task.model)) as out:
            _write(out, task, module, fitted, final=final, tuned=tuned, fingerprint=fingerprint)
        seconds = fitted.progress.seconds
        add_times(layout, fingerprint, {"seconds_per_epoch": sum(seconds) / len(seconds)})
        keep_only(layout.features(task.model), fitted.features)
        discard(folder)


@dataclass(frozen=True)
class _PrintEpochs(Callback):
    """Prints a line an epoch."""

    label: str
    epochs: int

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        """Loss / accuracy on train and val."""
        print(
            f"{self.label}: epoch {row.epoch}/{self.epochs}  lr {row.learning_rate:.1e}  "
            f"train {row.train_loss:.3f} / {row.train_accuracy:.3f}  "
            f"val {row.val_loss:.3f} / {row.val_accuracy:.3f}  {seconds:.1f} s",
            flush=True,
        )


def _write(
    out: Path, task: Task, module: nn.Module, fitted: Fitted, *, final: Contender, tuned: TuningResult, fingerprint: str
) -> None:
    """Writes weights, history and card to `out`. `module` is only counted; `fitted` has the weights."""
    save_weights(out / WEIGHTS, fitted.best, {"fingerprint": fingerprint, "format": "pt"})
    write_history(out / HISTORY, fitted.progress.history)
    groups = task.train.index.groupby("label", sort=True)["group"].first()
    ModelCard(
        model=task.model,
        architecture=final.architecture,
        attention=final.attention,
        head=final.head,
        classes=list(task.train.classes),
        groups={str(label): str(group) for label, group in groups.items()},
        preprocessing=task.train.preprocessing,
        mean=task.mean,
        std=task.std,
        parameters=zoo.count_parameters(module),
        flops=zoo.flops(module, task.train.preprocessing.image_size),
        weights_bytes=(out / WEIGHTS).stat().st_size,
        weights_sha256=sha256_file(out / WEIGHTS),
        pretrained=task.pretrained,
        trainable=final.trainable,
        recipe=final.train,
        learning_rate=final.train.learning_rate,
        tuned=tuned.parameters,
        tuning_images=tuned.images_budget,
        epochs=len(fitted.progress.history),
        best_epoch=fitted.best_row.epoch,
        images_seen=fitted.images_seen,
        micro_batch_size=fitted.progress.micro_batch_size,
        cached_prefix=fitted.features is not None,
        stopped_early=fitted.stopped_early,
        seed=task.seed,
        runtime=task.runtime_identity,
        versions=identity.library_versions(),
        data_digests={"train": task.train.digest, "val": task.val.digest},
        fingerprint=fingerprint,
    ).write(out / CARD)
