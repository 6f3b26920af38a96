"""A study of the learning rate and the training run after it, on frozen layers, against plain loops.

`PODIUM_REAL_DATA=folder python -m benchmarks.lr_study`

Ten trials and one final training run of ResNet-18 at 224 px on `$PODIUM_REAL_DATA/flowers-photos.zip`; the last stage
and the head learn, the first weights are those of `data/` (`dvc pull data.dvc`). Podium gives up trials that are worse
than the median and computes the frozen layers once for each of four views of every image, for all trials and the
final run together. The baseline runs the same number of trials to their end, with Optuna's sampler over the same
range, in the straightforward loop of `frozen_recipe`. What preparing the images took is added to Podium's side.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.frozen_sides import Frozen, Spent, run
from benchmarks.photographs import FLOWERS, given, prepare
from benchmarks.scratch import ROOT

TARGET = 8.0
WEIGHTS = ROOT / "data" / "resnet18-shapes.safetensors"


def main() -> int:
    """Runs both studies and prints what they took, what they chose, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=60, help="photographs of each of the five classes")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--trial-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    data = given()
    if data is None:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        photographs = prepare(Path(folder), data / FLOWERS, options.image_size, options.per_class)
        frozen = Frozen(
            prepared=str(photographs.prepared),
            files=str(photographs.files),
            architecture="resnet18",
            weights=str(WEIGHTS),
            image_size=options.image_size,
            batch_size=options.batch_size,
            threads=options.threads,
            views=options.views,
            epochs=options.epochs,
            trials=options.trials,
            trial_epochs=options.trial_epochs,
        )
        plain, podium = run("plain-study", frozen), run("podium-study", frozen)
    sides = {"plain": (plain, 0.0), "Podium": (podium, photographs.cpu_seconds)}
    for name, (spent, before) in sides.items():
        print(_line(name, spent, before))
    cpu = plain.cpu_seconds[-1] / (podium.cpu_seconds[-1] + photographs.cpu_seconds)
    wall = plain.seconds[-1] / (podium.seconds[-1] + photographs.cpu_seconds)
    reached = {"plain": max(plain.accuracy), "podium": max(podium.accuracy)}
    print(
        json.dumps(
            {
                "claim": f"{options.trials} trials of the learning rate and the final run on a frozen prefix: time",
                "baseline": "the straightforward loop without cache or pruning",
                "figure": {"cpu": round(cpu, 2), "wall": round(wall, 2), "accuracy": reached},
                "target": f">= {TARGET:g} at equal or better validation accuracy",
                "holds": cpu >= TARGET and reached["podium"] >= reached["plain"],
                "unit": "times the baseline; accuracy as a fraction of the validation images",
            }
        )
    )
    return 0


def _line(name: str, spent: Spent, before: float) -> str:
    cpu, clock = spent.cpu_seconds[-1] + before, spent.seconds[-1] + before
    return (
        f"{name}: {spent.trials} trials ({spent.pruned} given up) and the final run: {cpu:.0f} CPU-s, {clock:.0f} s; "
        f"learning rate {spent.learning_rate:.2g}, best validation accuracy {max(spent.accuracy):.3f}; "
        f"peak memory {spent.peak_bytes / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
