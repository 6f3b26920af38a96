"""How much too good the best of N models looks on one test set: `python -m benchmarks.openings`.

Models of one true accuracy answer the same images; the best of N is taken and its accuracy on them compared with the
true one. Alone each is right by its own luck; correlated ones share most of their luck, as networks of one task do; an
adaptive search mixes models by what the test set said of each, and so learns its answers (docs/metrics.md).
"""

import json

import numpy as np
from numpy.typing import NDArray

from podium.console.openings import Openings

ACCURACY, SHARED = 0.85, 0.8  # true; share of images on which correlated models are right or wrong together
IMAGES, MODELS, DRAWS = (264, 1000), (1, 2, 5, 10, 20, 50, 100), 400


def main() -> int:
    """Prints one table and one JSON line."""
    print("images | models | bound | independent | correlated | adaptive (two classes, guessing)")
    worst = 0.0
    for images in IMAGES:
        for models in MODELS:
            bound = Openings(models, images, None).bias
            alone, shared = (mean_bias(images, models, share) for share in (0.0, SHARED))
            adaptive = adaptive_bias(images, models)
            print(f"{images:,} | {models} | {bound:.3f} | {alone:.3f} | {shared:.3f} | {adaptive:.3f}", flush=True)
            worst = max(worst, alone - bound, shared - bound)
    claim = {"claim": "models that do not follow the test results stay below the bound", "unit": "most above it"}
    print(json.dumps(claim | {"figure": round(worst, 4), "target": 0.003, "holds": bool(worst <= 0.003)}))
    return 0


def mean_bias(images: int, models: int, shared: float, draws: int = DRAWS) -> float:
    """How much better than the truth the best of several models looks, on average over test sets; a fraction."""
    random = np.random.default_rng([images, models, int(100 * shared)])
    found = np.empty(draws)
    for draw in range(draws):
        together: NDArray[np.bool_] = random.random(images) < ACCURACY
        own = random.random((models, images)) < ACCURACY
        right = np.where(random.random((models, images)) < shared, together, own)
        found[draw] = right.mean(axis=1).max() - ACCURACY
    return float(found.mean())


def adaptive_bias(images: int, models: int, draws: int = DRAWS) -> float:
    """Of the majority vote of those guessing models that the test set called better than chance (two classes)."""
    random = np.random.default_rng([images, models])
    found = np.empty(draws)
    for draw in range(draws):
        right = random.random((models, images)) < 0.5
        turned = np.where((right.mean(axis=1) >= 0.5)[:, None], right, ~right)
        votes = turned.sum(axis=0) + random.random(images) - 0.5  # ties by lot
        found[draw] = (votes > models / 2).mean() - 0.5
    return float(found.mean())


if __name__ == "__main__":
    raise SystemExit(main())
