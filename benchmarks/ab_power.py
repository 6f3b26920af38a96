"""How often equal models are called different, and how often a planted gap is found: `python -m benchmarks.ab_power`.

- Drawn: each image has a chance of being named rightly, drawn from a Beta distribution; two copies of one configuration
  answer by the same chances, a worse one by chances that are lower by the gap on average.
- Trained: random forests of ten trees on scikit-learn's digits, two seeds of one configuration, a new split each time.

Each line: the share of test sets on which the better model is called better, beside the power that
`analysis/power.py` states for them.

`--seeds S`: both are trained with S seeds, whose accuracies have a standard deviation besides. How often two copies are
called different, and how often the 90 % interval misses 0, by the t test of `analysis/seeds.py` and by a hierarchical
bootstrap over seeds and images; then how often the smallest difference that is stated (in the middle) is found.
"""

import argparse
import json
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.analysis.paired import mcnemar
from podium.analysis.power import POWER, mcnemar_power, minimum_detectable_difference
from podium.analysis.seeds import compare_seeds
from podium.records.evaluation import PairedTest

RESAMPLINGS, SIGNIFICANCE, GAP = 200, 0.05, 0.03
SIZES = (277, 2000, 10_000)
_BETA = (4.4, 0.6)  # right about 0.88 of the images, most of them surely
DEVIATIONS = (0.0, 0.005, 0.02)  # of accuracy between seeds
BOOTSTRAP = 1000
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


Answers = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Whether two models were right, each of shape (S, N)."""


def drawn_seeds(random: np.random.Generator, images: int, seeds: int, deviation: float, gap: float) -> Answers:
    """Two models that answer by the same chances, but for a gap of the second and for what a seed adds or takes."""
    chance = random.beta(*_BETA, size=images)
    shifts = random.normal(0, deviation, (2, seeds, 1)) - np.array([0, gap])[:, None, None]
    moved = np.where(
        shifts < 0, chance * (1 + shifts / chance.mean()), chance + (1 - chance) * shifts / (1 - chance.mean())
    )
    first, second = random.random((2, seeds, images)) < moved
    return first, second


def trained_seeds(number: int, seeds: int) -> Answers:
    """Two copies of a configuration, a forest a seed, on a new split of digits."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(number).permutation(len(labels))
    train, test = order[:1200], order[1200:]
    right = [
        RandomForestClassifier(n_estimators=10, random_state=1000 * number + copy)
        .fit(pictures[train], labels[train])
        .predict(pictures[test])
        == labels[test]
        for copy in range(2 * seeds)
    ]
    return np.stack(right[:seeds]), np.stack(right[seeds:])


def t_test(answers: Answers) -> PairedTest:
    """The product's test of two models over seeds."""
    first, second = (given.astype(np.int64) for given in answers)
    return compare_seeds("a", "b", np.ones(first.shape[1], np.int64), (first, second), "accuracy")


def bootstrapped(random: np.random.Generator, answers: Answers) -> tuple[float, float, float]:
    """A hierarchical bootstrap: seeds of each model are drawn, then images, the same for both; p, and a 90 % interval.

    Images with the same answers of all are one cell, so that drawing images is drawing a few numbers.
    """
    seeds, images = answers[0].shape
    cells, counts = np.unique(np.concatenate(answers).T, axis=0, return_counts=True)
    rates = random.multinomial(images, counts / images, size=BOOTSTRAP) @ cells / images
    drawn = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=(2, BOOTSTRAP)) / seeds
    apart = (rates[:, :seeds] * drawn[0]).sum(axis=1) - (rates[:, seeds:] * drawn[1]).sum(axis=1)
    tail = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
    low, high = np.quantile(apart, [0.05, 0.95])
    return min(1.0, 2 * (tail + 1) / (BOOTSTRAP + 1)), float(low), float(high)


def over_seeds(seeds: int, resamplings: int = 2 * RESAMPLINGS) -> int:
    """Prints how both tests hold their level, and one JSON line for each claim."""
    worst, found = 0.0, []
    print(f"{'images':>8}{'deviation':>11}{'t: differ':>11}{'misses 0':>10}", end="")
    print(f"{'bootstrap: differ':>19}{'misses 0':>10}{'smallest':>10}{'is found':>10}")
    for images, deviation in [*((n, d) for n in SIZES for d in DEVIATIONS), (597, None)]:
        random = np.random.default_rng([seeds, images])
        sets = [
            trained_seeds(number, seeds) if deviation is None else drawn_seeds(random, images, seeds, deviation, 0.0)
            for number in range(resamplings)
        ]
        tests, boots = [t_test(one) for one in sets], [bootstrapped(random, one) for one in sets]
        level = float(np.mean([test.p_value < SIGNIFICANCE for test in tests]))
        missed = float(np.mean([not test.difference.low <= 0 <= test.difference.high for test in tests]))
        theirs = float(np.mean([p < SIGNIFICANCE for p, _, _ in boots]))
        beside = float(np.mean([not low <= 0 <= high for _, low, high in boots]))
        worst = max(worst, level)
        shown = "trained" if deviation is None else f"{deviation:.3f}"
        line = f"{images:>8}{shown:>11}{level:>11.3f}{missed:>10.3f}{theirs:>19.3f}{beside:>10.3f}"
        if deviation is not None:
            stated = [minimum_detectable_difference(test, images, SIGNIFICANCE, of_accuracy=True) for test in tests]
            smallest = float(np.median([1.0 if each is None else each for each in stated]))
            apart = [t_test(drawn_seeds(random, images, seeds, deviation, smallest)) for _ in range(resamplings)]
            found.append(float(np.mean([t.p_value < SIGNIFICANCE and t.difference.value > 0 for t in apart])))
            line += f"{smallest:>10.3f}{found[-1]:>10.3f}"
        print(line, flush=True)
    _claim(
        f"two copies are called different, {seeds} seeds",
        worst,
        SIGNIFICANCE,
        "share of test sets",
        worst <= SIGNIFICANCE,
    )
    least = min(found)
    _claim(
        f"the stated difference is found, {seeds} seeds",
        least,
        POWER,
        "share of test sets",
        least >= POWER - _error(POWER),
    )
    return 0


def _claim(claim: str, figure: float, target: float, unit: str, holds: bool) -> None:
    """Prints one JSON line."""
    print(json.dumps({"claim": claim, "figure": round(figure, 3), "target": target, "holds": holds, "unit": unit}))


def _error(share: float) -> float:
    """How far a share of the resamplings may lie from what it estimates."""
    return _DEVIATIONS * float(np.sqrt(max(share * (1 - share), 0.01) / RESAMPLINGS))


def main() -> int:
    """Prints a line for each test, and one JSON line for each claim."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1, help="with which both models are trained")
    seeds = parser.parse_args().seeds
    if seeds > 1:
        return over_seeds(seeds)
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
        _claim(claim, figure, target, unit, figure <= target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
