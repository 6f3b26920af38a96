"""Model FLOP utilisation of the engine's training step, ResNet-18 in bfloat16: `python -m benchmarks.mfu`.

The operations of a step are taken as three times those of the forward pass (the usual count), divided by its time and
by what a 2048 x 2048 bfloat16 matrix product reaches on the same cores. Both are measured in turn; the step is the
engine's whole one, with reading, augmentation, loss and optimiser, on random images: speed does not depend on them.
"""

import argparse
import json
import statistics

from benchmarks.peak import matmul_flops
from benchmarks.trial_steps import measure, random_images, trial_job
from podium.config.models import ModelConfig
from podium.config.runtime import Runtime
from podium.config.train import Augment, Train
from podium.models import zoo

TARGET = 0.5
SIDE = 2048


def main() -> int:
    """Prints the rounds and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of training steps in each round")
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    recipe = Train(epochs=1, batch_size=options.batch_size, augment=Augment(shift=0.0, crop_area=0.35))
    config = ModelConfig(architecture=options.architecture, train=recipe)
    runtime = Runtime(dtype="bfloat16", channels_last=True, threads=options.threads)
    job = trial_job(config, random_images(4 * options.batch_size, options.image_size), runtime, seed=0)
    per_image = 3 * zoo.flops(zoo.create(config, 10, 0), options.image_size)
    shares, peaks, rates = [], [], []
    for number in range(options.rounds):
        before = matmul_flops(SIDE, "cpu")
        speed = measure(job, options.seconds)
        peak = max(before, matmul_flops(SIDE, "cpu"))
        used = per_image * speed.images_per_second
        print(
            f"round {number + 1}: {speed.images_per_second:.2f} images/s = {used / 1e9:.1f} GFLOP/s "
            f"of {peak / 1e9:.1f}, {used / peak:.3f}",
            flush=True,
        )
        shares.append(used / peak)
        peaks.append(peak)
        rates.append(speed.images_per_second)
    share = statistics.median(shares)
    print(
        json.dumps(
            {
                "claim": f"model FLOP utilisation of a training step, {options.architecture} {options.image_size} px "
                f"bfloat16, batch {options.batch_size}, {options.threads} threads",
                "baseline": f"{SIDE} x {SIDE} bfloat16 matrix product, {statistics.median(peaks) / 1e9:.0f} GFLOP/s",
                "figure": {"share": round(share, 3), "images_per_second": round(statistics.median(rates), 2)},
                "target": {"share": TARGET},
                "holds": share >= TARGET,
                "unit": f"share of the peak, median of {options.rounds} rounds",
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
