"""Stage repeat@m: the same training with each further seed of `seeds`; what was trained before stays.

DVC leaves the folder as it is (`persist`), so that one more seed costs one training, and a kill at most one. On a
cluster the seeds are trained side by side.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.core.files import write_json
from podium.core.layout import SEEDS, Layout
from podium.models.callbacks import Callback

if TYPE_CHECKING:
    from podium.models.train_seeds import TrainSeed


def repeat_training(
    layout: Layout,
    model: str,
    seeds: Sequence[int],
    *,
    config: ModelConfig,
    runtime: Runtime,
    resources: Resources,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
) -> None:
    """Trains a model with every seed and removes what is there of others; what is there already is not trained again.

    Args:
        layout: the project's paths.
        model: a key of `models` in the params.
        seeds: the further ones, without that of the registered model.
        config: the model's section.
        runtime: how numbers are computed.
        resources: what may be used for it.
        callbacks: new ones for each training.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit, or training diverged.
    """
    home = layout.repeats(model)
    _remove_others(home, seeds)
    if seeds:
        from podium.models.compute import choose_device
        from podium.models.distributed import process_group
        from podium.models.train_seeds import TrainSeed, train_seeds

        train = TrainSeed(layout, "repeat", model, config, runtime, resources)
        with process_group(choose_device(runtime)):
            if missing := [seed for seed in seeds if not _is_kept(train, seed)]:
                train_seeds(train, missing, callbacks)
    write_json(home / SEEDS, list(seeds))


def _remove_others(home: Path, seeds: Sequence[int]) -> None:
    """Removes seeds that are no longer asked for, and what a kill left."""
    home.mkdir(parents=True, exist_ok=True)
    for entry in home.iterdir():
        if entry.is_dir() and entry.name not in map(str, seeds):
            shutil.rmtree(entry, ignore_errors=True)  # another process that trains with this one may be faster


def _is_kept(train: "TrainSeed", seed: int) -> bool:
    """Whether a seed was trained before, and says so."""
    training = train.open(seed)
    if kept := training.is_done(train.folder(train.layout, seed)):
        print(f"{training.job.label}: kept", flush=True)
    return kept
