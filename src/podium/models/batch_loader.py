"""What a network is given, batch by batch: pixels changed and normalised, or the activations of its frozen part.

Images travel to the device as bytes, once a step; a thread reads those of the next step meanwhile. Of several
processes each reads its own part of a batch, or all of it where images of a batch are mixed with each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from podium.data import loader
from podium.data.augment.batch import apply
from podium.data.augment.parameters import Augmentation, draw
from podium.data.randomness import generator
from podium.models import distributed
from podium.models.activations import Activations
from podium.models.job import Job

_LEAST = 2  # batch normalisation has no variance of a single value


@dataclass(frozen=True)
class Batch:
    """This process's part of the images of one step.

    Attributes:
        step: number of the step, from 0 over the whole run; of validation: of the batch.
        rows: int64, shape (N,): row numbers of the whole batch, all processes' parts.
        x: float32, shape (B, 3, H, W), or activations of a frozen part, on the device.
        labels: int64, shape (B,), class numbers, on the device.
        counts: float32, shape (B,): 1, or 0 for an image that only fills up a part too small to learn from; None = all.
        others: int64, shape (B,): label of the image mixed in; None where none is.
        share: float32, shape (B,): weight of the own label; None as above.
    """

    step: int
    rows: NDArray[np.int64]
    x: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor | None = None
    others: torch.Tensor | None = None
    share: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def micro_batches(self, at_once: int, least: int = 1, number: int = 0) -> list["Batch"]:
        """The parts that `loader.micro_batches` makes of it; an image that is in two of them counts once."""
        parts, counted = [], 0
        for begin, end in loader.micro_batches(len(self), at_once, least, number):
            cut = {name: value[begin:end] for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
            part = replace(self, **cut)  # type: ignore[arg-type]  # these fields are tensors
            if begin < counted:
                counts = torch.ones_like(part.labels, dtype=torch.float32) if part.counts is None else part.counts
                again = torch.arange(begin, end, device=counts.device) < counted
                part = replace(part, counts=counts.masked_fill(again, 0))
            parts.append(part)
            counted = end
        return parts


class BatchLoader:
    """Gives the batches of a job, from the activations of its frozen blocks where it has views."""

    def __init__(self, job: Job, frozen: nn.Sequential | None) -> None:
        """`frozen` is `Plan.frozen`, on the device."""
        self.job = job
        self.activations = Activations(job, frozen) if frozen is not None and job.recipe.views is not None else None

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps, the same for any number of processes."""
        return len(loader.batch_boundaries(len(self.job.train), self.job.recipe.batch_size))

    def prepare(self, epoch: int) -> None:
        """Has what an epoch needs of the frozen part kept on disk, by the first process for all."""
        if self.activations is not None:
            if distributed.is_main_process():
                self.activations.prepare(epoch)
            distributed.barrier()

    def train(self, epoch: int) -> Iterator[Batch]:
        """The steps of an epoch (from 0) in order, images changed as the step or the epoch's view says."""
        job, recipe = self.job, self.job.recipe
        labels = job.train.labels
        order = loader.epoch_order(labels, recipe.sampling, job.seed, epoch)
        steps = [order[begin:end] for begin, end in loader.batch_boundaries(len(order), recipe.batch_size)]
        inputs: Iterator[tuple[torch.Tensor, Augmentation | None]] = self._changed(steps, epoch)
        if self.activations:
            kept = self.activations
            inputs = ((kept.train(rows[self._part(len(rows))[0]], epoch), None) for rows in steps)
        for number, (rows, (x, change)) in enumerate(zip(steps, inputs, strict=True)):
            step = epoch * len(steps) + number
            mine, counts = self._part(len(rows))
            others = share = None
            if change is not None and change.mixes:
                others = self._on_device(labels[rows[change.partner[mine]]])
                share = self._on_device(change.share[mine].astype(np.float32))
            yield Batch(step, rows, x, self._on_device(labels[rows[mine]]), counts, others, share)

    def val(self) -> Iterator[Batch]:
        """This process's part of the validation images, unchanged."""
        job = self.job
        own = distributed.own_part(len(job.val))
        parts = [own[begin:end] for begin, end in loader.batch_boundaries(len(own), job.recipe.batch_size)]
        if self.activations:
            inputs = (self.activations.val(rows) for rows in parts)
        else:
            read = loader.prefetch(lambda rows: job.compute.pin(job.val.images(rows)), parts)
            pixels = (job.compute.copy_to_device(pinned) for pinned in read)
            inputs = (job.compute.place_batch(apply(each, None, job.mean, job.std)) for each in pixels)
        for number, (rows, x) in enumerate(zip(parts, inputs, strict=True)):
            yield Batch(number, rows, x, self._on_device(job.val.labels[rows]))

    def _changed(
        self, steps: list[NDArray[np.int64]], epoch: int
    ) -> Iterator[tuple[torch.Tensor, Augmentation | None]]:
        """Images of this process's part of each step, as the network takes them."""
        job, recipe = self.job, self.job.recipe
        size = job.train.preprocessing.image_size
        whole = bool(recipe.augment.mixup or recipe.augment.cutmix)
        view = None if recipe.views is None else job.draw_view(epoch % recipe.views)

        def read(rows: NDArray[np.int64]) -> torch.Tensor:
            return job.compute.pin(job.train.images(rows if whole else rows[self._part(len(rows))[0]]))

        for number, (rows, pinned) in enumerate(zip(steps, loader.prefetch(read, steps), strict=True)):
            if view is not None:
                change = view.take(rows)
            else:
                random = generator(job.seed, "augment", epoch * len(steps) + number)
                change = draw(recipe.augment, random, len(rows), size)
            mine, _ = self._part(len(rows))
            pixels = job.compute.copy_to_device(pinned)
            x = apply(pixels, change if whole else change.take(mine), job.mean, job.std)
            yield job.compute.place_batch(x[mine] if whole and distributed.world_size() > 1 else x), change

    def _part(self, count: int) -> tuple[NDArray[np.int64], torch.Tensor | None]:
        """Positions of this process's images in a batch, and which of them count."""
        own = distributed.own_part(count)
        missing = min(_LEAST, count) - len(own)
        if missing <= 0:
            return own, None
        counts = np.repeat([1, 0], [len(own), missing]).astype(np.float32)
        return np.concatenate([own, np.arange(missing)]), self._on_device(counts)

    def _on_device(self, values: NDArray[np.generic]) -> torch.Tensor:
        return self.job.compute.copy_to_device(self.job.compute.pin(values))
