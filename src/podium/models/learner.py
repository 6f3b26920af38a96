"""What changes while a network learns, and what that minimises: one optimiser step, one batch of validation.

Validation is always measured in plain cross entropy, whatever the loss; where the loss is monitored, in it as well.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from podium.config.train import Loss
from podium.core.errors import ModelError, ParamsError
from podium.core.vision import timm
from podium.data.randomness import number
from podium.models import distributed, optimisers
from podium.models.batch_loader import Batch
from podium.models.compute import MicroBatchLimit, keep_memory
from podium.models.distillation import Teacher
from podium.models.freezing import Plan
from podium.models.job import Job
from podium.models.optimisers import Average

AUXILIARY = 0.3
"""Weight of the loss of each auxiliary classifier (Szegedy et al. 2015, section 5)."""

_BATCH_NORM = nn.modules.batchnorm._BatchNorm  # the base of all its kinds; torch has no public name for it
_CERTAIN = torch.finfo(torch.float32).eps  # 1 - p is not taken for less: its powers below 1 have no finite slope at 0


@dataclass(frozen=True)
class LossFunction:
    """The loss of each image, so that images may be weighted, micro-batches added up and images named.

    Attributes:
        loss: the section `train.loss`.
        weights: float32, shape (C,), by class; None where classes count as often as they come.
        siblings: bool, shape (C, C), row y: the classes that share the coarse class of y, only y where it has none;
            None where coarse classes do not count.
    """

    loss: Loss
    weights: torch.Tensor | None
    siblings: torch.Tensor | None

    @classmethod
    def of(
        cls, loss: Loss, labels: NDArray[np.int64], coarse_classes: Sequence[str], device: torch.device | str = "cpu"
    ) -> "LossFunction":
        """Resolves the section against the training images.

        Args:
            loss: the section `train.loss`.
            labels: int64, shape (N,), class numbers of the training images.
            coarse_classes: of each of the C classes; a class with "" is a coarse class of its own.
            device: of the logits.

        Raises:
            ParamsError: `group_weight` is set, but all classes are in one coarse class, or each in one of its own.
        """
        weights = siblings = None
        if loss.class_weights == "balanced":
            weights = torch.from_numpy(balanced_weights(labels, len(coarse_classes)).astype(np.float32)).to(device)
        if loss.group_weight > 0:
            coarse = [group or f"\0{label}" for label, group in enumerate(coarse_classes)]
            if len(set(coarse)) in (1, len(coarse_classes)):
                raise ParamsError(
                    f"train.loss.group_weight is {loss.group_weight:g}, but the {len(coarse_classes)} classes are in "
                    f"{len(set(coarse))} coarse classes, which says no more than the classes do: name coarse classes "
                    "in dataset.groups, or set train.loss.group_weight to 0"
                )
            siblings = torch.tensor([[own == other for other in coarse] for own in coarse], device=device)
        return cls(loss, weights, siblings)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """float32, shape (B,), in nats, from logits (B, C) before softmax and class numbers (B,)."""
        own = LOSSES[self.loss.kind](self, logits, labels)
        if self.siblings is None:
            return own
        # cross entropy of the coarse class, whose probability is the sum over its classes: -log(sum of p_c)
        members = logits.masked_fill(~self.siblings[labels], -torch.inf)
        return own + self.loss.group_weight * (torch.logsumexp(logits, dim=1) - torch.logsumexp(members, dim=1))


def _cross_entropy(spec: LossFunction, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log p_y of the softmax, weighted by class and with smoothed targets."""
    return F.cross_entropy(logits, labels, spec.weights, label_smoothing=spec.loss.label_smoothing, reduction="none")


