"""How often equal models are called different, and how often a planted gap is found: `python -m benchmarks.ab_power`.

- Drawn: each image has a chance of being named rightly, drawn from a Beta distribution; two copies of one configuration
  answer by the same chances, a worse one by chances that are lower by the gap on average.
- Trained: random forests of ten trees on scikit-learn's digits, two seeds of one configuration, a new split each time.

Each line: the share of test sets on which the better model is called better, beside the power that
`analysis/power.py` states for them.
"""

import json
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.analysis.paired import mcnemar
from podium.analysis.power import POWER, mcnemar_power, minimum_detectable_difference

RESAMPLINGS, SIGNIFICANCE, GAP = 200, 0.05, 0.03
SIZES = (277, 2000, 10_000)
_BETA = (4.4, 0.6)  # right about 0.88 of the images, most of them surely
_DEVIATIONS = 2.6  # of a share of `RESAMPLINGS`, beyond which a figure does not hold


@dataclass(frozen=True)
class Found:
    """Shares of the resamplings: first called better, either called better; and the mean power that was stated."""

    first: float
    either: float
    stated: float


def drawn(images: int, gap: float, resamplings: int = RESAMPLINGS, seed: int = 0) -> Found:
    """Two models that answer by chances which are `gap` apart on average, on new images each time.

    Args:
        images: of each test set.
        gap: in accuracy; 0 for two copies.
        resamplings: test sets.
        seed: of the draws.
    """
    random = np.random.default_rng([seed, images])
    factor = 1 - gap * sum(_BETA) / _BETA[0]
    sets = []
    for _ in range(resamplings):
        chance = random.beta(*_BETA, size=images)
        sets.append((random.random(images) < chance, random.random(images) < factor * chance))
    return _judged(sets, gap)


def detectable(images: int) -> float:
    """The minimum detectable difference of such models, at the rate at which models that far apart disagree."""
    chance = np.random.default_rng(1).beta(*_BETA, size=1_000_000)
    found = GAP
    for _ in range(8):  # the rate depends on the gap, a little
        worse = (1 - found * sum(_BETA) / _BETA[0]) * chance
        rate = float((chance * (1 - worse) + worse * (1 - chance)).mean())
        disagree = np.arange(images) < round(rate * images)
        test = mcnemar("a", "b", disagree, np.zeros(images, bool))
        found = minimum_detectable_difference(test, images, SIGNIFICANCE, of_accuracy=True) or 1.0
    return found


def trained(gap: float, resamplings: int = RESAMPLINGS) -> Found:
    """Two seeds of one configuration on digits; of the second, right answers are spoilt at random to plant the gap."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    pictures, labels = load_digits(return_X_y=True)
    sets = []
    for number in range(resamplings):
        random = np.random.default_rng(number)
        order = random.permutation(len(labels))
        train, test = order[:1200], order[1200:]
        right = [
            RandomForestClassifier(n_estimators=10, random_state=2 * number + copy)
            .fit(pictures[train], labels[train])
            .predict(pictures[test])
            == labels[test]
            for copy in (0, 1)
        ]
        spoilt = random.random(len(test)) < gap / right[1].mean()
        sets.append((right[0], right[1] & ~spoilt))
    return _judged(sets, gap)


def _judged(sets: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]], gap: float) -> Found:
    """What the test says of each pair of answers, and the power stated for the gap at the disagreement it saw."""
    first, either, stated = [], [], []
    for one, other in sets:
        test = mcnemar("a", "b", one, other)
        different = test.p_value < SIGNIFICANCE
        either.append(different)
        first.append(different and test.difference.value > 0)
        rate = max(gap, float((one != other).mean()))
        stated.append(mcnemar_power(len(one), rate, gap, SIGNIFICANCE) if rate else 0.0)
    return Found(float(np.mean(first)), float(np.mean(either)), float(np.mean(stated)))


def _error(share: float) -> float:
    """How far a share of the resamplings may lie from what it estimates."""
    return _DEVIATIONS * float(np.sqrt(max(share * (1 - share), 0.01) / RESAMPLINGS))


def main() -> int:
    """Prints a line for each test, and one JSON line for each claim."""
    same, misses = [], []
    print(f"{'what':<34}{'images':>8}{'called better':>15}{'stated power':>14}")
    for images in SIZES:
        copies = drawn(images, 0.0)
        same.append(copies.either)
        print(f"{'drawn, two copies':<34}{images:>8}{copies.either:>15.3f}{'':>14}")
        for gap, name in ((GAP, "3 points"), (detectable(images), "smallest detectable")):
            found = drawn(images, gap)
            stated = POWER if name != "3 points" else found.stated
            misses.append(abs(found.first - stated) / _error(stated))
            print(f"{f'drawn, {name} ({gap:.3f})':<34}{images:>8}{found.first:>15.3f}{stated:>14.3f}", flush=True)
    copies, planted = trained(0.0), trained(GAP)
    same.append(copies.either)
    misses.append(abs(planted.first - planted.stated) / _error(planted.stated))
    print(f"{'trained, two seeds':<34}{597:>8}{copies.either:>15.3f}{'':>14}")
    print(f"{'trained, 3 points':<34}{597:>8}{planted.first:>15.3f}{planted.stated:>14.3f}")
    for claim, figure, target, unit in (
        ("two copies of one configuration are called different", max(same), SIGNIFICANCE, "share of test sets"),
        ("found and stated power apart", max(misses), 1.0, f"{_DEVIATIONS} standard errors of {RESAMPLINGS} draws"),
    ):
        line = {"claim": claim, "figure": round(figure, 3), "target": target, "holds": figure <= target, "unit": unit}
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
