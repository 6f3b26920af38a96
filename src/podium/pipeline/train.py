"""Verb train@m: fit one model with the recipe and the tuned values; killed and resumed, it ends with the same bytes."""

from pathlib import Path

from torch import nn

from podium.core import identity
from podium.core.config.contender import Contender
from podium.core.config.recipe import Train
from podium.core.config.runtime import Runtime
from podium.core.files import replacing_folder, sha256_file
from podium.core.layout import Layout
from podium.core.records.training import EpochResult, ModelCard, TuningResult
from podium.core.times import add_times
from podium.models import zoo
from podium.models.checkpoint import Checkpoint, claimed, discard
from podium.models.engine import EpochDone, Fitted, fit
from podium.models.history import epoch_line, write_history
from podium.models.inference import CARD, WEIGHTS
from podium.models.recipe import with_values
from podium.models.task import Task, open_task
from podium.models.watcher import Ending, Watcher, WatcherFactory
from podium.models.weights import save_weights

HISTORY = "history.csv"


def run(
    layout: Layout,
    model: str,
    *,
    contender: Contender,
    runtime: Runtime,
    seed: int,
    watch: WatcherFactory,
) -> None:
    """Trains a model and writes `weights.safetensors`, `model.json` and `history.csv`, all or none.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        contender: its complete section, before tuned values.
        runtime: how to compute.
        seed: of the experiment.
        watch: makes the watcher of this run.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit, or training diverged.
    """
    task = open_task(layout, model, contender, runtime, seed)
    tuned = TuningResult.read(layout.tuning(model) / "best.json")
    final = with_values(contender, tuned.parameters)
    fingerprint = identity.fingerprint(
        {
            **task.identity(layout, "train"),
            "tuned": tuned.parameters,
        }
    )
    module = task.build(final)
    watcher = watch("train", model, fingerprint)
    ending: Ending = "failed"
    folder = layout.checkpoint(fingerprint)
    try:
        with claimed(folder):
            fitted = fit(
                task.job(f"train {model}", final), module, _told(watcher, model, final.train), Checkpoint(folder)
            )
            with replacing_folder(layout.model(model)) as out:
                _write(out, task, module, fitted, final=final, tuned=tuned, fingerprint=fingerprint)
            seconds = fitted.progress.seconds
            add_times(layout, fingerprint, {"seconds_per_epoch": sum(seconds) / len(seconds)})
            discard(folder)
        ending = "finished"
    finally:
        watcher.close(ending)


def _told(watcher: Watcher, model: str, recipe: Train) -> EpochDone:
    def epoch_done(row: EpochResult, seconds: float) -> None:
        print(f"train {model}: {epoch_line(row, recipe.epochs, seconds)}", flush=True)
        watcher.epoch(row)

    return epoch_done


def _write(
    out: Path, task: Task, module: nn.Module, fitted: Fitted, *, final: Contender, tuned: TuningResult, fingerprint: str
) -> None:
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
        micro_batch_size=final.train.micro_batch_size or final.train.batch_size,
        cached_prefix=False,
        stopped_early=fitted.stopped_early,
        seed=task.seed,
        runtime=identity.runtime_identity(task.runtime),
        versions=identity.library_versions(),
        data_digests={"train": task.train.digest, "val": task.val.digest},
        fingerprint=fingerprint,
    ).write(out / CARD)
