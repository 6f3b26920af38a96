"""Prepared train and val splits of drawn shapes, with manifest and measures, for tests of what probes find in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from podium.config.preprocess import Preprocessing
from podium.curation.measures import measure
from podium.data.manifest import MEASURES, image_id
from podium.data.shards import PreparedSplit, finish_split, open_for_fitting

SIDE = 48
SHAPES = ("cross", "disc", "ring", "square")


@dataclass(frozen=True)
class Shapes:
    """What the probes are given."""

    splits: tuple[PreparedSplit, ...]
    manifest: pd.DataFrame
    measures: pd.DataFrame


def draw_shape(name: str, random: np.random.Generator) -> np.ndarray:
    """A shape of any colour, somewhere near the middle, on a noisy ground of any colour."""
    ground, ink = random.integers(40, 120, 3), random.integers(140, 256, 3)
    image = Image.new("RGB", (SIDE, SIDE), tuple(map(int, ground)))
    pen = ImageDraw.Draw(image)
    x, y, half = *random.integers(20, 29, 2), random.integers(8, 12)
    box, colour = [int(x - half), int(y - half), int(x + half), int(y + half)], tuple(map(int, ink))
    if name == "disc":
        pen.ellipse(box, fill=colour)
    elif name == "ring":
        pen.ellipse(box, outline=colour, width=4)
    elif name == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.line(box, fill=colour, width=5)
        pen.line([box[0], box[3], box[2], box[1]], fill=colour, width=5)
    noisy = np.asarray(image) + random.normal(0, 8, (SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def shape_pictures(per_class: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Pictures, uint8 (N, SIDE, SIDE, 3), and the shape of each, in turn."""
    random = np.random.default_rng(seed)
    labels = [SHAPES[i % len(SHAPES)] for i in range(per_class * len(SHAPES))]
    return np.stack([draw_shape(label, random) for label in labels]), labels


def draw_discs(count: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Discs of one colour on many small squares of others, their boxes, and which pixels are the disc's."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] + 0.5
    images, boxes, truth = [], [], []
    for _ in range(count):
        clutter = np.kron(random.integers(0, 150, (side // 4, side // 4, 3)), np.ones((4, 4, 1)))
        (row, column), radius = random.uniform(3 / 8, 5 / 8, 2) * side, random.uniform(3 / 16, 5 / 16) * side
        disc = np.hypot(x - column, y - row) < radius
        images.append(np.where(disc[..., None], [230, 190, 40], clutter) + random.normal(0, 6, (side, side, 3)))
        boxes.append([column - radius, row - radius, column + radius, row + radius])
        truth.append(disc)
    return np.clip(images, 0, 255).astype(np.uint8), np.array(boxes), np.stack(truth)


def write_shapes(
    folder: Path,
    pictures: np.ndarray,
    labels: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> Shapes:
    """Writes every fifth picture to val and the others to train, and opens them.

    Args:
        folder: of the prepared splits.
        pictures: uint8, shape (N, S, S, 3).
        labels: of each.
        sources: of each; one source by default.
        groups: `split_group` of each; its own by default.
        sizes: width and height of each original; square by default.
    """
    count, side = len(pictures), pictures.shape[1]
    rows = pd.DataFrame(
        {
            "image_id": [image_id("shapes", str(number)) for number in range(count)],
            "path": [f"{label}/{number:04d}.png" for number, label in enumerate(labels)],
            "label": labels,
            "group": "",
            "source": sources if sources is not None else ["shapes"] * count,
            "split": ["val" if number % 5 == 4 else "train" for number in range(count)],
            "width": [width for width, _ in sizes] if sizes is not None else [side] * count,
            "height": [height for _, height in sizes] if sizes is not None else [side] * count,
        }
    )
    rows["split_group"] = rows["image_id"] if groups is None else list(groups)
    how = Preprocessing(image_size=side, pad_value=114, max_pixels=10**6)
    for split in ("train", "val"):
        mine = (rows["split"] == split).to_numpy()
        (folder / split).mkdir(parents=True)
        np.save(folder / split / "images-00000.npy", pictures[mine])
        index = rows.loc[mine, ["image_id", "path", "label", "group"]]
        finish_split(folder / split, split, sorted(set(labels)), how, index)
    measures = pd.DataFrame([measure(picture) for picture in pictures], columns=list(MEASURES))
    measures.insert(0, "image_id", rows["image_id"])
    splits = tuple(open_for_fitting(folder, split) for split in ("train", "val"))
    return Shapes(splits, rows, measures)
