"""Where the time of a training epoch goes, by kind of operation: `python -m benchmarks.profile_training`.

ResNet-18, all of it learning, and ConvNeXt-Tiny, whose last stage and head learn from kept activations: random images
of 224 px, batch 32, bfloat16, channels_last, as the `finetune_*` and `frozen_recipe` benchmarks have them. The engine
itself runs (`fit`), once to warm up and to keep the activations, then under torch's profiler. It explains those
benchmarks: what is left after convolutions and matrix products is what a faster loop could still save.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Literal

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.sides import MEAN, STD, Task, recipe
from benchmarks.trial_steps import random_images
from podium.config.models import ModelConfig
from podium.config.runtime import Resources, Runtime
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.engine import fit
from podium.models.job import ActivationCache, Job

KINDS = {
    "gradients of convolutions": ("aten::convolution_backward",),
    "convolutions": ("aten::mkldnn_convolution",),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "normalisation": ("aten::native_batch_norm", "aten::native_layer_norm"),
    "activations, pooling": ("aten::threshold", "aten::clamp_min", "aten::gelu", "aten::max_pool2d", "aten::relu"),
    "optimiser": ("aten::_fused_adamw",),
}
RUNS: tuple[tuple[str, Literal["all", "last_stage"]], ...] = (("resnet18", "all"), ("convnext_tiny", "last_stage"))


def main() -> int:
    """Prints the shares of each kind, in percent of the profiled thread, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    task = Task("", "", options.image_size, options.batch_size, 1, options.threads)
    figure = {}
    for architecture, trainable in RUNS:
        shares = _profiled(task, architecture, trainable, options.steps)
        figure[f"{architecture}, {trainable}"] = shares
        print(f"{architecture}, {trainable}: " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()))
    claim = "share of each kind of operation in the time of an epoch's training steps and validation"
    print(json.dumps({"claim": claim, "figure": figure, "unit": "fraction of the time of torch's operations"}))
    return 0


def _profiled(task: Task, architecture: str, trainable: Literal["all", "last_stage"], steps: int) -> dict[str, float]:
    followed = recipe(task).model_copy(update={"views": None if trainable == "all" else 1})
    config = ModelConfig(architecture=architecture, trainable=trainable, train=followed)
    train = random_images(steps * task.batch_size, task.image_size)
    val = random_images(max(1, steps // 4) * task.batch_size, task.image_size)
    runtime = Runtime(threads=task.threads, dtype="bfloat16", channels_last=True)
    with tempfile.TemporaryDirectory() as folder:
        cache = ActivationCache(Path(folder), Resources().cache_gib, {})
        job = Job("profile", train, val, config, MEAN, STD, Compute.of(runtime), task.seed, cache)
        warming, module = (zoo.create(config, len(train.classes), task.seed) for _ in range(2))
        fit(job, warming)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            fit(job, module)
    spent = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    whole = sum(spent.values())
    of_kind = {
        kind: sum(time for name, time in spent.items() if name.startswith(prefixes)) / whole
        for kind, prefixes in KINDS.items()
    }
    return {kind: round(share, 3) for kind, share in {**of_kind, "the rest": 1 - sum(of_kind.values())}.items()}


if __name__ == "__main__":
    torch.manual_seed(0)
    raise SystemExit(main())
