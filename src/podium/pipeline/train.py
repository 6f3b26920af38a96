"""Stage train@m: fit one model with recipe and tuned values; killed and resumed, it ends with the same bytes."""

from collections.abc import Sequence

from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.core.layout import Layout
from podium.models.callbacks import Callback
from podium.models.train_seeds import TrainSeed, train_seeds


def train_model(
    layout: Layout,
    model: str,
    *,
    config: ModelConfig,
    runtime: Runtime,
    resources: Resources,
    seed: int,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Trains a model and writes `weights.safetensors`, `model.json` and `history.csv`, all or none.

    Raises:
        PodiumError: data, weights or tuning result are missing or do not fit, or training diverged.
    """
    train_seeds(TrainSeed(layout, "train", model, config, runtime, resources), [seed], lambda: callbacks)
