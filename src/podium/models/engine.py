"""The one training loop: every trial of a study and every final training run go through `fit`.

Same inputs, same bytes: the order of an epoch, the augmentation and the dropout of a step are pure functions of
(seed, epoch) and (seed, step), and all else that a step needs (weights, moments, losses so far) is in the checkpoint.
So a run that was killed anywhere and resumed ends with the bytes of an uninterrupted one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn, optim
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from podium.core.config.recipe import Train
from podium.core.errors import ModelError
from podium.core.progress import Advance, show_progress
from podium.core.records.training import EpochResult
from podium.data import augment, loader
from podium.data.augment import Triple
from podium.data.randomness import number
from podium.data.shards import PreparedSplit
from podium.models.checkpoint import Checkpoint, Progress
from podium.models.compute import Compute, memory_named_in_errors
from podium.models.schedules import Schedule, optimiser, should_stop
from podium.models.weights import standalone


class Diverged(ModelError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Job:
    """What is fitted and how.

    Attributes:
        label: for people, e.g. `train resnet18`.
        train: images to learn from.
        val: images that pick the best epoch.
        recipe: with tuned values applied.
        mean: normalisation per channel.
        std: normalisation per channel.
        compute: device, dtype, layout.
        seed: of the experiment.
    """

    label: str
    train: PreparedSplit
    val: PreparedSplit
    recipe: Train
    mean: Triple
    std: Triple
    compute: Compute
    seed: int


@dataclass(frozen=True)
class Fitted:
    """The outcome: weights of the epoch with the lowest validation loss (the first of equals)."""

    best: dict[str, torch.Tensor]
    best_row: EpochResult
    progress: Progress
    images_seen: int
    stopped_early: bool


EpochDone = Callable[[EpochResult, float], None]
"""(result, measured seconds); it may raise to end the run."""


@memory_named_in_errors("train.batch_size")
def fit(job: Job, module: nn.Module, after_epoch: EpochDone, checkpoint: Checkpoint | None = None) -> Fitted:
    """Trains a network.

    Args:
        job: data, recipe, runtime, seed.
        module: with its first weights; changed in place.
        after_epoch: told of each epoch, after its checkpoint is safe.
        checkpoint: where to save each epoch and to go on from; None for a run that is not resumed.

    Returns:
        Best weights and history.

    Raises:
        Diverged: a loss is infinite or not a number; the message names the step.
        ModelError: there is not enough memory.
        ParamsError: the recipe cannot be followed.
        DataError: the disk is full.
    """
    recipe = job.recipe
    schedule = Schedule(recipe, len(loader.boundaries(len(job.train), recipe.batch_size)))
    module = job.compute.place(module)
    optimizer = optimiser(module, recipe)
    progress, best = checkpoint.restore(module, optimizer) if checkpoint else (Progress(), {})
    if progress.history:
        print(f"{job.label}: resumes after epoch {len(progress.history)} of {recipe.epochs}", flush=True)
    total, done = recipe.epochs * schedule.steps_per_epoch, len(progress.history) * schedule.steps_per_epoch
    with torch.random.fork_rng(), show_progress(job.label, total, unit="steps", done=done, transient=True) as advance:
        learner = _Learner(job, module, optimizer, schedule, advance)
        while len(progress.history) < recipe.epochs and not should_stop(progress.val_losses, recipe):
            started = time.perf_counter()
            row = learner.epoch(progress.val_losses)
            if row.val_loss < min(progress.val_losses, default=math.inf):
                best = standalone(module.state_dict())
            seconds = time.perf_counter() - started
            progress = Progress(history=(*progress.history, row), seconds=(*progress.seconds, seconds))
            if checkpoint:
                checkpoint.save(progress, best, module, optimizer)
            after_epoch(row, seconds)
    return Fitted(
        best=best,
        best_row=min(progress.history, key=lambda row: (row.val_loss, row.epoch)),
        progress=progress,
        images_seen=len(progress.history) * len(job.train),
        stopped_early=len(progress.history) < recipe.epochs,
    )


@dataclass(frozen=True)
class _Learner:
    """What changes while learning: weights, moments, the bar."""

    job: Job
    module: nn.Module
    optimizer: optim.Optimizer
    schedule: Schedule
    advance: Advance

    def epoch(self, val_losses: list[float]) -> EpochResult:
        """Trains one epoch and validates it.

        Args:
            val_losses: of the epochs before it.

        Returns:
            Training figures of the batches as they were learned (augmented, weights changing), validation figures of
            the weights after the last step.
        """
        job, epoch, images = self.job, len(val_losses), len(self.job.train)
        first = epoch * self.schedule.steps_per_epoch
        rows = loader.order(images, job.seed, epoch)
        self.module.train()
        loss_sum, correct, rate = 0.0, 0, 0.0
        for batch in loader.batches(job.train, rows, job.recipe.batch_size, first):
            rate = self.schedule.rate(batch.step, val_losses)
            loss, right = self._step(batch, rate)
            self._check(loss, f"loss is {loss} at step {batch.step + 1} (epoch {epoch + 1}, learning rate {rate:.3g})")
            loss_sum += loss * len(batch.labels)
            correct += right
            self.advance(1)
        val_loss, val_accuracy = validate(job, self.module)
        self._check(val_loss, f"validation loss is {val_loss} after epoch {epoch + 1} (step {batch.step + 1})")
        return EpochResult(
            epoch=epoch + 1,
            step=first + self.schedule.steps_per_epoch,
            learning_rate=rate,
            train_loss=loss_sum / images,
            train_accuracy=correct / images,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
        )

    def _step(self, batch: loader.Batch, rate: float) -> tuple[float, int]:
        """One optimiser step; returns the mean loss of the batch and how many images were right."""
        job = self.job
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        size = job.train.preprocessing.image_size
        change = augment.draw(job.recipe.augment, job.seed, batch.step, len(batch.labels), size)
        torch.manual_seed(number(job.seed, "dropout", batch.step))
        logits, labels = _forward(job, self.module, augment.move(batch.images, change), batch.labels, change)
        loss = F.cross_entropy(logits, labels, label_smoothing=job.recipe.loss.label_smoothing)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.item(), int((logits.argmax(1) == labels).sum())

    def _check(self, loss: float, what: str) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"{self.job.label}: the {what}: lower train.learning_rate or lengthen train.warmup_epochs")


def validate(job: Job, module: nn.Module) -> tuple[float, float]:
    """Measures a network on the validation split, in evaluation mode, without augmentation.

    Args:
        job: data and runtime.
        module: left in evaluation mode.

    Returns:
        Mean cross entropy in nats (without label smoothing, so that recipes can be compared) and accuracy.
    """
    module.eval()
    loss_sum, correct = 0.0, 0
    with torch.inference_mode():
        for batch in loader.batches(job.val, np.arange(len(job.val)), job.recipe.batch_size):
            logits, labels = _forward(job, module, batch.images, batch.labels, None)
            loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
    return loss_sum / len(job.val), correct / len(job.val)


def _forward(
    job: Job,
    module: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    change: augment.Augmentation | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    x = augment.normalise(images, job.mean, job.std, change, job.compute.device)
    with job.compute.autocast():
        logits = module(job.compute.place_batch(x))
    return logits.float(), torch.from_numpy(labels).to(job.compute.device)
