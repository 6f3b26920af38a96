"""Which maps can be trusted on the sample's trained models: `python -m benchmarks.explanations [--project FOLDER]`.

For each model and method a row of a table: how often the highest point lies in the object's box, against the box's
share of the image (what a random point gets); how much better than a random order the map's order is when tiles are
deleted and inserted; rank correlation with maps of random weights, the head alone and everything; seconds of the
processor an image, with one thread. Methods that ask a network many times an image are checked on fewer images.
"""

import argparse
import time
from functools import partial
from pathlib import Path

from podium.analysis.explanation_checks import Checked, ask, boxes_in_square, check_method, evenly, points_better
from podium.analysis.slices import describe_images
from podium.analysis.statistics import percent
from podium.config.judging import ExplainChecks
from podium.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.core.layout import Layout
from podium.data.shards import PreparedSplit, open_for_testing
from podium.models.explanations import METHODS, explain
from podium.models.inference import AskedModel, open_models
from podium.records.base import read_parquet
from podium.records.explanation import MethodChecks, OrderCheck

QUICK = ("cam", "gradcam")
BATCH_SIZE = 32
TIMED = 4
"""Images whose maps are timed, after one that does not count."""


def measure(model: AskedModel, test: PreparedSplit, layout: Layout, name: str, few: int) -> str:
    """A row of the table; `few` is on how many images the slow methods are checked."""
    known = describe_images(test.index, read_parquet(layout.manifest), read_parquet(layout.measures))
    rows = evenly(len(test), len(test) if name in QUICK else few)
    boxes = boxes_in_square(known, test.preprocessing)
    checked = Checked(test.images(rows), test.labels[rows], boxes[rows])
    counts = ExplainChecks(images=len(rows), deletion=few, randomised=max(2, few // 16))
    asked = ask(model, checked.images, name, seed=0, batch_size=BATCH_SIZE)
    found = check_method(model, asked, checked, name, counts)
    for images in (checked.images[:1], checked.images[:TIMED]):
        start = time.process_time()
        list(model.map([partial(explain, images=images, name=name)]))
    return _row(model.card.model, name, found, (time.process_time() - start) / TIMED)


def _row(model: str, name: str, found: MethodChecks, seconds: float) -> str:
    """The row in Markdown."""
    boxes = found.boxes
    pointing = "–" if boxes is None else f"{percent(boxes.pointing)} / {boxes.chance:.1%}"
    better = "–" if boxes is None else "yes" if points_better(boxes) else "no"
    orders = " | ".join(_gain(order) for order in (found.deletion, found.insertion))
    alike = f"{found.randomised[0]:.2f} / {found.randomised[-1]:.2f}"
    return f"| {model} | {name} | {found.images} | {pointing} | {better} | {orders} | {alike} | {seconds:.2f} |"


def _gain(order: OrderCheck | None) -> str:
    """How much better than a random order, with its interval."""
    return "–" if order is None else f"{order.gain.value:.2f} [{order.gain.low:.2f} to {order.gain.high:.2f}]"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="the folder of a finished experiment")
    parser.add_argument("--images", type=int, default=48, help="on which the slow methods are checked")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    layout = Layout(given.project.resolve())
    test = open_for_testing(layout.prepared)
    print(
        "| model | method | images | points at the object / chance | better | deletion | insertion | alike | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with open_models(layout.root, Runtime(threads=1)) as models:
        for folder in sorted(path for path in layout.model("any").parent.iterdir() if path.is_dir()):
            for name in given.methods:
                try:
                    print(measure(models(folder), test, layout, name, given.images), flush=True)
                except ModelError as error:
                    print(f"| {folder.name} | {name} | {error} |", flush=True)


if __name__ == "__main__":
    main()
