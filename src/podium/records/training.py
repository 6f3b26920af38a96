"""What `tune` and `train` leave: epochs, trials, the chosen recipe, the card of a model.

Floats in tables are in their shortest exact form. Measured seconds, `.podium/times/<fingerprint>.json`, are shown in
MLflow and the report and never hashed.
"""

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import FiniteFloat, PositiveFloat, TypeAdapter, ValidationError

from podium.config.base import Split
from podium.config.models import ClassifierKind, From, Head, Network
from podium.config.preprocess import Preprocessing
from podium.config.train import Distil, Train, Value
from podium.core.files import write_json
from podium.core.layout import Layout
from podium.records.base import Record
from podium.records.fetch import WeightsRecord

_LOG = logging.getLogger(__name__)
_TIMES = TypeAdapter(dict[str, FiniteFloat])

State = Literal["finished", "pruned", "diverged"]
"""How a trial ended; `pruned`: it was not worth its next epoch, `diverged`: the loss was no number any more."""


class EpochResult(Record):
    """One row of `history.csv`. Losses in nats per image, accuracies as fractions.

    `val_loss` is the plain cross entropy; `val_objective` what the recipe minimises, on the validation images, where
    `early_stopping.monitor` is `loss`. That, and the `learning_rate` of a probe, are else None and no column.
    """

    epoch: int
    step: int
    learning_rate: float | None = None
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_objective: float | None = None

    @property
    def monitored(self) -> float:
        """The loss by which early stopping and the epoch that is kept are decided."""
        return self.val_loss if self.val_objective is None else self.val_objective


EPOCH_COLUMNS = tuple(name for name, field in EpochResult.model_fields.items() if field.is_required())
"""Columns that every table of epochs has."""


def epoch_columns(rows: Iterable[EpochResult]) -> tuple[str, ...]:
    """The columns of a table of epochs: others than `EPOCH_COLUMNS` only where a row has a value."""
    known = {name for row in rows for name in row.model_dump(exclude_none=True)}
    return tuple(name for name in EpochResult.model_fields if name in known or name in EPOCH_COLUMNS)


class TrialResult(Record):
    """One trial of a study that came to an end; numbers count from 0, without gaps.

    `epochs` holds at least one unless the trial diverged in its first. `rungs` is what the pruner noted of it, for the
    trials of later batches.
    """

    number: int
    state: State
    parameters: dict[str, Value]
    epochs: tuple[EpochResult, ...]
    rungs: dict[str, float] = {}

    @property
    def best(self) -> EpochResult | None:
        """The epoch with the lowest validation loss, the first of equals."""
        return min(self.epochs, key=lambda row: (row.val_loss, row.epoch), default=None)

    @property
    def epochs_begun(self) -> int:
        """What the trial costs of the budget: the epoch in which it diverged counts as a whole one."""
        return len(self.epochs) + (self.state == "diverged")


class TuningResult(Record):
    """`artifacts/tuning/<model>/best.json`: what the study chose, by dotted key. `val_loss` is the best trial's.

    `images_budget` is what the study might see, less where few values were to be tried; `images_seen` what it saw
    (pruning ends trials early).
    `at_the_edge` names keys whose chosen value lies at an end of its range or grid: the best may lie beyond.
    """

    model: str
    parameters: dict[str, Value]
    trial: int
    val_loss: float
    val_accuracy: float
    trials: int
    pruned: int
    epochs_per_trial: int
    images_budget: int
    images_seen: int
    at_the_edge: list[str]
    fingerprint: str


class ModelFacts(Record):
    """What is known of a trained model wherever it is spoken of: its card, its metrics, its row of the leaderboard.

    `flops` are of one image's forward pass, `weights_bytes` of the file, `epochs` and
    `images_seen` are what training took. A probe has no `learning_rate`.
    """

    model: str
    architecture: str
    classifier: ClassifierKind = "network"
    fingerprint: str
    parameters: int
    flops: int
    weights_bytes: int
    learning_rate: float | None
    epochs: int
    images_seen: int

    @property
    def facts(self) -> dict[str, Any]:
        """These fields alone, for another record of the same model."""
        return self.model_dump(include=set(ModelFacts.model_fields))


class ModelCard(ModelFacts):
    """`artifacts/models/<model>/model.json`: everything needed to load and judge `weights.safetensors`.

    `recipe` is the one followed, with what was `tuned`; None of a probe. `tuning_images` is the budget of its study.
    `micro_batch_size` is below the batch where memory was not enough. `distil` and `teacher_fingerprint` name the model
    a student learned from. `cached_prefix`: a frozen prefix was computed once per view. `class_counts`: images of each
    class that were learned from; empty where an earlier version wrote the card.
    """

    attention: Literal["none", "se", "cbam", "self"]
    attention_at: Literal["features", "blocks"] = "features"
    head: Head
    classes: list[str]
    class_counts: dict[str, int] = {}
    groups: dict[str, str]
    preprocessing: Preprocessing
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    weights_sha256: str
    pretrained: WeightsRecord
    trainable: Literal["all", "head", "last_stage"] | From
    distil: Distil | None = None
    teacher_fingerprint: str | None = None
    recipe: Train | None
    tuned: dict[str, Value]
    tuning_images: int
    best_epoch: int
    micro_batch_size: int
    cached_prefix: bool
    stopped_early: bool
    seed: int
    runtime: dict[str, str | int | float | bool]
    versions: dict[str, str]
    data_digests: dict[Split, str]

    @property
    def network(self) -> Network:
        """What has to be built to load the weights."""
        return Network.model_validate({key: getattr(self, key) for key in Network.model_fields})


class LearningPoint(Record):
    """One training on a part of the training images; `accuracy` is of the validation images, at the epoch kept."""

    share: float
    draw: int
    images: int
    accuracy: float


class LearningCurve(Record):
    """`reports/learning_curve.json`: what one model's recipe reaches with fewer training images, and where it leads.

    The error on `val_images` validation images is `scale` x share^-`exponent` + `floor`, with the share of `images`
    training images. `doubling` is the gain in accuracy from twice as many, `low` and `high` its 95 % interval.
    """

    model: str
    fingerprint: str
    images: int
    val_images: int
    points: tuple[LearningPoint, ...]
    scale: float
    exponent: float
    floor: float
    doubling: float
    low: float
    high: float


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a CSV file, in a folder that is not in use yet; a key that a row lacks, or None, becomes an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def add_times(layout: Layout, fingerprint: str, seconds: dict[str, float]) -> None:
    """Adds measured seconds of one trained model, such as `seconds_per_epoch`, to what is known of it."""
    write_json(layout.times(fingerprint), {**read_times(layout, fingerprint), **seconds})


def read_times(layout: Layout, fingerprint: str) -> dict[str, float]:
    """What was measured for one trained model on this machine; empty when nothing was (a restored stage).

    A damaged file is told and counts as nothing measured: no result depends on it.
    """
    path = layout.times(fingerprint)
    if not path.is_file():
        return {}
    try:
        return _TIMES.validate_json(path.read_bytes())
    except ValidationError:
        _LOG.warning(f"{path} is damaged, so the times measured for this model are not shown: delete it")
        return {}
