"""`runtime.instructions: avx2` against `native`: `python -m benchmarks.portable_bytes`; what it costs, and which bytes.

Each is trained in processes of its own, in turn: a few of the engine's training steps of each network, with loading,
augmentation, loss and optimiser, on random images. Time is that of the CPU, importing left out. The last line is JSON:
sha256 of the weights under `avx2`, and of what NumPy, SciPy and OpenCV compute. Another machine with the same versions
of the libraries, `--steps` and `--side` agrees where it prints the same line.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal, get_args

from podium.config.models import ModelConfig
from podium.config.runtime import Runtime, instruction_settings
from podium.config.train import Augment, Train

if TYPE_CHECKING:
    import numpy as np

ARCHITECTURES = ("resnet18", "convnext_atto")
BATCH = 16
Instructions = Literal["native", "avx2"]
Measured = dict[str, tuple[str, float]]
"""sha256 (12 hex digits) and CPU-seconds, by what was computed."""


def train(architecture: str, runtime: Runtime, side: int, steps: int) -> tuple[str, float]:
    """Digest of the weights after some steps, and CPU-seconds of these, the first one left out."""
    from benchmarks.trial_steps import random_images, trial_job
    from podium.models import zoo
    from podium.models.batch_loader import BatchLoader
    from podium.models.learner import Learner

    recipe = Train(epochs=1, batch_size=BATCH, augment=Augment(rotation=10.0, saturation=0.1))
    job = trial_job(
        ModelConfig(architecture=architecture, train=recipe), random_images(BATCH * steps, side), runtime, 0
    )
    module = zoo.create(job.config, len(job.train.classes), job.seed)
    learner, started = Learner(job, module), 0.0
    learner.begin(0)
    for batch in BatchLoader(job, None).train(0):
        learner.step(batch, 1e-3)
        started = started or time.process_time()
    seconds = time.process_time() - started
    return _digest(*(tensor.numpy() for tensor in module.state_dict().values())), seconds


def other_libraries() -> Measured:
    """Digests of what NumPy, SciPy and OpenCV compute of the same numbers."""
    import cv2
    import numpy as np
    from scipy import linalg

    random = np.random.default_rng(0)
    numbers, image = random.random((300, 1000)), random.integers(256, size=(97, 131, 3), dtype=np.uint8)
    sizes = {cv2.INTER_AREA: (64, 64), cv2.INTER_LINEAR: (64, 64), cv2.INTER_CUBIC: (300, 300)}
    return {
        "numpy": (
            _digest(np.exp(numbers), np.log(numbers), np.tanh(numbers), numbers @ numbers.T, numbers @ numbers[0]),
            0,
        ),
        "scipy": (_digest(linalg.svd(numbers[:, :200])[1], linalg.lstsq(numbers.T, numbers[0, :].copy())[0]), 0),
        "opencv": (_digest(*(cv2.resize(image, size, interpolation=how) for how, size in sizes.items())), 0),
    }


def _digest(*arrays: "np.ndarray") -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(array.tobytes())
    return found.hexdigest()[:12]


def measure(instructions: Instructions, side: int, steps: int) -> Measured:
    """Everything that is measured, in this process, which was started with the settings."""
    runtime = Runtime(instructions=instructions)
    return {name: train(name, runtime, side, steps) for name in ARCHITECTURES} | other_libraries()


def main() -> int:
    """Prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="of 16 images")
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--here", choices=get_args(Instructions), help="measure one in this process, once")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.here, given.side, given.steps)))
        return 0
    found: dict[Instructions, list[Measured]] = {name: [] for name in get_args(Instructions)}
    shape = ("--steps", str(given.steps), "--side", str(given.side))
    for _ in range(given.rounds):
        for name, rounds in found.items():
            command = [sys.executable, "-m", __spec__.name, "--here", name, *shape]
            environment = {**os.environ, **instruction_settings(Runtime(instructions=name))}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            rounds.append(json.loads(done.stdout))
    print(f"{'':14} {'native':>14} {'avx2':>14}   CPU-seconds native, avx2 (least of {given.rounds}), ratio")
    for each in found["native"][0]:
        digests = [{rounds[each][0] for rounds in found[name]} for name in found]
        least = [min(rounds[each][1] for rounds in found[name]) for name in found]
        times = f"   {least[0]:.1f}, {least[1]:.1f}, {least[1] / least[0]:.2f}" if least[0] else ""
        print(f"{each:14} " + " ".join(f"{'/'.join(sorted(one)):>14}" for one in digests) + times)
    print(json.dumps({name: digest for name, (digest, _) in found["avx2"][0].items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
