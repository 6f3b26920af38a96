"""What the table of slices and the search of the worst find, report by chance, and cost: `python -m benchmarks.slices`.

Answers are drawn: right with probability 0.874 (the better model of the sample), 10 points less in one slice or in
none. Slices are drawn too, 20 of a quarter of the images each, on validation and test splits of the same size.
"""

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.analysis.slice_search import Masks, search_slices
from podium.analysis.slices import is_worse, measure_slices

ACCURACY, GAP, SHARE, SLICES = 0.874, 0.1, 0.25, 20
SAMPLE, RUNS, TIMED = 277, 200, 1_000_000
SIZES = (SAMPLE, 500, 1000, 2000)
WANTED = 0.9
_PRECISION = 20  # images to which the needed number is measured


@dataclass(frozen=True)
class Reported:
    """Shares of the runs in which something was reported: by the table of slices, by the search."""

    table: float
    search: float


def draw(rng: np.random.Generator, images: int, gap: float) -> tuple[Masks, NDArray[np.bool_]]:
    """Slices drawn at random, and answers that are wrong more often in the first of them."""
    masks = {f"s{i:02d}": (f"slice {i}", rng.random(images) < SHARE) for i in range(SLICES)}
    return masks, rng.random(images) < ACCURACY - gap * masks["s00"][1]


def reported(images: int, gap: float, runs: int = RUNS) -> Reported:
    """How often the slice with the gap is named; where there is none, any slice.

    Args:
        images: of the validation split, and of the test split.
        gap: by how much the first slice is worse; 0 for no difference anywhere.
        runs: splits drawn.
    """
    rng = np.random.default_rng([images, round(1000 * gap)])
    table = search = 0
    for _ in range(runs):
        validation, test = draw(rng, images, gap), draw(rng, images, gap)
        parts = measure_slices(*test)
        table += is_worse(parts["s00"]) if gap else any(map(is_worse, parts.values()))
        confirmed = search_slices(*validation, *test).confirmed
        search += any("s00" in one.slices for one in confirmed) if gap else bool(confirmed)
    return Reported(table / runs, search / runs)


def images_needed(of: str, runs: int = RUNS) -> int:
    """Test images with which the slice that is 10 points worse is named in nine of ten runs, by bisection.

    Args:
        of: `table` or `search`.
        runs: splits drawn for each number of images.
    """
    low, high = SAMPLE, 8 * SAMPLE
    while high - low > _PRECISION:
        middle = (low + high) // 2
        enough = getattr(reported(middle, GAP, runs), of) >= WANTED
        low, high = (low, middle) if enough else (middle, high)
    return high


def seconds(images: int) -> float:
    """Processor seconds of the search on as many validation images and as many test images."""
    rng = np.random.default_rng(0)
    validation, test = draw(rng, images, GAP), draw(rng, images, GAP)
    begin = time.process_time()
    found = search_slices(*validation, *test)
    spent = time.process_time() - begin
    print(f"{images:,} predictions: {found.looked_at} looked at, {found.found} found, in {spent:.2f} s")
    return spent


def main() -> int:
    """Prints the table of `docs/results.md`, and one JSON line for each claim."""
    print("| images of each split | reported without a difference: table, search | 10 points found: table, search |")
    print("|---|---|---|")
    alarms = []
    for images in SIZES:
        none, found = reported(images, 0.0), reported(images, GAP)
        alarms.append(none)
        print(
            f"| {images:,} | {none.table:.3f}, {none.search:.3f} | {found.table:.3f}, {found.search:.3f} |", flush=True
        )
    needed = {of: images_needed(of) for of in ("table", "search")}
    print(f"images at which 10 points are found in {WANTED:.0%} of runs: {needed}", flush=True)
    for claim, figure, target, unit in (
        ("the table reports a slice where there is none", max(a.table for a in alarms), 0.05, "share of runs"),
        ("the search reports a slice where there is none", max(a.search for a in alarms), 0.05, "share of runs"),
        ("a regression of 10 points needs", max(needed.values()), SAMPLE, "test images, a quarter in the slice"),
        (f"the search over {TIMED:,} predictions", round(seconds(TIMED), 2), 60, "CPU-seconds"),
    ):
        print(json.dumps({"claim": claim, "figure": figure, "target": target, "holds": figure <= target, "unit": unit}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
