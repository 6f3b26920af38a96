"""Stage fetch: bring images and pretrained weights here, safe and pinned by hash. The only stage that goes online.

Writes `artifacts/raw` and `artifacts/weights`, both complete or not at all; the same source and params give the same
bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd

from podium.config.dataset import Dataset, Fetch
from podium.config.network import WeightedNetwork
from podium.console.progress import show_progress
from podium.core.files import replacing_folder
from podium.core.layout import MANIFEST, SOURCES, Layout
from podium.data.manifest import RAW_COLUMNS, RawWriter, image_id, write_manifest
from podium.sources.datasets import describe_sources, open_dataset, prepare_part
from podium.sources.source import Origin, Part, SourceImage
from podium.weights.writer import write_weights


def fetch_dataset(layout: Layout, dataset: Dataset, fetch: Fetch, models: Mapping[str, WeightedNetwork]) -> None:
    """Fetches the dataset and every model's pretrained weights.

    Raises:
        DataError: images or weights are missing, damaged, unsafe, not pinned, of a licence that is not allowed, or not
            what their sha256 says; nothing is written.
        ParamsError: a key does not fit the source, or an architecture is unknown; nothing was downloaded.
    """
    with replacing_folder(layout.weights) as weights:
        write_weights(layout, weights, models, fetch)
        with replacing_folder(layout.raw) as raw:
            parts = [prepare_part(part) for part in open_dataset(layout, dataset, fetch)]
            _write_images(raw, parts)
            sources = describe_sources(parts)
            sources.write(raw / SOURCES)
    images = sum(source.images for source in sources.sources)
    came = f" from {len(parts)} sources" if len(parts) > 1 else ""
    print(
        f"fetch: {images:,} images, {len(sources.classes):,} classes, {len(sources.skipped):,} files skipped{came}",
        flush=True,
    )


def _write_images(raw: Path, parts: Sequence[Part]) -> None:
    """Packs every photograph once, part by part in the order of their paths, and writes the manifest."""
    rows: list[dict[str, object]] = []
    with show_progress("fetch", sum(len(part.images) for part in parts)) as advance, closing(RawWriter(raw)) as writer:
        for part in parts:
            stored: dict[str, tuple[str, str]] = {}
            for image in sorted(part.images, key=lambda i: i.key):
                photo = image_id(part.origin.name, image.path)
                if photo not in stored:
                    data = part.source.read(image.path)
                    stored[photo] = hashlib.sha256(data).hexdigest(), writer.add(photo, data)
                rows.append(_row(part.origin, image, photo, *stored[photo]))
                advance(1)
    write_manifest(raw / MANIFEST, pd.DataFrame(rows), RAW_COLUMNS)


def _row(origin: Origin, image: SourceImage, photo: str, sha256: str, shard: str) -> dict[str, object]:
    """One image as the raw manifest knows it."""
    return {
        "image_id": image_id(origin.name, image.path, image.box.text),
        "photo_id": photo,
        "photo_sha256": sha256,
        "path": image.path,
        "source": origin.name,
        "label": image.label,
        "source_label": image.source_label or image.label,
        "group": image.group,
        "split": image.split,
        "licence": image.licence or origin.licence,
        "box_left": image.box.left,
        "box_top": image.box.top,
        "box_right": image.box.right,
        "box_bottom": image.box.bottom,
        "shard": shard,
        **image.extras,
    }
