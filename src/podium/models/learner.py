"""What changes while a network learns: weights, moments, their average. One optimiser step, one batch of validation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from podium.core.errors import ModelError
from podium.core.vision import timm
from podium.data import loader
from podium.data.randomness import number
from podium.models import distributed, optimisers
from podium.models.batch_loader import Batch
from podium.models.compute import Room, keep_memory
from podium.models.freezing import Plan
from podium.models.job import Job
from podium.models.losses import LossFunction
from podium.models.optimisers import Average

AUXILIARY = 0.3
"""Weight of the loss of each auxiliary classifier (Szegedy et al. 2015, section 5)."""


_BATCH_NORM = nn.modules.batchnorm._BatchNorm  # the base of all its kinds; torch has no public name for it


class Learner:
    """A network while it learns.

    Attributes:
        module: the whole network.
        plan: what of it is frozen: a prefix that never changes, and a tail that learns, now or later.
        room: how many images are computed at once.
        ready_made: batches hold the prefix's activations, so that the tail alone is computed; set once they do.
    """

    def __init__(self, job: Job, module: nn.Module) -> None:
        """Places a network on the device.

        Args:
            job: recipe, runtime, seed.
            module: with its first weights; changed in place.

        Raises:
            ModelError: the network cannot be split where `trainable` wants it, or learns from more images at a time.
            ParamsError: the loss does not fit the classes.
        """
        recipe, alone = job.recipe, distributed.world_size() == 1
        if job.compute.device.type == "cpu":
            keep_memory()
        module = job.compute.place(module)
        if not alone and job.compute.device.type == "cuda":
            module = timm.layers.convert_sync_batchnorm(module)
        self.module = module
        self.plan = Plan.of(module, job.contender, job.train.preprocessing.image_size)
        least = 2 if any(isinstance(part, _BATCH_NORM) for part in self.plan.tail.modules()) else 1
        wanted = min(recipe.micro_batch_size or recipe.batch_size, recipe.batch_size)
        if wanted < least:
            raise ModelError(
                f"{job.label}: batch normalisation learns from two images or more at a time, but train.batch_size or "
                f"train.micro_batch_size is {wanted}: raise it"
            )
        self.room = Room(job.label, wanted, recipe.batch_size, least=least, may_halve=alone)
        self._room_to_judge = Room(job.label, wanted, recipe.batch_size, may_halve=alone)
        self.ready_made = False
        self._job = job
        self._loss = LossFunction.of(recipe.loss, job.train.labels, job.coarse_classes, job.compute.device)
        self._optimizer = optimisers.create_optimizer(self.plan.tail, recipe, self.plan.depth)
        self._average = Average(self.plan.tail, recipe.ema_decay) if recipe.ema_decay is not None else None
        self._judged = job.compute.compile(self.best_guess)
        self._ddp: DistributedDataParallel | None = None
        self._learning = job.compute.compile(self.plan.tail)
        self._buffers = list(self.plan.tail.buffers())
        self._buffers_before = [buffer.clone() for buffer in self._buffers]

    @property
    def best_guess(self) -> nn.Module:
        """What is validated and kept of the tail: the average of its weights where there is one."""
        return self.plan.tail if self._average is None else self._average.module

    @property
    def all_learn_from(self) -> int:
        """The first epoch, from 0, in which all of the tail learns: no stage waits to be unfrozen any more."""
        return (self.plan.unfreeze_every or 0) * max(self.plan.depth.values(), default=0)

    def state(self) -> dict[str, torch.Tensor]:
        """All that learning has changed, by name; tensors are not copies."""
        kept = {"tail": self.plan.tail.state_dict(), "optimiser": optimisers.state(self._optimizer)}
        if self._average is not None:
            kept["average"] = self._average.state()
        return {f"{part}/{name}": tensor for part, tensors in kept.items() for name, tensor in tensors.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Goes on from a saved state.

        Args:
            state: what `state` gave for the same job.
        """
        self.plan.tail.load_state_dict(below("tail/", state))
        optimisers.restore(self._optimizer, below("optimiser/", state))
        if self._average is not None:
            self._average.load(below("average/", state))

    def begin(self, epoch: int) -> None:
        """Gets ready to learn what this epoch lets learn; the rest stays in evaluation mode."""
        changed = self.plan.learn(epoch)
        device = self._job.compute.device
        if distributed.world_size() > 1 and (changed or self._ddp is None):
            devices = [device] if device.type == "cuda" else None
            self._ddp = DistributedDataParallel(self.plan.tail, device_ids=devices, forward_sync_buffers=False)
            self._learning = self._job.compute.compile(self._ddp)

    def step(self, batch: Batch, rate: float) -> torch.Tensor:
        """One optimiser step.

        Args:
            batch: this process's part.
            rate: of learning, before the scale of each group.

        Returns:
            float64, shape (2,), on the device: mean loss of the whole batch, and the share of images that were right.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        _copy(self._buffers, self._buffers_before)
        figures = self.room.within(
            self._largest_part(batch),
            lambda at_once: self._gradient(batch, at_once),
            undo=lambda: _copy(self._buffers_before, self._buffers),
        )
        if self._job.recipe.clip_norm is not None:
            clip_grad_norm_(self.plan.tail.parameters(), self._job.recipe.clip_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self.plan.tail)
        return distributed.all_reduce(figures)

    def judge(self, batch: Batch) -> torch.Tensor:
        """Measures validation images, in evaluation mode.

        Args:
            batch: of validation.

        Returns:
            float64, shape (2,): sum of plain cross entropies (nats), and how many images were right.
        """

        def measured(at_once: int) -> torch.Tensor:
            figures = torch.zeros(2, dtype=torch.float64, device=batch.x.device)
            for begin, end in loader.micro_batches(len(batch), at_once):
                logits = self._outputs(self._judged, batch.x[begin:end])[0]
                losses = F.cross_entropy(logits, batch.labels[begin:end], reduction="none")
                figures += _sums(losses, logits.argmax(1) == batch.labels[begin:end])
            return figures

        with torch.inference_mode():
            return self._room_to_judge.within(len(batch), measured)

    def agree(self) -> None:
        """Ends an epoch: the same buffers in all processes, and evaluation mode."""
        for module in dict.fromkeys([self.plan.tail, self.best_guess]):  # in the same order in all processes
            distributed.average_buffers(module)
        self.best_guess.eval()

    def _gradient(self, batch: Batch, at_once: int) -> torch.Tensor:
        """The gradient of the mean loss of the whole batch, added up over micro-batches and processes."""
        job = self._job
        torch.manual_seed(number(job.seed, "dropout", batch.step * distributed.world_size() + distributed.rank()))
        self._optimizer.zero_grad()
        images = len(batch.rows)
        figures = torch.zeros(2, dtype=torch.float64, device=batch.x.device)
        pieces = self._pieces(batch, at_once)
        for position, piece in enumerate(pieces, 1):
            with self._kept_here(position < len(pieces)):
                logits, *auxiliary = self._outputs(self._learning, piece.x)
                losses = self._losses(logits, piece)
                for other in auxiliary:
                    losses = losses + AUXILIARY * self._losses(other, piece)
                torch.autograd.backward(losses.sum() * (distributed.world_size() / images))  # DDP divides by its size
            right = logits.argmax(1) == piece.labels
            figures += _sums(losses.detach(), right if piece.counts is None else right * piece.counts)
        return figures / images

    def _largest_part(self, batch: Batch) -> int:
        """Images of the batch in the process that has the most of them."""
        return max(len(batch), -(-len(batch.rows) // distributed.world_size()))

    def _pieces(self, batch: Batch, at_once: int) -> list[Batch]:
        """The micro-batches: every image counts once, also one that is in two of them.

        All processes have as many, because those of SyncBatchNorm wait for each other in each.
        """
        most = -(-self._largest_part(batch) // at_once)
        pieces, counted = [], 0
        for begin, end in loader.micro_batches(len(batch), at_once, self.room.least, most):
            piece = batch.piece(begin, end)
            if begin < counted:
                counts = torch.ones_like(piece.labels, dtype=torch.float32) if piece.counts is None else piece.counts
                again = torch.arange(begin, end, device=counts.device) < counted
                piece = replace(piece, counts=counts.masked_fill(again, 0))
            pieces.append(piece)
            counted = end
        return pieces

    def _losses(self, logits: torch.Tensor, piece: Batch) -> torch.Tensor:
        """The loss of each image: of its label, or of two labels by their shares."""
        losses = self._loss(logits, piece.labels)
        if piece.others is not None and piece.share is not None:
            losses = piece.share * losses + (1 - piece.share) * self._loss(logits, piece.others)
        return losses if piece.counts is None else losses * piece.counts

    def _outputs(self, network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits, float32, first those of the network and then those of auxiliary classifiers."""
        with self._job.compute.autocast():
            if self.plan.prefix is not None and not self.ready_made:
                with torch.no_grad():
                    x = self.plan.prefix(x)
            outputs = network(x)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.float() for output in several if output is not None]

    @contextmanager
    def _kept_here(self, more_to_come: bool) -> Iterator[None]:
        """While more of a batch is to come, processes keep their gradients to themselves."""
        if self._ddp is not None and more_to_come:
            with self._ddp.no_sync():
                yield
        else:
            yield


def below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _sums(losses: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.stack([losses.sum(dtype=torch.float64), right.sum(dtype=torch.float64)])


def _copy(tensors: list[torch.Tensor], to: list[torch.Tensor]) -> None:
    if tensors:
        torch._foreach_copy_(to, tensors)  # one kernel, not one for each layer
