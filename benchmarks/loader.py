"""Reading batches against computing them: `PODIUM_REAL_DATA=<folder> python -m benchmarks.loader`.

The flower photographs at 224 px are read from their memory maps in the order of an epoch, as the engine reads them,
with nothing computed; that time per batch is held against the engine's training step of ResNet-18 in bfloat16. In
training a thread reads the next batch during the step, so what is measured here is not even waited for. Beside it:
augmentation and normalisation of a batch, which are part of the step.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.photographs import FLOWERS, given, prepare
from benchmarks.trial_steps import measure, trial_job
from podium.config.models import ModelConfig
from podium.config.runtime import Runtime
from podium.config.train import Augment, Train
from podium.data import loader
from podium.data.augment.batch import apply
from podium.data.augment.parameters import draw
from podium.data.randomness import generator
from podium.data.shards import open_for_fitting
from podium.models.job import Job

TARGET = 0.05
AUGMENT = Augment(shift=0.0, crop_area=0.35)


def reading_seconds(job: Job, epoch: int) -> float:
    """Seconds a batch to read one epoch."""
    order = loader.epoch_order(job.train.labels, "shuffle", job.seed, epoch)
    pieces = [order[begin:end] for begin, end in loader.batch_boundaries(len(order), job.recipe.batch_size)]
    start = time.perf_counter()
    for _ in loader.prefetch(lambda rows: job.compute.pin(job.train.images(rows)), pieces):
        pass
    return (time.perf_counter() - start) / len(pieces)


def changing_seconds(job: Job, step: int) -> float:
    """Seconds to draw the changes of a batch, apply them and normalise."""
    size, count = job.train.preprocessing.image_size, job.recipe.batch_size
    images = torch.from_numpy(job.train.images(np.arange(count)))
    start = time.perf_counter()
    apply(images, draw(AUGMENT, generator(job.seed, "augment", step), count, size), job.mean, job.std)
    return time.perf_counter() - start


def main() -> int:
    """Prints the rounds and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of training steps in each round")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--per-class", type=int, help="photographs of each class, at most; for a quick look")
    options = parser.parse_args()
    folder = given()
    if folder is None:
        return 0
    config = ModelConfig(architecture="resnet18", train=Train(epochs=1, batch_size=options.batch_size, augment=AUGMENT))
    runtime = Runtime(dtype="bfloat16", channels_last=True, threads=options.threads)
    rounds = []
    with tempfile.TemporaryDirectory() as scratch:
        made = prepare(Path(scratch), folder / FLOWERS, options.image_size, options.per_class)
        job = trial_job(config, open_for_fitting(made.prepared, "train"), runtime, seed=0)
        for number in range(options.rounds):
            reading = reading_seconds(job, number)
            step = measure(job, options.seconds).step_seconds
            changing = min(changing_seconds(job, number) for _ in range(3))
            rounds.append((reading / step, changing / step))
            print(
                f"round {number + 1}: reading {reading * 1e3:.2f} ms a batch, step {step * 1e3:.0f} ms, "
                f"of which changing {changing * 1e3:.1f} ms",
                flush=True,
            )
    share, changing_share = (statistics.median(values) for values in zip(*rounds, strict=True))
    print(
        json.dumps(
            {
                "claim": "reading a batch alone against the training step, ResNet-18 "
                f"{options.image_size} px bfloat16, batch {options.batch_size}, {options.threads} threads",
                "baseline": "the training step",
                "figure": {"share": round(share, 4), "share_of_augmentation": round(changing_share, 4)},
                "target": {"share": TARGET},
                "holds": share <= TARGET,
                "unit": f"share of the step's time, median of {options.rounds} rounds",
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
