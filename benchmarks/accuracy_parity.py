"""Does a faster loop learn as well? `PODIUM_REAL_DATA=<folder> python -m benchmarks.accuracy_parity`.

10,000 training images of CIFAR-10 (1,000 a class) at 32 px; ResNet-18 from random weights; Podium's engine in bfloat16
and channels_last against the reference recipe in float32, with the same optimiser, schedule, batch size, loss, epochs
and kinds of augmentation, three seeds each (weights, order, changes). Compared is the accuracy on the validation split
after the last epoch. The difference of the means must lie within its 95 % interval of seed noise (Student's, pooled).
"""

import argparse
import json
import math
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from scipy.stats import t

from benchmarks.photographs import CIFAR, given, prepare
from benchmarks.sides import Side, Task, run

SIDES: tuple[Side, Side] = ("podium", "reference")
TEST = 10
"""Test images of a class: some have to be there, none is looked at."""


def main() -> int:
    """Prints every run and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--per-class", type=int, default=1000)
    options = parser.parse_args()
    folder = given()
    if folder is None:
        return 0
    found: dict[Side, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as scratch:
        made = prepare(Path(scratch), folder / CIFAR, 32, {"train": options.per_class, "test": TEST})
        task = Task(
            prepared=str(made.prepared),
            files=str(made.files),
            image_size=32,
            batch_size=options.batch_size,
            epochs=options.epochs,
            threads=options.threads,
            small=True,
        )
        for seed in range(options.seeds):
            for side in SIDES:
                timed = run(side, replace(task, seed=seed))
                found[side].append(timed.accuracy)
                print(f"seed {seed}  {side:<10} accuracy {timed.accuracy:.4f}  {timed.seconds:6.1f} s", flush=True)
    _say(found, f"{10 * options.per_class} images of CIFAR-10 at 32 px, {options.epochs} epochs", options.seeds)
    return 0


def _say(found: dict[Side, list[float]], what: str, seeds: int) -> None:
    """Prints the JSON line.

    Args:
        found: accuracy of each seed, by side.
        what: the images and epochs, in words.
        seeds: how many; the target is what means of so many differ by in 95 of 100 cases, by Student's t.
    """
    podium, reference = (statistics.mean(found[side]) for side in SIDES)
    own_spread, their_spread = (statistics.stdev(found[side]) for side in SIDES)
    pooled = math.sqrt((own_spread**2 + their_spread**2) / 2)
    noise = t.ppf(0.975, 2 * (seeds - 1)) * pooled * math.sqrt(2 / seeds)
    print(
        json.dumps(
            {
                "claim": f"Podium's loop ends at the reference recipe's validation accuracy, ResNet-18 on {what}",
                "baseline": f"reference: {reference:.4f}, deviation between seeds {their_spread:.4f}",
                "figure": {
                    "difference": round(podium - reference, 4),
                    "podium": round(podium, 4),
                    "deviation_between_seeds": round(own_spread, 4),
                },
                "target": {"difference_at_most": round(noise, 4)},
                "holds": bool(abs(podium - reference) <= noise),
                "unit": f"validation accuracy, fraction, means of {seeds} seeds",
            }
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
