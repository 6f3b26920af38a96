"""The one training loop: every trial of a study and every final training run of a network go through `fit`.

Same inputs, same bytes: the order of an epoch, the augmentation and the dropout of a step are pure functions of
(seed, epoch) and (seed, step), and all else that a step needs (weights, moments, their average, losses so far) is in
the checkpoint. So a run that was killed anywhere and resumed ends with the bytes of an uninterrupted one.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from podium.console.progress import Advance, show_progress
from podium.core.errors import Diverged
from podium.data.tensors import standalone
from podium.models import distributed
from podium.models.batch_loader import Batch, BatchLoader
from podium.models.callbacks import Callback
from podium.models.checkpoint import Checkpoint, FitResult, Progress
from podium.models.compute import memory_named_in_errors
from podium.models.job import Job
from podium.models.learner import Learner, select
from podium.models.optimisers import Schedule, should_stop
from podium.models.probe import fit_probe
from podium.records.training import EpochResult

_LOG = logging.getLogger(__name__)


def fit(
    job: Job, module: nn.Module, callbacks: Sequence[Callback] = (), checkpoint: Checkpoint | None = None
) -> FitResult:
    """Trains a network, or computes the head of a probe.

    Args:
        job: what is fitted.
        module: with its first weights; changed in place.
        callbacks: told of each epoch, after its checkpoint is safe.
        checkpoint: where to save each epoch and to go on from; None for a run that is not resumed.

    Raises:
        Diverged: a loss is infinite or not a number; the message names the step and the images of its batch.
        ModelError: there is not enough memory, even for a single image at once; or a class has no image to learn from.
        ParamsError: the recipe cannot be followed.
        DataError: the disk is full.
    """
    key = "train.batch_size" if distributed.world_size() == 1 else "train.micro_batch_size"
    with torch.random.fork_rng(job.compute.generator_devices), memory_named_in_errors(key):
        return (
            fit_probe(job, module, callbacks)
            if job.config.is_probe
            else _Run(job, module, checkpoint).finish(callbacks)
        )


class _Run:
    """One run: what learns, what it is given, how far it is."""

    def __init__(self, job: Job, module: nn.Module, checkpoint: Checkpoint | None) -> None:
        self._job = job
        self._checkpoint = checkpoint
        self._learner = Learner(job, module)
        self._loader = BatchLoader(job, self._learner.plan.frozen)
        self._schedule = Schedule(job.recipe, self._loader.steps_per_epoch)
        self._progress, saved = checkpoint.restore() if checkpoint else (Progress(), {})
        self._best = select("best/", saved)
        if saved:
            self._learner.load(saved)
            self._best = self._best or standalone(self._learner.best_module.state_dict())
            self._learner.limit.images = self._progress.micro_batch_size
            done = len(self._progress.history)
            _LOG.info(f"{job.label}: resumes after epoch {done} of {job.recipe.epochs}")

    def finish(self, callbacks: Sequence[Callback]) -> FitResult:
        """Trains the epochs that are missing."""
        job, recipe = self._job, self._job.recipe
        steps = self._schedule.steps_per_epoch
        done = len(self._progress.history) * steps
        with show_progress(job.label, recipe.epochs * steps, unit="steps", done=done, transient=True) as advance:
            while len(self._progress.history) < recipe.epochs and not self._stops_early():
                started = time.perf_counter()
                row = self._epoch(self._progress.val_losses, advance)
                if row.monitored < min(self._progress.monitored, default=math.inf):
                    self._best = standalone(self._learner.best_module.state_dict())
                seconds = time.perf_counter() - started
                self._progress = Progress(
                    history=(*self._progress.history, row),
                    seconds=(*self._progress.seconds, seconds),
                    processes=(*self._progress.processes, distributed.world_size()),
                    micro_batch_size=self._learner.limit.images,
                )
                self._save()
                for callback in callbacks:
                    callback.on_epoch_end(row, seconds)
        return FitResult(
            best=standalone({**self._learner.module.state_dict(), **self._best}),
            progress=self._progress,
            activations=self._loader.activations.entry if self._loader.activations else None,
        )

    def _stops_early(self) -> bool:
        return should_stop(self._progress.monitored, self._job.recipe, self._learner.all_learn_from)

    def _save(self) -> None:
        """Saves all that is needed to go on; the best weights only where they are not the present ones."""
        if self._checkpoint:
            newest = self._progress.best.epoch == len(self._progress.history)
            best = {} if newest else {f"best/{name}": tensor for name, tensor in self._best.items()}
            self._checkpoint.save(self._progress, {**self._learner.state(), **best})

    def _epoch(self, val_losses: list[float], advance: Advance) -> EpochResult:
        """Trains one epoch, after those of `val_losses`, and validates it.

        Training figures are of the batches as they were learned (augmented, weights changing), validation figures of
        the weights after the last step, or of their average.
        """
        epoch, learner = len(val_losses), self._learner
        self._loader.prepare(epoch)
        learner.begin(epoch)
        figures, rate = _StepMetrics(self._job, epoch), 0.0
        for batch in self._loader.train(epoch):
            rate = self._schedule.rate(batch.step, val_losses)
            figures.add(batch, rate, learner.step(batch, rate))
            advance(1)
        train_loss, train_accuracy = figures.means()
        val_loss, val_accuracy, *objective = self._validate()
        step = (epoch + 1) * self._schedule.steps_per_epoch
        for loss in (val_loss, *objective):
            if not math.isfinite(loss):
                raise _divergence(self._job, f"validation loss is {loss} after epoch {epoch + 1} (step {step})")
        return EpochResult(
            epoch=epoch + 1,
            step=step,
            learning_rate=rate,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            val_objective=objective[0] if objective else None,
        )

    def _validate(self) -> list[float]:
        """Mean cross entropy in nats (whatever is minimised, so that recipes can be compared) and accuracy.

        Where what is minimised is monitored, its mean is third.
        """
        learner, job = self._learner, self._job
        learner.sync_buffers()
        figures = sum(map(learner.validate_batch, self._loader.val()), start=learner.no_figures())
        return [total / len(job.val) for total in distributed.all_reduce(figures).tolist()]


class _StepMetrics:
    """Losses and hits of the steps of an epoch. On CUDA they are read one step late, so that Python need not wait."""

    def __init__(self, job: Job, epoch: int) -> None:
        self._job, self._epoch = job, epoch
        self._late = 1 if job.compute.device.type == "cuda" else 0
        self._waiting: list[tuple[int, NDArray[np.int64], float, Callable[[], list[float]]]] = []
        self._sums = [0.0, 0.0]

    def add(self, batch: Batch, rate: float, figures: torch.Tensor) -> None:
        """Takes the mean loss and the share of right images of a step.

        Raises:
            Diverged: the loss of this step, or of the one before, is no number.
        """
        self._waiting.append((batch.step, batch.rows, rate, self._job.compute.copy_to_host(figures)))
        self._read(self._late)

    def means(self) -> tuple[float, float]:
        """Mean loss and accuracy over all images; raises as `add` does."""
        self._read(0)
        loss, right = (total / len(self._job.train) for total in self._sums)
        return loss, right

    def _read(self, left: int) -> None:
        while len(self._waiting) > left:
            step, rows, rate, arrived = self._waiting.pop(0)
            loss, right = arrived()
            if not math.isfinite(loss):
                where = f"step {step + 1} (epoch {self._epoch + 1}, learning rate {rate:.3g})"
                names = ", ".join(self._job.train.index["image_id"].iloc[rows])
                raise _divergence(self._job, f"loss is {loss} at {where}, images {names}")
            self._sums = [self._sums[0] + loss * len(rows), self._sums[1] + right * len(rows)]


def _divergence(job: Job, what: str) -> Diverged:
    return Diverged(f"{job.label}: the {what}: lower train.learning_rate or lengthen train.warmup_epochs")
