"""Stage fetch: bring images and pretrained weights here, safe and pinned by hash. The only stage that goes online.

Writes `artifacts/raw` and `artifacts/weights`, both complete or not at all; the same source and params give the same
bytes. A file of weights is copied, the copy is hashed and the same copy is read, so nobody can change it in between.
A safetensors file is kept byte for byte unless its network has other names; a `.pth` file is converted.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd

from podium.config.dataset import Dataset, Fetch
from podium.config.models import WeightedNetwork
from podium.console.progress import show_progress
from podium.core.errors import DataError
from podium.core.files import replacing_folder, sha256_file
from podium.core.layout import MANIFEST, SOURCES, TRAINED_ON, WEIGHTS, WEIGHTS_CARD, Layout
from podium.data.manifest import RAW_COLUMNS, RawWriter, image_id, write_manifest
from podium.records.fetch import TRAINED_ON_KEY, TrainedOn, WeightsRecord, unpack_digests
from podium.sources.corrections import correct_labels
from podium.sources.datasets import describe_sources, open_dataset, prepare_part
from podium.sources.source import Origin, Part, SourceImage
from podium.weights.published import UNKNOWN, check_provenance, choose_weights
from podium.weights.weights_file import (
    WeightsFile,
    WeightsRequest,
    convert_tensors,
    fits_network,
    get_weights_file,
    is_pickled,
    read_header,
    read_state_dict,
)


def fetch_dataset(layout: Layout, dataset: Dataset, fetch: Fetch, models: Mapping[str, WeightedNetwork]) -> None:
    """Fetches the dataset and every model's pretrained weights.

    Raises:
        DataError: images or weights are missing, damaged, unsafe, not pinned, of a licence that is not allowed, or not
            what their sha256 says; or corrections do not fit the images; nothing is written.
        ParamsError: a key does not fit the source, or an architecture is unknown; nothing was downloaded.
    """
    with replacing_folder(layout.weights) as weights:
        write_weights(layout, weights, models, fetch)
        with replacing_folder(layout.raw) as raw:
            prepared = [prepare_part(part) for part in open_dataset(layout, dataset, fetch)]
            parts, corrections = correct_labels(layout, dataset.corrections, prepared)
            _write_images(raw, parts)
            sources = describe_sources(parts, corrections)
            sources.write(raw / SOURCES)
    for part in parts:
        for note in part.source.listing.notes:
            print(f"fetch: {part.origin.name}: {note}", flush=True)
    if corrections is not None:
        print(f"fetch: {corrections.location}: {corrections.said}", flush=True)
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
        "keep_together": image.keep_together,
        "licence": image.licence or origin.licence,
        "box_left": image.box.left,
        "box_top": image.box.top,
        "box_right": image.box.right,
        "box_bottom": image.box.bottom,
        "shard": shard,
        **image.extras,
    }


def write_weights(layout: Layout, folder: Path, models: Mapping[str, WeightedNetwork], fetch: Fetch) -> None:
    """Brings, verifies, converts and describes every model's weights; see `fetch_dataset` for the errors.

    Args:
        layout: the project's paths.
        folder: gets a folder a model with `weights.json` and, unless it starts from random weights,
            `weights.safetensors`.
        models: their sections by name.
        fetch: limits of downloading and the licences allowed.
    """
    wanted = [
        WeightsRequest(name, model, choose_weights(name, model, fetch.licences_allowed))
        for name, model in models.items()
    ]
    came = {each.name: get_weights_file(layout, each, fetch) for each in wanted if each.model.weights != "none"}
    _refuse_unpinned([(each, came[each.name]) for each in wanted if each.name in came])
    trained_on: dict[str, list[str]] = {}
    for each in wanted:
        (folder / each.name).mkdir()
        if each.name in came:
            record = _store(folder / each.name, each, came[each.name], fetch)
            record, digests = _take_digests(record)
            trained_on |= {each.name: digests} if digests else {}
        else:
            architecture = each.model.architecture
            record = WeightsRecord(
                architecture=architecture, weights="none", source="none", licence=UNKNOWN, pretraining="none"
            )
        record.write(folder / each.name / WEIGHTS_CARD)
    TrainedOn(models=trained_on).write(folder / TRAINED_ON)


def _take_digests(record: WeightsRecord) -> tuple[WeightsRecord, list[str]]:
    """The record without the digests of the photographs that Podium trained the weights on, and these.

    Raises:
        DataError: they are damaged.
    """
    metadata = dict(record.metadata)
    try:
        digests = unpack_digests(metadata.pop(TRAINED_ON_KEY, ""))
    except ValueError as error:
        raise DataError(
            f"{record.weights}: its metadata {TRAINED_ON_KEY!r} is damaged ({error}): restore the file as trained"
        ) from error
    return record.model_copy(update={"metadata": metadata}), digests


def _refuse_unpinned(came: Sequence[tuple[WeightsRequest, WeightsFile]]) -> None:
    """Refuses published weights without a pin, with all their digests.

    Raises:
        DataError: there are some, or one is not what its source states.
    """
    missing = []
    for request, file in came:
        if request.model.weights_sha256 is None:
            digest = sha256_file(file.path)
            if not digest.startswith(file.stated):
                raise DataError(
                    f"{request.shown} has sha256 {digest}, but its source says {file.stated}: it was damaged or "
                    f"changed, {file.remedy}"
                )
            missing.append(f'{request.keys.sha256}: "{digest}"')
    if missing:
        raise DataError(
            f"published weights must be pinned by their digest: write {', '.join(missing)} to params.yaml if you trust "
            "what just came (it is downloaded already)"
        )


def _check_pin(request: WeightsRequest, file: WeightsFile, digest: str) -> None:
    """Holds the digest of a file that came against its pin.

    Raises:
        DataError: it is another one: the source changed, or the file was damaged.
    """
    if digest == request.model.weights_sha256:
        return
    upstream = bool(file.stated) and digest.startswith(file.stated)
    remedy = "it was changed at its source" if upstream else file.remedy
    raise DataError(
        f"{request.shown} has sha256 {digest}, but {request.keys.sha256} asks for {request.model.weights_sha256}: "
        f"{remedy}, or correct the key if you trust it"
    )


def _store(folder: Path, request: WeightsRequest, file: WeightsFile, fetch: Fetch) -> WeightsRecord:
    """Verifies the file, writes its tensors, and returns what is known of them."""
    model, weights = request.model, request.published
    copy, stored = folder / "as-it-came", folder / WEIGHTS
    shutil.copyfile(file.path, copy)
    _check_pin(request, file, sha256_file(copy))
    metadata = _convert(copy, stored, request, file.path.name)
    said = (weights.licence, weights.pretraining) if weights else _said_in_file(metadata)
    licence, pretraining = check_provenance(request.name, model, *said, fetch.licences_allowed)
    return WeightsRecord(
        architecture=model.architecture,
        weights=request.shown,
        sha256=model.weights_sha256,
        stored_sha256=sha256_file(stored),
        source=file.source,
        licence=licence,
        pretraining=pretraining,
        mean=weights.mean if weights else None,
        std=weights.std if weights else None,
        metadata=metadata,
    )


def _said_in_file(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Licence and pretraining that a safetensors file states itself."""
    return metadata.get("licence", metadata.get("license", UNKNOWN)), metadata.get("pretraining", UNKNOWN)


def _convert(copy: Path, stored: Path, request: WeightsRequest, name: str) -> dict[str, str]:
    """Makes `stored` from the verified copy of file `name`, which it takes away; returns the metadata it came with.

    Published weights get the names that their network has; others stay as they came.
    """
    weights = request.published
    if is_pickled(copy, name, request.shown):
        metadata: dict[str, str] = {}
        tensors = read_state_dict(copy, request.shown)
    else:
        metadata, shapes = read_header(copy, request.shown)
        if weights is None or fits_network(weights, shapes):
            copy.rename(stored)
            return metadata
        from safetensors.torch import load_file

        tensors = load_file(copy)
    from podium.data.tensors import save_weights

    if weights is not None and not fits_network(weights, {key: tuple(each.shape) for key, each in tensors.items()}):
        tensors = convert_tensors(weights, tensors)
    save_weights(stored, tensors, {})
    copy.unlink()
    return metadata
