"""What training minimises: cross entropy, focal loss or binary cross entropies, with the coarse classes if wanted.

Every loss is given per image, so that the engine may weight images (mixing), add up micro-batches and name the images
of a loss that is no number. Validation never uses these: it is always measured in plain cross entropy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from podium.config.train import Loss
from podium.core.errors import ParamsError

_CERTAIN = torch.finfo(torch.float32).eps  # 1 - p is not taken for less: its powers below 1 have no finite slope at 0


@dataclass(frozen=True)
class LossFunction:
    """The loss of each image of a batch.

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
        """The loss of each image; their plain mean is the loss of a batch.

        Args:
            logits: float32, shape (B, C), before softmax.
            labels: int64, shape (B,), class numbers.

        Returns:
            float32, shape (B,), in nats.
        """
        own = LOSSES[self.loss.kind](self, logits, labels)
        if self.siblings is None:
            return own
        return own + self.loss.group_weight * coarse_loss(logits, self.siblings[labels])


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


def coarse_loss(logits: torch.Tensor, siblings: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the coarse class, whose probability is the sum over its classes: -log(sum of p_c).

    Args:
        logits: float32, shape (B, C), before softmax.
        siblings: bool, shape (B, C): the classes of each image's coarse class, at least its own.

    Returns:
        float32, shape (B,), in nats.
    """
    members = logits.masked_fill(~siblings, -torch.inf)
    return torch.logsumexp(logits, dim=1) - torch.logsumexp(members, dim=1)
