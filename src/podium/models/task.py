"""What tune and train have in common: the two splits, the network and its first weights, ready to be fitted.

The test split cannot be opened from here: `open_for_fitting` refuses its name.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from podium.config.contender import Contender
from podium.config.runtime import Resources, Runtime
from podium.core.errors import ModelError
from podium.core.files import sha256_file
from podium.core.identity import stage_code
from podium.core.layout import Layout
from podium.data.shards import PreparedSplit, open_for_fitting
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.distributed import ALONE, World
from podium.models.job import Cache, Job
from podium.records.base import Triple
from podium.records.fetch import WeightsRecord

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
    world: World
    cache: Cache

    def build(self, contender: Contender) -> nn.Module:
        """The network with its first weights: the same for every call.

        Args:
            contender: with tuned values applied.

        Raises:
            ModelError: the architecture is unknown, the pretrained weights are not those that were fetched, or they or
                the images' size do not fit it.
        """
        module = zoo.create(contender, len(self.train.classes), self.seed)
        if self.pretrained_file is not None:
            self._check_pretrained(self.pretrained_file)
            zoo.load_pretrained(module, self.pretrained_file)
        zoo.flops(module, self.train.preprocessing.image_size)  # refuses a size the network cannot take
        return module

    def job(self, label: str, contender: Contender) -> Job:
        """What the engine needs, with tuned values applied to the contender."""
        return Job(
            label=label,
            train=self.train,
            val=self.val,
            contender=contender,
            mean=self.mean,
            std=self.std,
            compute=self.compute,
            seed=self.seed,
            world=self.world,
            cache=self.cache,
        )

    @property
    def runtime_identity(self) -> dict[str, str | int | float | bool]:
        """What of the runtime changes bytes, with the number of processes that share the work."""
        return {**self.runtime.model_dump(), "processes": self.world.size}

    def identity(self, layout: Layout, stage: str) -> dict[str, object]:
        """The parts of a fingerprint that tune and train share.

        Args:
            layout: the project's paths.
            stage: whose source code counts.
        """
        return {
            "data": {"train": self.train.digest, "val": self.val.digest},
            "model": self.contender.model_dump(mode="json"),
            # the digests say all that counts of a file; its source names the hub's commit, which moves on without it
            "pretrained": self.pretrained.model_dump(mode="json", exclude={"source"}),
            "seed": self.seed,
            "runtime": self.runtime_identity,
            "code": stage_code(layout.root, stage).json(),
        }

    def _check_pretrained(self, path: Path) -> None:
        wanted = self.pretrained.stored_sha256
        found = sha256_file(path) if path.is_file() else "missing"
        if found != wanted:
            raise ModelError(
                f"{path} has sha256 {found}, but {PRETRAINED_CARD} says {wanted}: these are not the weights that were "
                "fetched; run `dvc repro -f fetch`"
            )


def open_task(
    layout: Layout,
    model: str,
    contender: Contender,
    runtime: Runtime,
    seed: int,
    *,
    resources: Resources = Resources(),  # noqa: B008 - frozen
    world: World = ALONE,
) -> Task:
    """Opens train and val and checks that the network fits the images, before any time is spent.

    Args:
        layout: the project's paths.
        model: a key of `models` in the params.
        contender: its section.
        runtime: how to compute; sets torch's threads.
        seed: of the experiment.
        resources: the disk for kept activations.
        world: the processes at work.

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
        compute=Compute.of(runtime, world.device if world.size > 1 else None),
        seed=seed,
        world=world,
        cache=Cache(
            folder=layout.features(model),
            gib=resources.cache_gib,
            identity={
                "architecture": contender.architecture,
                "runtime": runtime.model_dump(),
                "code": stage_code(layout.root, "train").json(),  # in tune too, so that trials and training share it
            },
        ),
    )
