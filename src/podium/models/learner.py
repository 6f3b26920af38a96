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
from podium.models.compute import MicroBatchLimit, keep_memory
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
        plan: what of it is frozen: a frozen part that never changes, and a trainable part that learns, now or later.
        limit: how many images are computed at once.
        given_activations: set once batches hold those of the frozen blocks: the trainable part alone is computed.
    """

    def __init__(self, job: Job, module: nn.Module) -> None:
        """Places a network with its first weights on the device; it is changed in place.

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
        self.plan = Plan.of(module, job.config, job.train.preprocessing.image_size)
        least = 2 if any(isinstance(part, _BATCH_NORM) for part in self.plan.trainable.modules()) else 1
        wanted = min(recipe.micro_batch_size or recipe.batch_size, recipe.batch_size)
        if wanted < least:
            raise ModelError(
                f"{job.label}: batch normalisation learns from two images or more at a time, but train.batch_size or "
                f"train.micro_batch_size is {wanted}: raise it"
            )
        self.limit = MicroBatchLimit(job.label, wanted, recipe.batch_size, least=least, may_halve=alone)
        self._val_limit = MicroBatchLimit(job.label, wanted, recipe.batch_size, may_halve=alone)
        self.given_activations = False
        self._job = job
        self._loss = LossFunction.of(recipe.loss, job.train.labels, job.coarse_classes, job.compute.device)
        self._optimizer = optimisers.create_optimizer(self.plan.trainable, recipe, self.plan.depth)
        self._average = Average(self.plan.trainable, recipe.ema_decay) if recipe.ema_decay is not None else None
        self._compiled_best = job.compute.compile(self.best_module)
        self._ddp: DistributedDataParallel | None = None
        self._compiled = job.compute.compile(self.plan.trainable)
        self._buffers = list(self.plan.trainable.buffers())
        self._buffers_before = [buffer.clone() for buffer in self._buffers]

    @property
    def best_module(self) -> nn.Module:
        """What is validated and kept of the trainable part: the average of its weights where there is one."""
        return self.plan.trainable if self._average is None else self._average.module

    @property
    def all_learn_from(self) -> int:
        """The first epoch, from 0, in which all that may learn does: no stage waits to be unfrozen any more."""
        return (self.plan.unfreeze_every or 0) * max(self.plan.depth.values(), default=0)

    def state(self) -> dict[str, torch.Tensor]:
        """All that learning has changed, by name; tensors are not copies."""
        kept = {"trainable": self.plan.trainable.state_dict(), "optimiser": optimisers.state(self._optimizer)}
        if self._average is not None:
            kept["average"] = self._average.state_dict()
        return {f"{part}/{name}": tensor for part, tensors in kept.items() for name, tensor in tensors.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Goes on from what `state` gave for the same job."""
        self.plan.trainable.load_state_dict(select("trainable/", state))
        optimisers.restore(self._optimizer, select("optimiser/", state))
        if self._average is not None:
            self._average.load_state_dict(select("average/", state))

    def begin(self, epoch: int) -> None:
        """Gets ready to learn what this epoch lets learn; the rest stays in evaluation mode."""
        changed = self.plan.learn(epoch)
        device = self._job.compute.device
        if distributed.world_size() > 1 and (changed or self._ddp is None):
            devices = [device] if device.type == "cuda" else None
            self._ddp = DistributedDataParallel(self.plan.trainable, device_ids=devices, forward_sync_buffers=False)
            self._compiled = self._job.compute.compile(self._ddp)

    def step(self, batch: Batch, rate: float) -> torch.Tensor:
        """One optimiser step with this process's part of a batch, at a rate before the scale of each group.

        Returns:
            float64, shape (2,), on the device: mean loss of the whole batch, and the share of images that were right.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        _copy(self._buffers, self._buffers_before)
        figures = self.limit.run_within(
            self._largest_share(batch),
            lambda at_once: self._backward(batch, at_once),
            undo=lambda: _copy(self._buffers_before, self._buffers),
        )
        if self._job.recipe.clip_norm is not None:
            clip_grad_norm_(self.plan.trainable.parameters(), self._job.recipe.clip_norm)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.plan.trainable)
        return distributed.all_reduce(figures)

    def validate_batch(self, batch: Batch) -> torch.Tensor:
        """Measures validation images, in evaluation mode.

        Returns:
            float64, shape (2,): sum of plain cross entropies (nats), and how many images were right.
        """

        def measured(at_once: int) -> torch.Tensor:
            figures = torch.zeros(2, dtype=torch.float64, device=batch.x.device)
            for begin, end in loader.micro_batches(len(batch), at_once):
                logits = self._outputs(self._compiled_best, batch.x[begin:end])[0]
                losses = F.cross_entropy(logits, batch.labels[begin:end], reduction="none")
                figures += _sums(losses, logits.argmax(1) == batch.labels[begin:end])
            return figures

        with torch.inference_mode():
            return self._val_limit.run_within(len(batch), measured)

    def sync_buffers(self) -> None:
        """Ends an epoch: the same buffers in all processes, and evaluation mode."""
        for module in dict.fromkeys([self.plan.trainable, self.best_module]):  # in the same order in all processes
            distributed.average_buffers(module)
        self.best_module.eval()

    def _backward(self, batch: Batch, at_once: int) -> torch.Tensor:
        """The gradient of the mean loss of the whole batch, added up over micro-batches and processes."""
        job = self._job
        torch.manual_seed(number(job.seed, "dropout", batch.step * distributed.world_size() + distributed.rank()))
        self._optimizer.zero_grad()
        images = len(batch.rows)
        figures = torch.zeros(2, dtype=torch.float64, device=batch.x.device)
        micro_batches = self._micro_batches(batch, at_once)
        for position, micro_batch in enumerate(micro_batches, 1):
            with self._no_sync(position < len(micro_batches)):
                logits, *auxiliary = self._outputs(self._compiled, micro_batch.x)
                losses = self._losses(logits, micro_batch)
                for other in auxiliary:
                    losses = losses + AUXILIARY * self._losses(other, micro_batch)
                torch.autograd.backward(losses.sum() * (distributed.world_size() / images))  # DDP divides by its size
            right = logits.argmax(1) == micro_batch.labels
            figures += _sums(losses.detach(), right if micro_batch.counts is None else right * micro_batch.counts)
        return figures / images

    def _largest_share(self, batch: Batch) -> int:
        """Images of the batch in the process that has the most of them."""
        return max(len(batch), -(-len(batch.rows) // distributed.world_size()))

    def _micro_batches(self, batch: Batch, at_once: int) -> list[Batch]:
        """The micro-batches: every image counts once, also one that is in two of them.

        All processes have as many, because those of SyncBatchNorm wait for each other in each.
        """
        most = -(-self._largest_share(batch) // at_once)
        micro_batches, counted = [], 0
        for begin, end in loader.micro_batches(len(batch), at_once, self.limit.least, most):
            micro_batch = batch.micro_batch(begin, end)
            if begin < counted:
                counts = (
                    torch.ones_like(micro_batch.labels, dtype=torch.float32)
                    if micro_batch.counts is None
                    else micro_batch.counts
                )
                again = torch.arange(begin, end, device=counts.device) < counted
                micro_batch = replace(micro_batch, counts=counts.masked_fill(again, 0))
            micro_batches.append(micro_batch)
            counted = end
        return micro_batches

    def _losses(self, logits: torch.Tensor, micro_batch: Batch) -> torch.Tensor:
        """The loss of each image: of its label, or of two labels by their shares."""
        losses = self._loss(logits, micro_batch.labels)
        if micro_batch.others is not None and micro_batch.share is not None:
            losses = micro_batch.share * losses + (1 - micro_batch.share) * self._loss(logits, micro_batch.others)
        return losses if micro_batch.counts is None else losses * micro_batch.counts

    def _outputs(self, network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits, float32, first those of the network and then those of auxiliary classifiers."""
        with self._job.compute.autocast():
            if self.plan.frozen is not None and not self.given_activations:
                with torch.no_grad():
                    x = self.plan.frozen(x)
            outputs = network(x)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.float() for output in several if output is not None]

    @contextmanager
    def _no_sync(self, more_to_come: bool) -> Iterator[None]:
        """While more of a batch is to come, processes keep their gradients to themselves."""
        if self._ddp is not None and more_to_come:
            with self._ddp.no_sync():
                yield
        else:
            yield


def select(start: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _sums(losses: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.stack([losses.sum(dtype=torch.float64), right.sum(dtype=torch.float64)])


def _copy(tensors: list[torch.Tensor], to: list[torch.Tensor]) -> None:
    if tensors:
        torch._foreach_copy_(to, tensors)  # one kernel, not one for each layer
