"""Stage train@m: fit one model with recipe and tuned values; killed and resumed, it ends with the same bytes."""

from collections.abc import Sequence

from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.core.layout import Layout
from podium.models.callbacks import Callback
from podium.models.compute import choose_device
from podium.models.distributed import process_group
from podium.models.training import open_training


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
    with process_group(choose_device(runtime)):
        training = open_training(layout, "train", model, config=config, runtime=runtime, resources=resources, seed=seed)
        training.run(layout.model(model), callbacks)
