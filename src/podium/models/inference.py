"""A trained model read back from its folder: safetensors and JSON, no pickle, its digest checked.

Evaluation, serving and the promotion gates all predict through this module, so they cannot differ in preprocessing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from podium.config.runtime import LOCAL, Resources, Runtime
from podium.core.errors import ModelError, one_line
from podium.core.executor import open_executor
from podium.core.jobs import Executor
from podium.core.layout import MODEL_CARD, WEIGHTS
from podium.data.augment.batch import normalise
from podium.data.tensors import digest_like
from podium.models import zoo
from podium.models.compute import Compute, find_cluster, memory_named_in_errors
from podium.records.training import ModelCard

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Classifier:
    """A network in evaluation mode and its papers.

    Every image is judged on its own (no batch statistics), so what else is in its batch changes a result by
    rounding only: kernels add in another order for another batch size. The same images in the same batches give
    the same bytes.
    """

    card: ModelCard
    module: nn.Module
    compute: Compute

    @memory_named_in_errors("evaluate.batch_size")
    def logits(self, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        """Scores before softmax.

        Args:
            images: uint8, shape (N, H, W, 3), prepared as `card.preprocessing` says; a memory map will do.
            batch_size: images judged at once, at least 1.

        Returns:
            float32, shape (N, C), columns in the order of `card.classes`.

        Raises:
            ModelError: the images have another shape than the model was trained with, or memory is not enough.
        """
        size = self.card.preprocessing.image_size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise ModelError(
                f"{self.card.model} takes uint8 images of shape (N, {size}, {size}, 3), not {images.dtype} "
                f"{images.shape}: prepare them as model.json says"
            )
        parts = [np.empty((0, len(self.card.classes)), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = np.array(images[start : start + batch_size])  # a copy: memory maps are read-only
            with torch.inference_mode(), self.compute.autocast():
                x = normalise(batch, self.card.mean, self.card.std, device=self.compute.device)
                parts.append(self.module(self.compute.place_batch(x)).float().cpu().numpy())
        return np.concatenate(parts)

    def probabilities(self, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        """Class probabilities: the softmax of `logits`, same arguments; each row sums to 1."""
        scores = torch.from_numpy(self.logits(images, batch_size))
        out: NDArray[np.float32] = torch.softmax(scores.double(), dim=1).float().numpy()
        return out

    def answers(self, images: NDArray[np.uint8], batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`probabilities`, and from the same pass the features: what the network gives its last layer.

        Returns:
            float32, shapes (N, C) and (N, D); features that are a map are averaged over its places.
        """
        kept: list[NDArray[np.float32]] = []

        def keep(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            x = given[0].float()
            kept.append((x.flatten(2).mean(dim=2) if x.ndim == 4 else x.flatten(1)).cpu().numpy())

        hook = zoo.classifier_parts(self.module)[0].register_forward_pre_hook(keep)
        try:
            return self.probabilities(images, batch_size), np.concatenate(kept)
        finally:
            hook.remove()


def load_classifier(folder: Path, runtime: Runtime) -> Classifier:
    """Reads a trained model from `artifacts/models/<m>` or a copy of it, in evaluation mode; sets torch's threads.

    Raises:
        DataError: `model.json` is missing or damaged.
        ModelError: the weights are missing, are not those of `model.json`, or do not fit the architecture.
    """
    compute = Compute.of(runtime)
    card = ModelCard.read(folder / MODEL_CARD)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path} does not exist: run `dvc checkout` or `dvc repro`")
    found = digest_like(path, card.weights_sha256)
    if found != card.weights_sha256:
        raise ModelError(
            f"{path} has sha256 {found}, but model.json says {card.weights_sha256}: the weights are not those that "
            "were evaluated; run `dvc checkout` or `dvc repro`"
        )
    module = zoo.create(card.network, len(card.classes), card.seed, card.preprocessing.image_size)
    try:
        module.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ModelError(f"{path} does not fit {card.architecture} ({one_line(error)}): run `dvc repro`") from error
    return Classifier(card, compute.place(module).eval(), compute)


@dataclass(frozen=True)
class AskedModel:
    """A trained model that is asked wherever jobs run: a job is a function of the classifier, and is pickled there."""

    folder: Path
    card: ModelCard
    executor: Executor[tuple[Path, Callable[[Classifier], Any]], Any]

    def map(self, asks: Iterable[Callable[[Classifier], Answer]]) -> Iterator[Answer]:
        """What functions of the classifier return, in their order."""
        return self.executor.map((self.folder, ask) for ask in asks)

    def logits(self, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        """As `Classifier.logits`, of at least one image."""
        return self.in_batches(partial(Classifier.logits, batch_size=batch_size), batch_size, images=images)

    def in_batches(self, ask: Callable[..., NDArray[Any]], batch_size: int, **arrays: NDArray[Any]) -> NDArray[Any]:
        """Calls `ask(classifier, **arrays)` with `batch_size` rows at a time, at least 1 in all; joins the answers."""
        starts = range(0, len(next(iter(arrays.values()))), batch_size)
        parts = ({name: rows[start : start + batch_size] for name, rows in arrays.items()} for start in starts)
        return np.concatenate(list(self.map(partial(ask, **part) for part in parts)))


@contextmanager
def open_models(root: Path, runtime: Runtime, resources: Resources = LOCAL) -> Iterator[Callable[[Path], AskedModel]]:
    """Gives what makes a model that is asked of its folder, as `load_classifier` reads it and with its errors.

    Args:
        root: the project's folder.
        runtime: how numbers are computed.
        resources: models are asked in `trials_at_once` processes of this machine, or on the cluster.

    Raises:
        PodiumError: a process was ended from outside, or the cluster cannot be used or was lost.
    """
    loader, cluster, processes = _Loader(runtime), find_cluster(root, runtime, resources), resources.trials_at_once
    with open_executor(loader, processes, lower="resources.trials_at_once", cluster=cluster) as executor:
        yield lambda folder: AskedModel(folder, loader.load(folder).card, executor)


class _Loader:
    """Runs jobs in one process, which reads a model once and keeps it until another is asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._last: tuple[Path, Classifier] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads the model itself."""
        return _Loader, (self._runtime,)

    def __call__(self, job: tuple[Path, Callable[[Classifier], Any]]) -> Any:
        folder, ask = job
        return ask(self.load(folder))

    def load(self, folder: Path) -> Classifier:
        """As `load_classifier`."""
        if self._last is None or self._last[0] != folder:
            self._last = None  # one at a time in memory
            self._last = folder, load_classifier(folder, self._runtime)
        return self._last[1]
