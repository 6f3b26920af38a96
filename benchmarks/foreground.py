"""Which masks meet the object of the sample's pictures best: `python -m benchmarks.foreground [--project FOLDER]`.

Mean intersection over union (IoU) with the drawn object's pixels that are seen, on the test images of a prepared
default experiment: the object's box, GrabCut from the box, and U-Nets that learned from training images, of whose
boxes GrabCut made masks or of which the exact masks are known. One thread.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.scratch import ROOT
from podium.analysis.explanation_checks import boxes_in_square
from podium.analysis.slices import describe_images
from podium.core.layout import Layout
from podium.data.foreground import foreground_masks
from podium.data.shards import PreparedSplit, open_for_fitting, open_for_testing
from podium.models.unet import UNet, fit_unet
from podium.records.base import read_parquet
from podium.records.evaluation import Interval

Masks = NDArray[np.bool_]
RESAMPLES = 2000


def intersection_over_union(found: Masks, truth: Masks) -> NDArray[np.float64]:
    """|found and truth| / |found or truth| of each image, (N, S, S) each to (N,); 1 where both are empty."""
    either = (found | truth).sum(axis=(1, 2))
    both = (found & truth).sum(axis=(1, 2))
    shares: NDArray[np.float64] = np.divide(both, either, out=np.ones(len(found)), where=either > 0)
    return shares


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """The mean over images with its 95 % percentile bootstrap interval."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=float(values.mean()), low=float(low), high=float(high))


class Pictures:
    """Some images of a split of the sample: pixels, boxes in pixels, exact masks, and in which way each is hard."""

    def __init__(self, split: PreparedSplit, layout: Layout, most: int | None = None) -> None:
        """Draws the masks anew; files that were spoilt on purpose are left out."""
        sys.path.insert(0, str(ROOT / "tools"))
        from draw_sample import PARTNERS, SEED, SIZE, STYLE
        from sample_kinds import produce_kinds
        from sample_scene import draw_picture

        known = describe_images(split.index, read_parquet(layout.manifest), read_parquet(layout.measures))
        rows = np.flatnonzero((known["planted"] == "").to_numpy())[:most]
        self.images = split.images(rows)
        self.boxes = boxes_in_square(known, split.preprocessing)[rows]
        known = known.iloc[rows]
        self.hard = {
            "occluded": known["occlusion"].to_numpy(float) > 0,
            "busy background": known["clutter"].to_numpy(float) > 0,
            "several objects": known["objects"].to_numpy(int) > 1,
        }
        kinds, side = {kind.name: kind for kind in produce_kinds()}, self.images.shape[1]
        seen = []
        for path in split.index["path"].iloc[rows]:
            label, number = str(path).removesuffix(".jpg").split("/")[-2:]
            picture = draw_picture(
                SEED, kinds[label], int(number), size=SIZE, others=produce_kinds(), partners=PARTNERS, style=STYLE
            )
            large = Image.fromarray(picture.visible.astype(np.uint8) * 255)
            seen.append(np.asarray(large.resize((side, side), Image.Resampling.BOX)) > 127)
        self.truth = np.stack(seen)


def _row(
    name: str, find: Callable[[], Masks], test: Pictures, rival: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Prints a row of the table; returns the IoU of each image."""
    start = time.process_time()
    found = find()
    spent = (time.process_time() - start) / len(found)
    values = intersection_over_union(found, test.truth)
    gain = "–" if rival is None else _text(mean_interval(values - rival), "+.3f")
    clean = ~np.any(list(test.hard.values()), axis=0)
    parts = " | ".join(f"{values[rows].mean():.3f}" for rows in (clean, *test.hard.values()))
    print(f"| {name} | {_text(mean_interval(values), '.3f')} | {gain} | {parts} | {spent:.4f} |", flush=True)
    return values


def _text(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def main() -> None:
    """Prints the table and the claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="the folder of a prepared default experiment")
    parser.add_argument("--encoder", default="resnet18", help="a network with weights in data/ of that folder")
    parser.add_argument("--images", type=int, default=300, help="training images")
    given = parser.parse_args()
    torch.set_num_threads(1)
    layout, weights = Layout(given.project.resolve()), given.project / "data" / f"{given.encoder}-shapes.safetensors"
    test = Pictures(open_for_testing(layout.prepared), layout)
    train = Pictures(open_for_fitting(layout.prepared, "train"), layout, given.images)
    names = ("mean IoU", "more than GrabCut", "clean", *test.hard, "seconds an image")
    print(f"| masks of {len(test.images)} images | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    cut = _row("GrabCut", lambda: foreground_masks(test.images, test.boxes, "grabcut"), test, None)
    figure = {"grabcut": float(cut.mean())}
    box = _row("box", lambda: foreground_masks(test.images, test.boxes), test, cut)
    figure["box"] = float(box.mean())
    for kind in ("boxes", "exact masks"):
        start = time.process_time()
        unet = UNet(given.encoder, test.images.shape[1], 0, weights)
        known = train.truth if kind != "boxes" else foreground_masks(train.images, train.boxes, "grabcut")
        fit_unet(unet, train.images, known, 0)
        spent = time.process_time() - start
        name = f"U-Net from {len(train.images)} {kind} ({spent:.0f} s)"
        values = _row(name, partial(unet.masks, test.images, test.boxes), test, cut)
        figure[f"unet from {kind}"] = float(values.mean())
    claim = {
        "claim": "masks of the foreground on the sample's test images",
        "baseline": "box",
        "figure": {name: round(value, 4) for name, value in figure.items()},
        "target": "GrabCut, the default of the interventions, is the best of them",
        "holds": figure["grabcut"] == max(figure.values()),
        "unit": "mean intersection over union",
    }
    print(json.dumps(claim))


if __name__ == "__main__":
    main()
