"""What `evaluate` and `compare` leave: metrics, leaderboard, decision."""

from typing import Literal

from podium.core.records.base import Record


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