def _focal(spec: LossFunction, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Focal loss of a softmax: -alpha (1 - p_y)^gamma log p_y (Lin et al. 2017, eq. 4 and 5, of many classes).

    With p the softmax and y the class of the image; class weights, if any, stand beside alpha as the paper's
    alpha_t. With smoothed targets q it is \sum_c q_c -alpha w_c (1 - p_c)^gamma log p_c. Gamma 0 and alpha 1 give
    cross entropy, whatever the weights and the smoothing.
    """
    log_p = F.log_softmax(logits, dim=1)
    doubt = (-torch.expm1(log_p)).clamp_min(_CERTAIN)  # 1 - p without its rounding near p = 1
    each = -spec.loss.alpha * doubt**spec.loss.gamma * log_p
    if spec.weights is not None:
        each = each * spec.weights
    right = each.gather(1, labels[:, None])[:, 0]
    smoothing = spec.loss.label_smoothing
    return right if smoothing == 0 else (1 - smoothing) * right + smoothing * each.mean(dim=1)


def _binary(spec: LossFunction, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One sigmoid a class against all others (Wightman et al. 2021), summed over the classes.

    The target of the image's class is 1 - smoothing + smoothing / C, of every other smoothing / C. The sum, and
    not the mean of the paper, has slopes of sigmoid - target at each logit, as cross entropy has softmax - target:
    learning rates carry over, whatever the number of classes. An image counts as much as its class weighs.
    """
    classes, smoothing = logits.shape[1], spec.loss.label_smoothing
    targets = F.one_hot(labels, classes).to(logits.dtype) * (1 - smoothing) + smoothing / classes
    own = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    return own if spec.weights is None else own * spec.weights[labels]


LOSSES: dict[str, Callable[[LossFunction, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "bce": _binary,
}
"""By `train.loss.kind`: the loss of each image, float32, shape (B,), from logits (B, C) and class numbers (B,)."""


def balanced_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Class weights that make every class count the same: N / (K n_c) for n_c of N images and K classes that occur.

    Args:
        labels: int64, shape (N,), class numbers.
        classes: C, how many there are.

    Returns:
        float64, shape (C,); their mean over the images is 1; 0 for a class without images.
    """
    counts = np.bincount(labels, minlength=classes)
    occurring = counts > 0
    weights = np.zeros(classes)
    weights[occurring] = len(labels) / (occurring.sum() * counts[occurring])
    return weights


class Learner:
    """A network while it learns.

    Attributes:
        module: the whole network.
        plan: what of it is frozen: a frozen part that never changes, and a trainable part that learns, now or later.
        limit: how many images are computed at once.
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
        self._job = job
        self._loss = LossFunction.of(recipe.loss, job.train.labels, job.coarse_classes, job.compute.device)
        self._optimizer = optimisers.create_optimizer(self.plan.trainable, recipe, self.plan.depth)
        self._average = Average(self.plan.trainable, recipe.ema_decay) if recipe.ema_decay is not None else None
        self._compiled_best = job.compute.compile(self.best_module)
        self._ddp: DistributedDataParallel | None = None
        self._compiled = job.compute.compile(self.plan.trainable)
        monitored = recipe.early_stopping is not None and recipe.early_stopping.monitor == "loss"
        self._figures = 3 if monitored else 2
        self._teacher = Teacher(job, job.config.distil) if job.config.distil is not None else None
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
            float64, shape (2,) or (3,): sum of plain cross entropies (nats), how many images were right, and where the
            loss is monitored the sum of what is minimised.
        """

        def measured(at_once: int) -> torch.Tensor:
            figures = self.no_figures()
            for part in batch.micro_batches(at_once):
                logits = self._outputs(self._compiled_best, part.x)[0]
                losses = [F.cross_entropy(logits, part.labels, reduction="none"), logits.argmax(1) == part.labels]
                if len(figures) > len(losses):
                    losses.append(self._loss(logits, part.labels))
                figures += _sums(*losses)
            return figures

        with torch.inference_mode():
            return self._val_limit.run_within(len(batch), measured)

    def no_figures(self) -> torch.Tensor:
        """What `validate_batch` gives of no images."""
        return torch.zeros(self._figures, dtype=torch.float64, device=self._job.compute.device)

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
        # all processes have as many, because those of SyncBatchNorm wait for each other in each
        micro_batches = batch.micro_batches(at_once, self.limit.least, -(-self._largest_share(batch) // at_once))
        for position, micro_batch in enumerate(micro_batches, 1):
            # while more of a batch is to come, processes keep their gradients to themselves
            with self._ddp.no_sync() if self._ddp is not None and position < len(micro_batches) else nullcontext():
                logits, *auxiliary = self._outputs(self._compiled, micro_batch.x)
                losses = self._losses(logits, micro_batch)
                if self._teacher is not None:
                    losses = self._teacher.losses(logits, micro_batch.x, losses)
                for other in auxiliary:
                    losses = losses + AUXILIARY * self._losses(other, micro_batch)
                if micro_batch.counts is not None:
                    losses = losses * micro_batch.counts
                torch.autograd.backward(losses.sum() * (distributed.world_size() / images))  # DDP divides by its size
            right = logits.argmax(1) == micro_batch.labels
            figures += _sums(losses.detach(), right if micro_batch.counts is None else right * micro_batch.counts)
        return figures / images

    def _largest_share(self, batch: Batch) -> int:
        """Images of the batch in the process that has the most of them."""
        return max(len(batch), -(-len(batch.rows) // distributed.world_size()))

    def _losses(self, logits: torch.Tensor, micro_batch: Batch) -> torch.Tensor:
        """The loss of each image: of its label, or of two labels by their shares."""
        losses = self._loss(logits, micro_batch.labels)
        if micro_batch.others is not None and micro_batch.share is not None:
            losses = micro_batch.share * losses + (1 - micro_batch.share) * self._loss(logits, micro_batch.others)
        return losses

    def _outputs(self, network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits, float32, first those of the network and then those of auxiliary classifiers."""
        with self._job.compute.autocast():
            if self.plan.frozen is not None and self._job.recipe.views is None:  # with views, x has passed it
                with torch.no_grad():
                    x = self.plan.frozen(x)
            outputs = network(x)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.float() for output in several if output is not None]


def select(start: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _sums(*figures: torch.Tensor) -> torch.Tensor:
    return torch.stack([each.sum(dtype=torch.float64) for each in figures])


def _copy(tensors: list[torch.Tensor], to: list[torch.Tensor]) -> None:
    if tensors:
        torch._foreach_copy_(to, tensors)  # one kernel, not one for each layer
