"""Raw images as `fetch` leaves them, for tests: textured pictures, their rows and their shards."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS, RawWriter, image_id, write_manifest
from podium.records.fetch import SkippedFile, SourceRecord, Sources, TrainedOn
from podium.sources.source import WHOLE, Box


@dataclass(frozen=True)
class RawFile:
    """One file of a source."""

    path: str
    label: str
    data: bytes
    split: str = ""
    keep_together: str = ""
    occlusion: float = 0.0
    box: Box = WHOLE


def raw_row(
    path: str, label: str, split: str = "", box: Box = WHOLE, shard: str = "", data: bytes = b""
) -> dict[str, object]:
    """One row of the raw manifest."""
    return {
        "image_id": image_id("made-up", path, box.text),
        "photo_id": image_id("made-up", path),
        "photo_sha256": hashlib.sha256(data or path.encode()).hexdigest(),
        "path": path,
        "source": "made-up",
        "label": label,
        "source_label": label,
        "group": "fruit",
        "split": split,
        "keep_together": "",
        "licence": "CC0-1.0",
        "box_left": box.left,
        "box_top": box.top,
        "box_right": box.right,
        "box_bottom": box.bottom,
        "shard": shard,
    }


def picture(label: str, number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Random coloured patches; the same for the same label and number."""
    rng = np.random.default_rng([*label.encode(), number])
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a file."""
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
    shards: dict[str, str] = {}
    for file in sorted(images, key=lambda f: f.path):
        photo = image_id("made-up", file.path)
        if photo not in shards:
            shards[photo] = writer.add(photo, file.data)
        rows.append(
            {
                **raw_row(file.path, file.label, file.split, file.box, shards[photo], file.data),
                "keep_together": file.keep_together,
                "occlusion": file.occlusion,
            }
        )
    writer.close()
    write_manifest(layout.raw / "manifest.parquet", pd.DataFrame(rows), RAW_COLUMNS)
    source = SourceRecord(
        name="made-up",
        kind="folder",
        location="data/made-up",
        sha256=None,
        snapshot=None,
        licence="CC0-1.0",
        licences={"CC0-1.0": len(rows)},
        photographs=len(shards),
        images=len(rows),
        classes=sorted({file.label for file in images}),
        labels={},
        skipped=list(skipped),
    )
    Sources(sources=[source], shared={}).write(layout.raw / "sources.json")
    TrainedOn(models={}).write(layout.trained_on)
