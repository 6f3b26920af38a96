"""The JSON documents that flow between stages, as frozen types. A reader and a writer share one definition.

A rate is a fraction in [0, 1], a loss is in nats, a size is in pixels or bytes as named. No record of this module
holds a measured time, a date, a run id or a host name: the same inputs give the same bytes.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from podium.core.config import Severity, Split
from podium.core.errors import DataError
from podium.core.files import write_json


class Record(BaseModel):
    """A JSON document or a part of one: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def write(self, path: Path) -> None:
        """Writes canonical JSON (sorted keys), whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the document back.

        Raises:
            DataError: the file is missing or is not such a document.
        """
        if not path.is_file():
            raise DataError(f"{path} does not exist: run `dvc repro` to make it")
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not a valid {cls.__name__}: delete it and run `dvc repro`") from error


# --- fetch ---------------------------------------------------------------------------------------------------------


class SkippedFile(Record):
    """A file of the source that is not an image to use, and why."""

    path: str
    reason: str


class SourceRecord(Record):
    """`artifacts/raw/sources.json`: where the images came from."""

    name: str
    kind: str
    location: str
    sha256: str | None
    licence: str
    images: int
    classes: list[str]
    skipped: list[SkippedFile]


class WeightsRecord(Record):
    """`artifacts/weights/<model>/weights.json`; the tensors lie beside it in `weights.safetensors` unless `none`."""

    architecture: str
    weights: str
    sha256: str | None
    metadata: dict[str, str]


# --- preprocess, validate ------------------------------------------------------------------------------------------


class Preprocessing(Record):
    """How bytes become pixels. Resolved once, stored with the split and with the weights; serving reads it too."""

    image_size: int
    pad_value: int
    max_pixels: int


class DuplicateMember(Record):
    """One image of a group of duplicates; `source_split` is empty where the source gave none."""

    path: str
    label: str
    source_split: str
    split: Split


class DuplicateGroup(Record):
    """Images that show the same picture, the first one first. `exact` when the pixels of all are the same.

    `straddled`: the source gave its members different splits, so `moved` of them changed sides. `would_straddle`: a
    draw image by image would have put it on two sides.
    """

    id: str
    kind: Literal["exact", "near"]
    members: list[DuplicateMember]
    straddled: bool
    moved: int
    would_straddle: bool
    conflicting_labels: bool


class Profile(Record):
    """`artifacts/prepared/profile.json`: what preprocess found. Numbers are images unless a name says otherwise.

    `rejected` are images that could not be read, `skipped` files of the source that are no images to use. Quantiles
    (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1) are of pixels of the originals, by `width`, `height` and `shorter_side`.
    """

    images: int
    rejected: int
    skipped: int
    classes: list[str]
    per_class_and_split: dict[str, dict[Split, int]]
    per_split: dict[Split, int]
    per_group: dict[str, int]
    per_source: dict[str, int]
    rejected_by_reason: dict[str, int]
    notes: dict[str, int]
    size_quantiles: dict[str, dict[str, float]]
    duplicates: list[DuplicateGroup]
    groups_straddled: int
    images_moved: int
    groups_would_straddle: int
    groups_conflicting: int


class ExpectationResult(Record):
    """One expectation on the dataset and what was seen. `offending` holds at most 20 of `offending_count`.

    `checked` is false when it could not be computed (a column is missing, ...); then `success` is false and `observed`
    says why.
    """

    id: str
    suite: str
    severity: Severity
    sentence: str
    success: bool
    expected: str
    observed: str
    offending: list[str]
    offending_count: int
    checked: bool = True


class ValidationReport(Record):
    """`reports/validation.json`. `passed` is false when a critical expectation failed."""

    passed: bool
    manifest_sha256: str
    images: int
    rejected: int
    results: list[ExpectationResult]


# --- tune, train ---------------------------------------------------------------------------------------------------


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


# --- evaluate, compare ---------------------------------------------------------------------------------------------


class Interval(Record):
    """A rate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class ClassMetrics(Record):
    """One class on the test split; `support` counts its images."""

    precision: float
    recall: float
    f1: float
    support: int


class SliceMetrics(Record):
    """Accuracy on a part of the test split with known truth (occluded, busy background, ...)."""

    accuracy: Interval
    images: int


class Metrics(Record):
    """`reports/evaluation/<model>/metrics.json`: the test split, once."""

    model: str
    architecture: str
    fingerprint: str
    test_digest: str
    images: int
    accuracy: Interval
    macro_f1: Interval
    macro_precision: float
    macro_recall: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    loss: float
    top_k: int
    top_k_accuracy: float
    mean_confidence: float
    mean_confidence_correct: float | None
    mean_confidence_wrong: float | None
    low_confidence_threshold: float
    low_confidence_count: int
    ece: float
    val_accuracy: float
    val_loss: float
    per_class: dict[str, ClassMetrics]
    slices: dict[str, SliceMetrics]
    parameters: int
    flops: int
    weights_bytes: int
    learning_rate: float
    epochs: int
    images_seen: int


class LeaderboardRow(Record):
    """One model of the leaderboard, best first."""

    rank: int
    model: str
    architecture: str
    fingerprint: str
    accuracy: Interval
    macro_f1: Interval
    loss: float
    learning_rate: float
    epochs: int
    images_seen: int
    parameters: int
    flops: int
    weights_bytes: int


class Leaderboard(Record):
    """`reports/comparison/leaderboard.json`."""

    metric: Literal["accuracy", "macro_f1"]
    test_digest: str
    images: int
    rows: list[LeaderboardRow]


class PairedTest(Record):
    """Exact McNemar test between two models on the same images."""

    first: str
    second: str
    only_first_right: int
    only_second_right: int
    p_value: float


class Decision(Record):
    """`reports/comparison/decision.json`: who won and why."""

    winner: str
    fingerprint: str
    tie: bool
    rule: str
    reason: str
    test: PairedTest | None
    validation_passed: bool
