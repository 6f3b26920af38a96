"""What `tune` and `train` leave: epochs, the chosen recipe, the card of a model."""

from podium.core.config.base import Split
from podium.core.records.base import Record
from podium.core.records.fetch import WeightsRecord
from podium.core.records.preprocess import Preprocessing


class EpochResult(Record):
    """One row of `history.csv`. Losses in nats per image, accuracies as fractions."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float


class TuningResult(Record):
    """`artifacts/tuning/<model>/best.json`: the recipe keys the study chose. `val_loss` is the best trial's."""

    model: str
    parameters: dict[str, float]
    trial: int
    val_loss: float
    val_accuracy: float
    trials: int
    pruned: int
    epochs_per_trial: int
    images_seen: int
    fingerprint: str


class ModelCard(Record):
    """`artifacts/models/<model>/model.json`: everything needed to load and judge `weights.safetensors`."""

    model: str
    architecture: str
    classes: list[str]
    groups: dict[str, str]
    preprocessing: Preprocessing
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dropout: float
    parameters: int
    flops: int
    weights_bytes: int
    weights_sha256: str
    pretrained: WeightsRecord
    learning_rate: float
    tuned: dict[str, float]
    epochs: int
    best_epoch: int
    images_seen: int
    stopped_early: bool
    seed: int
    runtime: dict[str, str | int | bool]
    versions: dict[str, str]
    data_digests: dict[Split, str]
    fingerprint: str
