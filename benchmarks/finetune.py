"""Podium's training loop against another one on the flower photographs: what the `finetune_*` benchmarks share.

Both sides train ResNet-18 at 224 px on the same images, a process each, in turn; the ratio is that of images per
second of the processor, the median over the rounds. Validation after every epoch is in the time of both. What
`preprocess` takes once is not: it is printed beside it, and so is the ratio over a run of some length that pays for it.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.photographs import FLOWERS, Photographs, given, prepare
from benchmarks.sides import Side, Task, Timed, run

RUN_OF = 20
"""Epochs of the run over which preprocessing is spread in one of the printed figures."""


def compare(peer: Side, description: str, target: float) -> int:
    """Runs one benchmark from the command line and prints its table and one JSON line.

    Args:
        peer: the other side.
        description: of it, in words.
        target: the least ratio of images per second of the processor.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--per-class", type=int, help="photographs of each class, at most; for a quick look")
    options = parser.parse_args()
    folder = given()
    if folder is None:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        photographs = prepare(Path(scratch), folder / FLOWERS, options.image_size, options.per_class)
        task = Task(
            prepared=str(photographs.prepared),
            files=str(photographs.files),
            image_size=options.image_size,
            batch_size=options.batch_size,
            epochs=options.epochs,
            threads=options.threads,
        )
        rounds = [_round(task, peer) for _ in range(options.rounds)]
    claim = (
        f"fine-tuning ResNet-18 at {task.image_size} px, batch {task.batch_size}, {task.threads} threads: "
        f"images per CPU-second against {description}"
    )
    _say(claim, target, task.epochs, photographs, rounds)
    return 0


def _round(task: Task, peer: Side) -> tuple[Timed, Timed]:
    """Runs both sides once and prints a line for each: Podium's time, then the peer's."""
    podium, other = run("podium", task), run(peer, task)
    for name, side in (("podium", podium), (peer, other)):
        print(
            f"{name:<10}{side.per_cpu_second:8.2f} images/CPU-s {side.per_second:8.2f} images/s "
            f"{side.peak_bytes / 2**20:8.0f} MiB   accuracy {side.accuracy:.3f}",
            flush=True,
        )
    return podium, other


def _say(claim: str, target: float, epochs: int, photographs: Photographs, rounds: list[tuple[Timed, Timed]]) -> None:
    """Prints what preprocessing takes and the JSON line; `target` is the least ratio that holds."""
    ratio = statistics.median(podium.per_cpu_second / other.per_cpu_second for podium, other in rounds)
    clock = statistics.median(podium.per_second / other.per_second for podium, other in rounds)
    with_preprocessing = statistics.median(
        other.cpu_seconds / (podium.cpu_seconds + photographs.cpu_seconds * epochs / RUN_OF) for podium, other in rounds
    )
    print(
        f"preprocessing, once: {photographs.cpu_seconds:.1f} CPU-s for {photographs.images} photographs of all splits; "
        f"with it, the ratio over {RUN_OF} epochs is {with_preprocessing:.2f}"
    )
    ours, theirs = (statistics.median(pair[side].per_cpu_second for pair in rounds) for side in (0, 1))
    memory = [max(pair[side].peak_bytes for pair in rounds) / 2**20 for side in (0, 1)]
    print(
        json.dumps(
            {
                "claim": claim,
                "baseline": f"{theirs:.2f} images per CPU-second, {memory[1]:.0f} MiB at the peak",
                "figure": {
                    "ratio": round(ratio, 2),
                    "images_per_cpu_second": round(ours, 2),
                    "ratio_on_the_clock": round(clock, 2),
                    "ratio_with_preprocessing": round(with_preprocessing, 2),
                    "peak_mib": round(memory[0]),
                },
                "target": {"ratio": target},
                "holds": ratio >= target,
                "unit": f"ratio, median of {len(rounds)} alternating rounds",
            }
        )
    )
