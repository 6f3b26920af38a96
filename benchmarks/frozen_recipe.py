"""Training the last stage and the head alone, against the straightforward loop.

`PODIUM_REAL_DATA=folder python -m benchmarks.frozen_recipe`

The recipe of the surveillance study on photographs of 224 px (`$PODIUM_REAL_DATA/flowers-photos.zip`), ResNet-18 and
ConvNeXt-Tiny, random weights (speed does not depend on them). Podium computes the frozen layers once for each of four
views of every image, keeps what they give, and trains the last stage from that. The baseline freezes the same layers,
without gradients and in evaluation mode, and decodes, changes and computes every image in every epoch.

Both sides are run in turns, each in a process of its own, with validation after every epoch; each has its best round.
A baseline's epochs cost the same, so some are measured and stand for all 30. Of Podium's the epochs that compute a
view are measured, and some of those that do not. What preparing the images took once (decoding, resizing, writing) is
added to Podium's side.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.frozen_sides import Frozen, Spent, run
from benchmarks.photographs import FLOWERS, given, prepare

EPOCHS = 30
TARGETS = {"resnet18": 4.0, "convnext_tiny": 6.0}


def whole_run(spent: list[float], once: int, epochs: int) -> float:
    """Seconds of a run of `epochs` epochs, of which fewer were measured.

    Args:
        spent: at the end of each measured epoch, since the start.
        once: epochs at the start that are taken as they were; the mean of those after them stands for the rest.
        epochs: of the run.
    """
    start = spent[once - 1] if once else 0.0
    return start + (epochs - once) * (spent[-1] - start) / (len(spent) - once)


def main() -> int:
    """Measures both architectures; prints a line for each and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--per-class", type=int, default=60, help="photographs of each of the five classes")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--measured", type=int, default=3, help="epochs that are measured, besides those with a view")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    data = given()
    if data is None:
        return 0
    figure: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photographs = prepare(Path(folder), data / FLOWERS, options.image_size, options.per_class)
        for architecture in options.architectures:
            common = Frozen(
                prepared=str(photographs.prepared),
                files=str(photographs.files),
                architecture=architecture,
                weights=None,
                image_size=options.image_size,
                batch_size=options.batch_size,
                threads=options.threads,
                views=options.views,
                epochs=options.measured,
            )
            figure[architecture] = _compared(common, options.rounds, photographs.cpu_seconds)
    targets = {name: TARGETS[name] for name in figure}
    print(
        json.dumps(
            {
                "claim": f"last stage and head alone, {options.image_size} px, {EPOCHS} epochs, {options.views} views: "
                "images per CPU-second",
                "baseline": "ImageFolder, torchvision v2, float32, frozen layers without gradient",
                "figure": figure,
                "target": targets,
                "holds": all(figure[name]["cpu"] >= target for name, target in targets.items()),
                "unit": "times the baseline",
            }
        )
    )
    return 0


def _compared(common: Frozen, rounds: int, preparing: float) -> dict[str, float]:
    """Runs both sides in turns; how many times quicker Podium is, by the processor's time and by the clock."""
    ours, theirs = [], []
    podium = Frozen(**{**vars(common), "epochs": common.views + common.epochs})
    for _ in range(rounds):
        theirs.append(run("plain-recipe", common))
        ours.append(run("podium-recipe", podium))
        print(_line(common, theirs[-1], ours[-1]), flush=True)
    cpu = (
        min(whole_run(spent.cpu_seconds, 0, EPOCHS) for spent in theirs),
        preparing + min(whole_run(spent.cpu_seconds, common.views, EPOCHS) for spent in ours),
    )
    clock = (
        min(whole_run(spent.seconds, 0, EPOCHS) for spent in theirs),
        preparing + min(whole_run(spent.seconds, common.views, EPOCHS) for spent in ours),
    )
    peaks = [max(spent.peak_bytes for spent in side) / 2**20 for side in (theirs, ours)]
    print(
        f"{common.architecture}: {EPOCHS} epochs take {cpu[0]:.0f} CPU-s ({clock[0]:.0f} s) plainly, "
        f"{cpu[1]:.0f} CPU-s ({clock[1]:.0f} s) with Podium; peak memory {peaks[0]:.0f} and {peaks[1]:.0f} MiB",
        flush=True,
    )
    return {"cpu": round(cpu[0] / cpu[1], 2), "wall": round(clock[0] / clock[1], 2)}


def _line(common: Frozen, plain: Spent, podium: Spent) -> str:
    """CPU-seconds of an epoch in words, of Podium's also those in which a view is computed."""
    kept = (podium.cpu_seconds[-1] - podium.cpu_seconds[common.views - 1]) / common.epochs
    with_view = podium.cpu_seconds[common.views - 1] / common.views
    return (
        f"{common.architecture}: CPU-seconds of an epoch: plain {plain.cpu_seconds[-1] / common.epochs:.2f}, Podium "
        f"{with_view:.2f} with a new view, {kept:.2f} from kept ones"
    )


if __name__ == "__main__":
    sys.exit(main())
