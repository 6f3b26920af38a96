"""A probe: a head that is computed from what the frozen network gives, instead of trained by gradient descent.

Every image passes the network once, unchanged; trials and training share what it gives (`models.activations`). What
comes out is a network like any other, with the same files: a logistic regression fills its last layer, the scaling of
the features folded in; nearest neighbours stand in that layer's place. Nothing here is drawn by chance, so the seed
changes nothing, and there is nothing to resume: a probe that was killed begins anew.
"""

import logging
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from podium.core.errors import ModelError, first_few
from podium.data import loader
from podium.data.tensors import standalone
from podium.models import zoo
from podium.models.activations import BATCH, Activations
from podium.models.callbacks import Callback
from podium.models.checkpoint import FitResult, Progress
from podium.models.job import Job
from podium.records.training import EpochResult

_LOG = logging.getLogger(__name__)

_ITERATIONS = 1000  # of L-BFGS at most; standardised features take some tens
_AT_ONCE = 1024  # images whose features are judged together


def fit_probe(job: Job, module: nn.Module, callbacks: Sequence[Callback] = ()) -> FitResult:
    """Computes the head of a probe.

    Args:
        job: what is fitted; its `classifier` is not `network`.
        module: as `Job.build` made it; its last layer is filled in place.
        callbacks: told of the one epoch, whose figures are of unchanged images.

    Raises:
        ModelError: a class has no training image.
        DataError: the disk is full.
    """
    started = time.perf_counter()
    name = zoo.classifier_name(job.compute.place(module).eval())
    head = module.get_submodule(name)
    module.set_submodule(name, nn.Identity())
    activations = Activations(job, nn.Sequential(module))
    activations.prepare(0)
    train = _read(lambda rows: activations.train(rows, 0), len(job.train))
    val = _read(activations.val, len(job.val))
    module.set_submodule(name, head)
    labels, val_labels = (torch.from_numpy(split.labels).to(train.device) for split in (job.train, job.val))
    if isinstance(head, zoo.NearestNeighbours):
        head.fit(train, labels, job.config.k)
    else:
        missing = sorted(set(job.train.classes) - {job.train.classes[code] for code in np.unique(job.train.labels)})
        if missing:
            raise ModelError(
                f"{job.label}: no training image is of {first_few(missing, 3)}, and a logistic regression needs one of "
                "each class: add images, or leave the class out"
            )
        fit_logistic_regression(head, train.cpu().numpy(), job.train.labels, job.config.C, job.label)  # type: ignore[arg-type]
    (train_loss, train_accuracy), (val_loss, val_accuracy) = (
        _figures(head, train, labels),
        _figures(head, val, val_labels),
    )
    row = EpochResult(
        epoch=1,
        step=1,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
    )
    seconds = time.perf_counter() - started
    for callback in callbacks:
        callback.on_epoch_end(row, seconds)
    progress = Progress(history=(row,), seconds=(seconds,), processes=(1,), micro_batch_size=BATCH)
    return FitResult(standalone(module.state_dict()), progress, activations.entry)


def fit_logistic_regression(
    layer: nn.Linear, features: NDArray[np.float32], labels: NDArray[np.int64], strength: float, label: str = "probe"
) -> None:
    """Fills a linear layer with scikit-learn's multinomial logistic regression on standardised features.

    With mean m and standard deviation s of each feature, W ((x - m) / s) + b = (W / s) x + (b - (W / s) m), so the
    layer takes the features as they are. Fitted in float64 and on one thread, because sums on several differ.

    Args:
        layer: changed in place.
        features: shape (N, D).
        labels: shape (N,), each class at least once.
        strength: scikit-learn's C, the inverse of the regularisation.
        label: for people.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features.astype(np.float64))
    model = LogisticRegression(C=strength, max_iter=_ITERATIONS)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(features.astype(np.float64)), labels)
    if int(model.n_iter_.max()) >= _ITERATIONS:
        _LOG.warning(f"{label}: the logistic regression with C {strength:g} is not done after {_ITERATIONS} iterations")
    weight, bias = model.coef_ / scaler.scale_, model.intercept_
    bias = bias - weight @ scaler.mean_
    if len(weight) == 1:  # of two classes scikit-learn has the second one's alone
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def _read(give: Callable[[NDArray[np.int64]], torch.Tensor], count: int) -> torch.Tensor:
    """The features of a split, float32, shape (N, D), on the device."""
    parts = (give(np.arange(*bounds)) for bounds in loader.batch_boundaries(count, BATCH))
    return torch.cat([part.flatten(1).float() for part in parts])


@torch.no_grad()
def _figures(head: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cross entropy in nats, and accuracy. Among the neighbours of a training image is the image itself."""
    logits = torch.cat([head(part) for part in torch.split(features, _AT_ONCE)]).double()
    return float(F.cross_entropy(logits, labels)), float((logits.argmax(dim=1) == labels).double().mean())
