"""What tune and train have in common: the two splits, the network and its first weights, ready to be fitted.

The test split cannot be opened from here: `open_for_fitting` refuses its name.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from podium.core.config.contender import Contender
from podium.core.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.core.identity import library_versions, runtime_identity, source_digest
from podium.core.layout import Layout
from podium.core.records.fetch import WeightsRecord
from podium.data.augment import Triple
from podium.data.shards import PreparedSplit, open_for_fitting
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.engine import Job

PRETRAINED_CARD = "weights.json"
PRETRAINED = "weights.safetensors"


@dataclass(frozen=True)
class Task:
    """One contender with its data."""

    model: str
    contender: Contender
    train: PreparedSplit
    val: PreparedSplit
    pretrained: WeightsRecord
    pretrained_file: Path | None
    mean: Triple
    std: Triple
    runtime: Runtime
    compute: Compute
    seed: int

    def build(self, contender: Contender) -> nn.Module:
        """The network with its first weights: the same for every call.

        Args:
            contender: with tuned values applied.

        Raises:
            ModelError: the architecture is unknown, or the pretrained weights or the images' size do not fit it.
        """
        module = zoo.create(contender, len(self.train.classes), self.seed)
        if self.pretrained_file is not None:
            zoo.load_pretrained(module, self.pretrained_file)
        zoo.flops(module, self.train.preprocessing.image_size)  # refuses a size the network cannot take
        return module

    def job(self, label: str, contender: Contender) -> Job:
        """What the engine needs, with tuned values applied to the contender."""
        return Job(label, self.train, self.val, contender.train, self.mean, self.std, self.compute, self.seed)

    def identity(self, layout: Layout, stage: str) -> dict[str, object]:
        """The parts of a fingerprint that tune and train share.

        Args:
            layout: the project's paths.
            stage: whose source code counts.
        """
        return {
            "data": {"train": self.train.digest, "val": self.val.digest},
            "model": self.contender.model_dump(mode="json"),
            "pretrained": self.pretrained.model_dump(mode="json"),
            "seed": self.seed,
            "runtime": runtime_identity(self.runtime),
            "source": source_digest(layout.root, stage),
            "versions": library_versions(),
        }


def open_task(layout: Layout, model: str, contender: Contender, runtime: Runtime, seed: int) -> Task:
    """Opens train and val and checks that the network fits the images, before any time is spent.

    Args:
        layout: the project's paths.
        model: a key of `models` in the params.
        contender: its section.
        runtime: how to compute; sets torch's threads.
        seed: of the experiment.

    Returns:
        A task; no pixels are read yet.

    Raises:
        DataError: a split or the fetched weights are missing or damaged.
        ModelError: the architecture is unknown, or is not the one the weights were fetched for.
    """
    train, val = open_for_fitting(layout.prepared, "train"), open_for_fitting(layout.prepared, "val")
    folder = layout.weights / model
    pretrained = WeightsRecord.read(folder / PRETRAINED_CARD)
    if pretrained.architecture != contender.architecture:
        raise ModelError(
            f"{folder} holds weights of {pretrained.architecture}, but models.{model}.architecture is "
            f"{contender.architecture}: run `dvc repro fetch`"
        )
    mean, std = zoo.normalisation(contender.architecture)
    if pretrained.mean is not None and pretrained.std is not None:
        mean, std = pretrained.mean, pretrained.std
    return Task(
        model=model,
        contender=contender,
        train=train,
        val=val,
        pretrained=pretrained,
        pretrained_file=None if pretrained.weights == "none" else folder / PRETRAINED,
        mean=mean,
        std=std,
        runtime=runtime,
        compute=Compute.of(runtime),
        seed=seed,
    )
