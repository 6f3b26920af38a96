"""Does the interval of `podium learning-curve` hold the truth? `python -m benchmarks.learning_curve`.

Accuracies are drawn around known power laws, at the shares and with the number of draws that the command takes; the
share of 200 intervals that hold the true gain from doubling the images is told for each law.
"""

import json

import numpy as np

from podium.analysis.learning_curve import SHARES, fit_curve
from podium.records.training import LearningPoint

LAWS = ((0.12, 0.5, 0.02), (0.15, 0.35, 0.0), (0.05, 1.0, 0.05), (0.1, 0.2, 0.0), (0.02, 0.5, 0.1), (0.3, 0.1, 0.0))
"""Scale, exponent and floor of the error."""
SPREADS = (0.01, 0.02)  # standard deviation of the accuracy between draws
IMAGES, VAL_IMAGES, DRAWS, TIMES = 1000, 300, 3, 200


def main() -> int:
    """Prints one table and one JSON line."""
    print("scale | exponent | floor | spread | true gain | intervals that hold it | mean width")
    shares_held = []
    for law in LAWS:
        for spread in SPREADS:
            held, width = coverage(law, spread)
            shares_held.append(held)
            scale, exponent, floor = law
            gain = scale * (1 - 2**-exponent)
            print(f"{scale} | {exponent} | {floor} | {spread} | {gain:.4f} | {held:.1%} | {width:.3f}", flush=True)
    claim = {"claim": "95 % intervals of the gain hold it", "unit": "share of intervals, over all laws", "target": 0.93}
    mean = float(np.mean(shares_held))
    print(json.dumps(claim | {"figure": round(mean, 4), "least": min(shares_held), "holds": mean >= 0.93}))
    return 0


def coverage(law: tuple[float, float, float], spread: float, times: int = TIMES) -> tuple[float, float]:
    """The share of intervals that hold the true gain from doubling, and their mean width."""
    random = np.random.default_rng([int(1000 * value) for value in (*law, spread)])
    scale, exponent, floor = law
    held, width = 0, 0.0
    for time in range(times):
        points = [
            LearningPoint(
                share=share,
                draw=draw,
                images=round(share * IMAGES),
                accuracy=float(np.clip(1 - scale * share**-exponent - floor + random.normal(0, spread), 0, 1)),
            )
            for draw in range(DRAWS)
            for share in SHARES
        ]
        curve = fit_curve("model", "0" * 64, points, images=IMAGES, val_images=VAL_IMAGES, seed=time)
        held += curve.low <= scale * (1 - 2**-exponent) <= curve.high
        width += (curve.high - curve.low) / times
    return held / times, width


if __name__ == "__main__":
    raise SystemExit(main())
