"""`artifacts/evaluation/<model>/robustness.json`: one model on perturbed test images."""

from typing import Literal

from podium.records.base import Record
from podium.records.evaluation import Interval

PerturbationKind = Literal["corruption", "symmetry", "covering"]


class PerturbedAccuracy(Record):
    """Accuracy at one severity (1 to 5), with its 95 % Wilson interval; `same` is the share of unchanged answers.

    `sentence` says what happened, with the amount.
    """

    severity: int
    sentence: str
    accuracy: Interval
    same: float


class PerturbationResult(Record):
    """One perturbation, at each severity that was asked for."""

    name: str
    kind: PerturbationKind
    at: tuple[PerturbedAccuracy, ...]


class Robustness(Record):
    """The same images clean and perturbed; `mean_corruption_accuracy` is over corruptions and severities."""

    model: str
    fingerprint: str
    images: int
    clean: Interval
    mean_corruption_accuracy: float
    perturbations: tuple[PerturbationResult, ...]
