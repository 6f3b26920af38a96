"""All that is to be known of a CUDA GPU, in eight minutes: `python -m benchmarks.gpu`; one line where there is none.

First `tests/gpu`: the CPU's losses, the same bytes twice and after a break. Then ResNet-50 and ConvNeXt-Tiny at 224 px
in bfloat16 and channels_last: images per second of the engine, which asks for deterministic kernels; of a bare step, as
it is written by hand (no reading, no augmentation, the quickest kernels, fused AdamW), in turns; the share of what a
bfloat16 matrix product reaches on the same device (three times the forward pass counts as the operations of a step);
whether reading batches keeps up; peak memory of the device. Images are random: speed does not depend on them.
Last, where PODIUM_REAL_DATA is set, `dvc repro` of the flowers at 224 px (`benchmarks.real_photographs`).
"""

import argparse
import json
import os
import subprocess
import sys
import time

import torch

from benchmarks.peak import matmul_flops
from benchmarks.trial_steps import Speed, measure, quicker, random_images, trial_job
from podium.config.models import ModelConfig
from podium.config.runtime import Runtime
from podium.config.train import Augment, Train
from podium.data import loader
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.job import Job

ARCHITECTURES = ("resnet50", "convnext_tiny")
SIDE, CLASSES, WARM_UP, AT_ONCE = 8192, 10, 5, 5


def reading_rate(job: Job) -> float:
    """Images per second that are read and copied to the device when nothing is computed."""
    order = loader.epoch_order(job.train.labels, "shuffle", job.seed, 0)
    pieces = [order[begin:end] for begin, end in loader.batch_boundaries(len(order), job.recipe.batch_size)]
    start = time.perf_counter()
    for staged in loader.prefetch(lambda rows: job.compute.pin(job.train.images(rows)), pieces):
        job.compute.copy_to_device(staged)
    torch.cuda.synchronize()
    return len(order) / (time.perf_counter() - start)


def bare_rate(config: ModelConfig, options: argparse.Namespace) -> float:
    """Images per second of forward, backward and step on images that lie on the device already."""
    compute = Compute.of(Runtime(device="cuda", dtype="bfloat16", channels_last=True))
    module = compute.place(zoo.create(config, CLASSES, 0)).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-6, fused=True)
    side = options.image_size
    x = torch.randn(options.batch_size, 3, side, side, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.arange(options.batch_size, device="cuda") % CLASSES

    def steps(count: int) -> float:
        for _ in range(count):
            with compute.autocast():
                loss = torch.nn.functional.cross_entropy(module(x), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
        torch.cuda.synchronize()
        return time.perf_counter()

    asked = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        start, done = steps(WARM_UP), AT_ONCE
        while (spent := steps(AT_ONCE) - start) < options.seconds:
            done += AT_ONCE
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return float(done * options.batch_size / spent)


def main() -> int:
    """Prints what the tests say, a table and one JSON line; 1 where a test fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of training steps in each round")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device")
        return 0
    print(f"{torch.cuda.get_device_name()}, batch {options.batch_size}, {options.image_size} px", flush=True)
    tested = subprocess.run([sys.executable, "-m", "pytest", "-q", "--durations=5", "tests/gpu"], check=False)
    _rates(options)
    if os.environ.get("PODIUM_REAL_DATA"):
        flowers = ["benchmarks.real_photographs", "flowers", "--side", "224", "--fast-device"]
        subprocess.run([sys.executable, "-m", *flowers], check=True)
    return tested.returncode


def _rates(options: argparse.Namespace) -> None:
    """The table of rates and the claim."""
    runtime = Runtime(device="cuda", dtype="bfloat16", channels_last=True, compile=options.compile)
    images = random_images(8 * options.batch_size, options.image_size)
    recipe = Train(epochs=1, batch_size=options.batch_size, augment=Augment(shift=0.0, crop_area=0.35))
    figure: dict[str, dict[str, float]] = {}
    for architecture in ARCHITECTURES:
        config = ModelConfig(architecture=architecture, train=recipe)
        job = trial_job(config, images, runtime, seed=0)
        best: Speed | None = None
        peak, reading, bare = 0.0, 0.0, 0.0
        for _ in range(options.rounds):
            peak = max(peak, matmul_flops(SIDE, "cuda"))
            reading = max(reading, reading_rate(job))
            best = quicker(best, measure(job, options.seconds))
            bare = max(bare, bare_rate(config, options))
        if best is None:
            raise SystemExit("--rounds must be at least 1")
        operations = 3 * zoo.flops(zoo.create(config, 10, 0), options.image_size)
        figure[architecture] = {
            "images_per_second": round(best.images_per_second, 1),
            "bare_step_per_second": round(bare, 1),
            "share_of_bare_step": round(best.images_per_second / bare, 3),
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


if __name__ == "__main__":
    raise SystemExit(main())
