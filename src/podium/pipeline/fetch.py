"""Verb `fetch`: bring images and pretrained weights here, safe and pinned by hash. The only stage that goes online.

Writes `artifacts/raw` and `artifacts/weights`, both complete or not at all; the same source and params give the same
bytes. Stands on `sources`, `data` and `core`.
"""

import os
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path, PurePosixPath

import pandas as pd

from podium.core.config.dataset import Dataset, Fetch
from podium.core.config.training import Model
from podium.core.errors import DataError, ParamsError, one_line
from podium.core.files import replacing_folder, sha256_file
from podium.core.layout import Layout
from podium.core.records.fetch import SourceRecord, WeightsRecord
from podium.data.manifest import RAW_COLUMNS, image_id, write_manifest
from podium.data.raw import RawWriter
from podium.sources.archive import open_archive
from podium.sources.download import address, download, without_secrets
from podium.sources.folder import open_folder
from podium.sources.listing import Source, SourceImage
from podium.sources.progress import progress
from podium.sources.sample import open_sample
from podium.sources.selection import limited


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
        with replacing_folder(layout.raw) as raw, _open_source(layout, dataset, fetch) as source:
            images = limited(source.listing.images, dataset.limit_per_class)
            record = _record(layout, source, dataset, images)
            _write_images(raw, source, images, dataset.licence)
            record.write(raw / "sources.json")
    print(
        f"fetch: {len(images):,} images, {len(record.classes):,} classes, {len(record.skipped):,} files skipped",
        flush=True,
    )


# --- images --------------------------------------------------------------------------------------------------------


def _open_source(layout: Layout, dataset: Dataset, fetch: Fetch) -> AbstractContextManager[Source]:
    scratch = layout.work / "scratch"
    match dataset.source:
        case "sample":
            return open_sample(_local(layout, dataset), dataset.sha256, fetch, scratch)
        case "folder":
            if dataset.sha256 is not None:
                raise ParamsError("dataset.sha256 is the digest of an archive: set it to null for source `folder`")
            return open_folder(_local(layout, dataset))
        case "archive":
            path = _downloaded(layout, dataset, fetch) if _is_address(dataset.location) else _local(layout, dataset)
            return open_archive(path, dataset.sha256, fetch, scratch)


def _is_address(location: str) -> bool:
    return "://" in location


def _local(layout: Layout, dataset: Dataset) -> Path:
    if _is_address(dataset.location):
        raise ParamsError(
            f"dataset.location is an address, but source `{dataset.source}` reads from this machine: "
            "set dataset.source to `archive`"
        )
    path = _path(layout, dataset.location)
    pinned = dataset.source == "archive" and dataset.sha256 is not None
    if not pinned and not _watched(layout, path):
        otherwise = ", or set dataset.sha256" if dataset.source == "archive" else ""
        raise ParamsError(
            f"dataset.location {dataset.location!r} lies outside data/, which DVC does not watch: copy it below data/ "
            f"and run `dvc add data`{otherwise}"
        )
    return path


def _path(layout: Layout, location: str) -> Path:
    try:
        return Path(os.path.normpath(layout.root / Path(location).expanduser()))
    except RuntimeError as error:  # `~nobody/photos`
        raise ParamsError(f"dataset.location {location!r} names a home that is not known here: correct it") from error


def _watched(layout: Layout, path: Path) -> bool:
    """Whether DVC sees a change of it: DVC follows links to files, but not links to folders."""
    real = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    return real.is_relative_to(layout.data.resolve())


def _downloaded(layout: Layout, dataset: Dataset, fetch: Fetch) -> Path:
    shown = without_secrets(dataset.location)
    if address(dataset.location).scheme not in ("http", "https"):
        raise ParamsError(
            f"dataset.location {shown!r} is not an http:// or https:// address: download it and give its path"
        )
    if dataset.sha256 is None:
        raise ParamsError(
            f"dataset.sha256 is missing: an archive from an address ({shown}) must be pinned by its digest"
        )
    # The copies that `dvc exp run --temp` works in share one folder, so that each archive is downloaded once.
    return download(dataset.location, dataset.sha256, Layout(layout.main_root).downloads, fetch)


def _recorded(layout: Layout, location: str) -> str:
    """The location as it goes into a hashed file: nothing in it depends on where the project lies."""
    if _is_address(location):
        return without_secrets(location)
    path = _path(layout, location)
    return path.relative_to(layout.root).as_posix() if path.is_relative_to(layout.root) else path.name


def _record(layout: Layout, source: Source, dataset: Dataset, images: Sequence[SourceImage]) -> SourceRecord:
    listing = source.listing
    return SourceRecord(
        name=listing.name,
        kind=dataset.source,
        location=_recorded(layout, dataset.location),
        sha256=listing.sha256,
        licence=dataset.licence,
        images=len(images),
        classes=sorted({image.label for image in images}),
        skipped=list(listing.skipped),
    )


def _write_images(raw: Path, source: Source, images: Sequence[SourceImage], licence: str) -> None:
    """Packs every photograph once, in the order of their paths, and writes the manifest."""
    rows: list[dict[str, object]] = []
    shards: dict[str, str] = {}
    with progress("fetch", len(images)) as advance, closing(RawWriter(raw)) as writer:
        for image in sorted(images, key=lambda i: i.path):
            photo = image_id(source.listing.name, image.path)
            if photo not in shards:
                shards[photo] = writer.add(photo, source.read(image.path))
            rows.append(
                {
                    "image_id": image_id(source.listing.name, image.path, image.box.text),
                    "photo_id": photo,
                    "path": image.path,
                    "source": source.listing.name,
                    "label": image.label,
                    "source_label": image.source_label or image.label,
                    "group": image.group,
                    "split": image.split,
                    "licence": image.licence or licence,
                    "box_left": image.box.left,
                    "box_top": image.box.top,
                    "box_right": image.box.right,
                    "box_bottom": image.box.bottom,
                    "shard": shards[photo],
                    **image.extras,
                }
            )
            advance(1)
    write_manifest(raw / "manifest.parquet", pd.DataFrame(rows), RAW_COLUMNS)


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
    record = WeightsRecord(architecture=model.architecture, weights=model.weights, sha256=sha256, metadata=metadata)
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
