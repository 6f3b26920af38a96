"""What is fitted, on what, and how: all that a run is a function of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podium.config.contender import Contender
from podium.config.recipe import Train
from podium.data.shards import PreparedSplit
from podium.models.compute import Compute
from podium.models.distributed import ALONE, World
from podium.records.base import Triple


@dataclass(frozen=True)
class Cache:
    """Where the activations of a frozen prefix are kept, and whose they are.

    Attributes:
        folder: of the model; shared by its trials and its training.
        gib: disk it may take; 0 = none.
        identity: what they depend on besides images, weights and changes, as JSON values.
    """

    folder: Path
    gib: float
    identity: Mapping[str, object]


@dataclass(frozen=True)
class Job:
    """What is fitted and how.

    Attributes:
        label: for people, e.g. `train resnet18`.
        train: images to learn from.
        val: images that pick the best epoch.
        contender: with tuned values applied.
        mean: normalisation per channel.
        std: normalisation per channel.
        compute: device, dtype, layout.
        seed: of the experiment.
        world: the processes at work.
        cache: of the frozen prefix; None = it is computed for every batch.
    """

    label: str
    train: PreparedSplit
    val: PreparedSplit
    contender: Contender
    mean: Triple
    std: Triple
    compute: Compute
    seed: int
    world: World = ALONE
    cache: Cache | None = None

    @property
    def recipe(self) -> Train:
        """How it is trained."""
        return self.contender.train

    @property
    def groups(self) -> tuple[str, ...]:
        """Coarse class of each class, in their order; "" where a class has none."""
        known = self.train.index.groupby("label")["group"].first()
        return tuple(str(known.get(label, "")) for label in self.train.classes)
