"""Raw images for the tests of preprocess and validate: textured pictures, as `fetch` leaves them."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from podium.core.layout import Layout
from podium.core.records import SkippedFile, SourceRecord
from podium.data.manifest import RAW_COLUMNS, image_id, write_manifest
from podium.data.raw import RawWriter


@dataclass(frozen=True)
class RawFile:
    """One file of a source."""

    path: str
    label: str
    data: bytes
    split: str = ""
    occlusion: float = 0.0


def picture(label: str, number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Random coloured patches; the same for the same label and number."""
    rng = np.random.default_rng([*label.encode(), number])
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def files(labels: Iterable[str], count: int, split: str = "") -> list[RawFile]:
    """`count` pictures per class, e.g. `train/lemon/3.png`."""
    folder = f"{split}/" if split else ""
    seed = {"": 0, "train": 1000, "val": 2000, "test": 3000}[split]
    return [
        RawFile(f"{folder}{label}/{n}.png", label, png(picture(label, seed + n)), split, occlusion=n / 100)
        for label in labels
        for n in range(count)
    ]


def write_raw(layout: Layout, images: list[RawFile], skipped: Iterable[SkippedFile] = ()) -> None:
    """Writes `artifacts/raw` in shards of 50 images."""
    layout.raw.mkdir(parents=True)
    writer = RawWriter(layout.raw, shard_images=50)
    rows = []
    for file in sorted(images, key=lambda f: f.path):
        key = image_id("made-up", file.path)
        rows.append(
            {
                "image_id": key,
                "path": file.path,
                "source": "made-up",
                "label": file.label,
                "group": "fruit",
                "split": file.split,
                "shard": writer.add(key, file.data),
                "occlusion": file.occlusion,
            }
        )
    writer.close()
    write_manifest(layout.raw / "manifest.parquet", pd.DataFrame(rows), RAW_COLUMNS)
    SourceRecord(
        name="made-up",
        kind="folder",
        location="data/made-up",
        sha256=None,
        licence="CC0-1.0",
        images=len(rows),
        classes=sorted({file.label for file in images}),
        skipped=list(skipped),
    ).write(layout.raw / "sources.json")
