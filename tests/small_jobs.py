"""A job over small prepared images, for tests of the engine that need no project, and a callback that remembers."""

from pathlib import Path

from podium.config.models import ModelConfig
from podium.config.runtime import Runtime
from podium.config.train import Augment, Train
from podium.data.shards import open_for_fitting
from podium.models.callbacks import Callback, Ending
from podium.models.compute import Compute
from podium.models.job import ActivationCache, Job
from podium.records.training import EpochResult
from tests.small_splits import RECIPE, RUNTIME, a_config

MEAN = STD = (0.5, 0.5, 0.5)
NOTHING_KEPT = ActivationCache(Path(), 0, {})
STILL = Augment(flip=False, shift=0, brightness=0, contrast=0)


def job(
    prepared: Path,
    recipe: Train = RECIPE,
    *,
    runtime: Runtime = RUNTIME,
    section: ModelConfig | None = None,
    cache: ActivationCache = NOTHING_KEPT,
) -> Job:
    """A job on a folder of prepared splits; `section` has another recipe than `recipe` replaced by it."""
    model = (section or a_config()).model_copy(update={"train": recipe})
    train, val = open_for_fitting(prepared, "train"), open_for_fitting(prepared, "val")
    return Job("train small", train, val, model, MEAN, STD, Compute.of(runtime), 0, cache)


class Remembering(Callback):
    """Keeps what it is told of epochs and of the end."""

    def __init__(self) -> None:
        self.rows: list[EpochResult] = []
        self.ending: Ending | None = None

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        self.rows.append(row)

    def on_train_end(self, ending: Ending) -> None:
        self.ending = ending


class Interrupting(Callback):
    """Ends a run at an epoch, and at every later one."""

    def __init__(self, at: int = 1) -> None:
        self.at = at

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        if row.epoch >= self.at:
            raise InterruptedError
