"""A few real training steps, timed: what the benchmarks of speed measure.

The steps are the engine's own, with loading, augmentation, loss and optimiser; nothing is kept of them.
"""

import gc
import itertools
import re
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from podium.config.models import ModelConfig
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.data.shards import PreparedSplit
from podium.models import zoo
from podium.models.batch_loader import BatchLoader
from podium.models.compute import Compute
from podium.models.job import ActivationCache, Job
from podium.models.learner import Learner

WARM_UP = 2
"""Steps that are not timed: kernels are chosen and memory is taken in them."""
_RATE = 1e-6  # the weights hardly move, so that no number of steps makes them infinite
_GREY = (0.5, 0.5, 0.5)
_CLASSES, _GROUPS = 10, 2  # of random images


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        images_per_second: of whole training steps, on the clock.
        step_seconds: of one step, on the clock.
        peak_bytes: of memory: of the device where that is CUDA, else of this process; None where nobody tells.
    """

    images_per_second: float
    step_seconds: float
    peak_bytes: int | None


def quicker(one: Speed | None, other: Speed) -> Speed:
    """The better time of two measurements of the same thing (noise only ever adds to it), and the higher peak."""
    if one is None:
        return other
    best = max(one, other, key=lambda speed: speed.images_per_second)
    peaks = [speed.peak_bytes for speed in (one, other) if speed.peak_bytes is not None]
    return replace(best, peak_bytes=max(peaks, default=None))


def trial_job(config: ModelConfig, images: PreparedSplit, runtime: Runtime, seed: int) -> Job:
    """A job to measure: the model's own, with everything that may learn learning from the first step.

    Views are left out, so that a frozen prefix is computed in every step, as it is where its cache has no room.

    Args:
        config: complete.
        images: to train on; nothing is validated.
        runtime: how to compute; sets torch's threads.
        seed: of the experiment.
    """
    recipe = config.train.model_copy(update={"views": None, "unfreeze_every": None})
    measured = config.model_copy(update={"train": recipe})
    return Job(
        "trial run", images, images, measured, _GREY, _GREY, Compute.of(runtime), seed, ActivationCache(Path(), 0, {})
    )


def measure(job: Job, seconds: float) -> Speed:
    """Times training steps of a network with fresh weights.

    Args:
        job: as `trial_job` makes it.
        seconds: to measure for, after `WARM_UP` steps; at least one step is timed.

    Returns:
        Means over the timed steps.

    Raises:
        ModelError: the network does not take the images, or memory is not enough.
        ParamsError: the loss does not fit the classes.
    """
    module = zoo.create(job.config, len(job.train.classes), job.seed)
    zoo.flops(module, job.train.preprocessing.image_size)  # refuses a size the network cannot take
    gc.collect()
    memory = _Memory(job.compute.device)
    images, steps = 0, 0
    with torch.random.fork_rng(devices=job.compute.generator_devices):
        run = training_steps(job, module)
        for _ in range(WARM_UP):
            next(run)
        _finish(job.compute.device)
        start = time.perf_counter()
        while not steps or time.perf_counter() - start < seconds:
            images += next(run)
            steps += 1
        _finish(job.compute.device)
        spent = time.perf_counter() - start
        run.close()  # its reader stops
    return Speed(images / spent, spent / steps, memory.peak())


def random_images(count: int, image_size: int) -> PreparedSplit:
    """Noise in place of a prepared split, where there is none yet.

    Args:
        count: of images.
        image_size: pixels a side.
    """
    labels = np.arange(count, dtype=np.int64) % _CLASSES
    pixels = np.random.default_rng(0).integers(256, size=(count, image_size, image_size, 3), dtype=np.uint8)
    index = pd.DataFrame(
        {"label": [str(label) for label in labels], "group": [str(label % _GROUPS) for label in labels]}
    )
    return PreparedSplit(
        name="train",
        classes=tuple(str(label) for label in range(_CLASSES)),
        preprocessing=Preprocessing(image_size=image_size, pad_value=0, max_pixels=image_size**2),
        digest="",
        index=index,
        labels=labels,
        shards=(pixels,),
    )


def training_steps(job: Job, module: nn.Module) -> Generator[int]:
    """Trains without end; yields the number of images of each step."""
    learner, feed = Learner(job, module), BatchLoader(job, None)
    for epoch in itertools.count():
        learner.begin(epoch)
        for batch in feed.train(epoch):
            learner.step(batch, _RATE)
            yield len(batch)


def _finish(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Memory:
    """The highest use of memory since it was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: the peak starts anew

    def peak(self) -> int | None:
        """Bytes; None where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii")
        except OSError:
            return None
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        return int(found[1]) * 1024 if found else None
