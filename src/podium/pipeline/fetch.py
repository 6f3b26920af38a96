"""Verb `fetch`: bring images and pretrained weights here, safe and pinned by hash. The only stage that goes online.

Writes `artifacts/raw` and `artifacts/weights`, both complete or not at all; the same source and params give the same
bytes. Stands on `sources`, `data` and `core`.
"""

import hashlib
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

import pandas as pd

from podium.core.config.contender import Model
from podium.core.config.dataset import Dataset, Fetch
from podium.core.errors import DataError, ParamsError, one_line
from podium.core.files import replacing_folder, sha256_file
from podium.core.layout import Layout
from podium.core.progress import show_progress
from podium.core.records.fetch import WeightsRecord
from podium.data.manifest import RAW_COLUMNS, image_id, write_manifest
from podium.data.raw import RawWriter
from podium.sources.listing import SourceImage
from podium.sources.merge import Origin, Part, describe, prepared
from podium.sources.opening import open_parts


def run(layout: Layout, dataset: Dataset, fetch: Fetch, models: Mapping[str, Model]) -> None:
    """Fetches the dataset and every model's pretrained weights.

    Args:
        layout: where files lie; `raw` and `weights` are written.
        dataset: where the images come from.
        fetch: limits of downloading and unpacking.
        models: the contenders by name, with their weights.

    Raises:
        DataError: images or weights are missing, damaged, unsafe or not what their sha256 says; nothing is written.
        ParamsError: a key does not fit the source.
    """
    with replacing_folder(layout.weights) as weights:
        for name, model in models.items():
            _write_weights(layout.data, weights / name, name, model)
        with replacing_folder(layout.raw) as raw, open_parts(layout, dataset, fetch) as listed:
            parts = [prepared(part) for part in listed]
            _write_images(raw, parts)
            sources = describe(parts)
            sources.write(raw / "sources.json")
    images = sum(source.images for source in sources.sources)
    came = f" from {len(parts)} sources" if len(parts) > 1 else ""
    print(
        f"fetch: {images:,} images, {len(sources.classes):,} classes, {len(sources.skipped):,} files skipped{came}",
        flush=True,
    )


# --- images --------------------------------------------------------------------------------------------------------


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
    write_manifest(raw / "manifest.parquet", pd.DataFrame(rows), RAW_COLUMNS)


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


# --- weights -------------------------------------------------------------------------------------------------------


def _write_weights(data: Path, folder: Path, name: str, model: Model) -> None:
    """Copies one model's pinned weights, or notes that it has none."""
    folder.mkdir()
    metadata: dict[str, str] = {}
    if model.weights != "none":
        copy = folder / "weights.safetensors"
        shutil.copyfile(_weights_file(data, name, model), copy)
        digest = sha256_file(copy)
        if digest != model.weights_sha256:
            raise DataError(
                f"{model.weights} has sha256 {digest}, but models.{name}.weights_sha256 asks for "
                f"{model.weights_sha256}: restore the file (dvc pull data.dvc), or correct the key if you trust it"
            )
        metadata = _safetensors_metadata(copy, model.weights)
    sha256 = None if model.weights == "none" else model.weights_sha256
    record = WeightsRecord(
        architecture=model.architecture,
        weights=model.weights,
        sha256=sha256,
        source=model.weights,
        licence=model.weights_licence or metadata.get("licence", "unknown"),
        pretraining=model.weights_pretraining or metadata.get("pretraining", "none" if sha256 is None else "unknown"),
        mean=None,
        std=None,
        metadata=metadata,
    )
    record.write(folder / "weights.json")


def _weights_file(data: Path, name: str, model: Model) -> Path:
    inside = PurePosixPath(unicodedata.normalize("NFC", model.weights.removeprefix("data:")))
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ParamsError(f"models.{name}.weights {model.weights!r} must name a file below data/: correct it")
    path = data / inside
    if not path.is_file():
        raise DataError(f"data/{inside}, the weights of model {name}, does not exist: run `dvc pull data.dvc`")
    return path


def _safetensors_metadata(path: Path, shown: str) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return dict(sorted((tensors.metadata() or {}).items()))
    except SafetensorError as error:
        raise DataError(f"{shown} is not a readable safetensors file ({one_line(error)}): make it again") from error
