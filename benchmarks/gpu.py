"""The engine's training step on a CUDA GPU: `python -m benchmarks.gpu`; one line where there is none.

ResNet-50 and ConvNeXt-Tiny at 224 px in bfloat16 and channels_last: images per second, share of what a bfloat16 matrix
product reaches on the same device (three times the forward pass counts as the operations of a step), whether reading
batches keeps up, and peak memory of the device. Images are random and lie in memory: speed does not depend on them.
"""

import argparse
import json
import time

import torch

from benchmarks.peak import matmul_flops
from benchmarks.trial_steps import Speed, measure, quicker, random_images, trial_job
from podium.config.models import ModelConfig
from podium.config.runtime import Runtime
from podium.config.train import Augment, Train
from podium.data import loader
from podium.models import zoo
from podium.models.job import Job

ARCHITECTURES = ("resnet50", "convnext_tiny")
SIDE = 8192


def reading_rate(job: Job) -> float:
    """Images per second that are read and copied to the device when nothing is computed."""
    order = loader.epoch_order(job.train.labels, "shuffle", job.seed, 0)
    pieces = [order[begin:end] for begin, end in loader.batch_boundaries(len(order), job.recipe.batch_size)]
    start = time.perf_counter()
    for staged in loader.prefetch(lambda rows: job.compute.pin(job.train.images(rows)), pieces):
        job.compute.copy_to_device(staged)
    torch.cuda.synchronize()
    return len(order) / (time.perf_counter() - start)


def main() -> int:
    """Prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of training steps in each round")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device")
        return 0
    runtime = Runtime(device="cuda", dtype="bfloat16", channels_last=True, compile=options.compile)
    images = random_images(8 * options.batch_size, options.image_size)
    recipe = Train(epochs=1, batch_size=options.batch_size, augment=Augment(shift=0.0, crop_area=0.35))
    figure: dict[str, dict[str, float]] = {}
    print(f"{torch.cuda.get_device_name()}, batch {options.batch_size}, {options.image_size} px")
    for architecture in ARCHITECTURES:
        config = ModelConfig(architecture=architecture, train=recipe)
        job = trial_job(config, images, runtime, seed=0)
        best: Speed | None = None
        peak, reading = 0.0, 0.0
        for _ in range(options.rounds):
            peak = max(peak, matmul_flops(SIDE, "cuda"))
            reading = max(reading, reading_rate(job))
            best = quicker(best, measure(job, options.seconds))
        if best is None:
            parser.error("--rounds must be at least 1")
        operations = 3 * zoo.flops(zoo.create(config, 10, 0), options.image_size)
        figure[architecture] = {
            "images_per_second": round(best.images_per_second, 1),
            "share_of_peak": round(operations * best.images_per_second / peak, 3),
            "reading_per_second": round(reading, 1),
            "peak_gib": round((best.peak_bytes or 0) / 2**30, 2),
        }
        print(f"{architecture:<16}{figure[architecture]}   matmul {peak / 1e12:.0f} TFLOP/s", flush=True)
    print(
        json.dumps(
            {
                "claim": f"training on {torch.cuda.get_device_name()}, bfloat16, {options.image_size} px: "
                "reading keeps up with the step",
                "baseline": f"{SIDE} x {SIDE} bfloat16 matrix product",
                "figure": figure,
                "target": "reading_per_second >= images_per_second for every network",
                "holds": all(f["reading_per_second"] >= f["images_per_second"] for f in figure.values()),
                "unit": "images per second; share of the matrix product's operations per second",
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
