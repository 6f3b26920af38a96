"""How a model fares on photographs that something happened to: accuracy and agreement with its clean answers.

Mean corruption accuracy is 1 - mCE without the division by another network's errors: Hendrycks and Dietterich, ICLR
2019 (arXiv 1903.12261), section 4.2; agreement is theirs of perturbation sequences, section 4.3, for single steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from podium.analysis.statistics import generator_of, wilson
from podium.data.perturbations import PERTURBATIONS, Images
from podium.records.robustness import PerturbationResult, PerturbedAccuracy, Robustness

_AT_ONCE = 512  # images perturbed together


def choose_images(images: int, most: int, seed: int) -> NDArray[np.int64]:
    """Which of N test images are perturbed: at most so many, the same for every model; row numbers, ascending."""
    return np.sort(generator_of(seed, "perturbations").permutation(images)[:most]).astype(np.int64)


@dataclass(frozen=True)
class Perturbed:
    """One perturbation at a severity from 1 to 5; `seed` is of what is drawn: every model meets the same images."""

    name: str
    severity: int
    seed: int

    def parts(self, images: Images) -> Iterator[Images]:
        """The images, uint8 of shape (N, S, S, 3), perturbed, some at a time."""
        random = generator_of(self.seed, f"{self.name} {self.severity}")
        for start in range(0, len(images), _AT_ONCE):
            yield PERTURBATIONS[self.name].apply(images[start : start + _AT_ONCE], self.severity, random)


def perturb_every_way(severities: Sequence[int], seed: int) -> list[Perturbed]:
    """Every perturbation at each of these severities."""
    return [Perturbed(name, severity, seed) for name in PERTURBATIONS for severity in severities]


def measure_robustness(
    clean: NDArray[np.int64],
    perturbed: Iterable[tuple[Perturbed, NDArray[np.int64]]],
    labels: NDArray[np.int64],
    *,
    model: str,
    fingerprint: str,
) -> Robustness:
    """Accuracy of a model's answers to images clean and perturbed.

    Args:
        clean: class numbers that it gives N images, shape (N,), N at least 1.
        perturbed: those it gives them as `perturb_every_way` changes them, in that order.
        labels: true class numbers, shape (N,).
        model: whose answers they are.
        fingerprint: of that model.
    """
    results = []
    for name, some in groupby(perturbed, key=lambda pair: pair[0].name):
        perturbation, at = PERTURBATIONS[name], []
        for asked, answers in some:
            accuracy = wilson(int((answers == labels).sum()), len(labels))
            same = float((answers == clean).mean())
            sentence = perturbation.sentence(asked.severity)
            at.append(PerturbedAccuracy(severity=asked.severity, sentence=sentence, accuracy=accuracy, same=same))
        results.append(PerturbationResult(name=name, kind=perturbation.kind, at=tuple(at)))
    corrupted = [each.accuracy.value for result in results if result.kind == "corruption" for each in result.at]
    return Robustness(
        model=model,
        fingerprint=fingerprint,
        images=len(labels),
        clean=wilson(int((clean == labels).sum()), len(labels)),
        mean_corruption_accuracy=float(np.mean(corrupted)),
        perturbations=tuple(results),
    )


def describe_robustness(found: Robustness) -> str:
    """What hurts most, and what the model should not have minded, in sentences."""
    worst = min(
        (result for result in found.perturbations if result.kind == "corruption"),
        key=lambda result: min(each.accuracy.value for each in result.at),
    )
    lowest = min(worst.at, key=lambda each: each.accuracy.value)
    turns = [each for result in found.perturbations if result.kind == "symmetry" for each in result.at]
    turned = min(turns, key=lambda each: each.same)
    return (
        f"On {found.images:,} of the test images {found.model} names {found.clean.value:.1%} rightly as they are and "
        f"{found.mean_corruption_accuracy:.1%} on average over the corruptions; the worst is {_words(worst.name)} "
        f"({lowest.sentence}) with {lowest.accuracy.value:.1%}. Where the photograph shows the same thing "
        f"({turned.sentence}), its answer stays the same in {turned.same:.1%} of cases or more."
    )


def worst_corruptions_first(found: Robustness | None) -> list[PerturbationResult]:
    """Corruptions by their lowest accuracy, then what covers a part, then symmetries; nothing of no measurement."""
    kinds = ("corruption", "covering", "symmetry")
    results = found.perturbations if found else ()
    return sorted(results, key=lambda one: (kinds.index(one.kind), min(each.accuracy.value for each in one.at)))


def perturbed_at(found: Robustness | None, name: str, severity: int) -> PerturbedAccuracy | None:
    """What was measured of one perturbation at one severity; None where it was not."""
    results = found.perturbations if found else ()
    return next((at for one in results if one.name == name for at in one.at if at.severity == severity), None)


def _words(name: str) -> str:
    """The name of a function as words."""
    return name.replace("_", " ")
