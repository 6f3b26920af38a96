"""A model on labelled images that are no part of its experiment: what it answers, and which of them it knows already.

An image is known where the prepared manifest that the model was made with holds the same file or the same decoded
pixels. Images of its splits are left out: what it was trained or chosen on says nothing, and the test split is opened
by `evaluate` alone.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.evaluation import Chosen, Masks, measure_with
from podium.analysis.predictions import Predictions, sort_predictions
from podium.analysis.slices import describe_images, resolve, slice_masks
from podium.config.judging import Abstain, Evaluate
from podium.console.progress import show_progress
from podium.core.errors import DataError, told
from podium.core.files import sha256_file, sha256_text
from podium.core.layout import MANIFEST, METRICS, Layout
from podium.curation.reading import MeasuredImage, read_measured
from podium.data.manifest import MEASURES, PREPARED_COLUMNS, image_id, read_manifest
from podium.records.base import round_floats
from podium.records.evaluation import Metrics
from podium.registry.holder import artifact_of
from podium.registry.loading import LoadedModel
from podium.registry.read_only import RegisteredModel, Version
from podium.sources.source import Part, SourceImage

BATCH_SIZE = 64  # images in memory at once
LEFT_OUT = ("path", "label", "reason", "known")
_SEEN = {"train": "it was trained on", "val": "it was chosen on (validation)", "test": "it was tested on"}


@dataclass(frozen=True)
class Known:
    """The images a model was made with: the split by sha256 of file or decoded pixels, and hashes of the train split.

    Attributes:
        splits: by sha256.
        train: columns `image_id split phash`.
    """

    splits: Mapping[str, str]
    train: pd.DataFrame


@dataclass(frozen=True)
class Answered:
    """What a model answered.

    Attributes:
        predictions: as the network gives them, with all that is known of the images.
        left_out: columns `LEFT_OUT`: images that were not asked about, `known` the split they are of (empty for none).
        known: how many of the images are of each split of the model; empty where that cannot be said.
        digest: of the images asked about and their labels.
    """

    predictions: Predictions
    left_out: pd.DataFrame
    known: dict[str, int]
    digest: str


@dataclass(frozen=True)
class Measured:
    """Metrics, slices, and the names of slices of the params that the images have no column for."""

    metrics: Metrics
    slices: Masks
    absent: list[str]


def read_known(layout: Layout, version: Version | None) -> Known | None:
    """What a version was made with, by its prepared manifest here, or in DVC's cache or remote at the version's commit.

    Args:
        layout: the project's paths.
        version: a version; None for a model of the experiment in force.

    Returns:
        None where the manifest is not to be had.
    """
    wanted = "" if version is None else version.tags.get("podium.data_digest", "none")
    if layout.manifest.is_file() and (version is None or sha256_file(layout.manifest) == wanted):
        return _known(layout.manifest)
    if version is None:
        return None
    commit = version.tags.get("podium.git_commit", "")
    data = _read_at(layout.root, commit, layout.manifest) if re.fullmatch(r"[0-9a-f]{40,64}", commit) else None
    if data is None or sha256(data).hexdigest() != wanted:
        return None
    with TemporaryDirectory(prefix="podium-manifest-") as folder:
        path = Path(folder) / MANIFEST
        path.write_bytes(data)
        return _known(path)


def _read_at(root: Path, commit: str, path: Path) -> bytes | None:
    """A file that DVC tracks as it was in a commit; None where the commit is not in this clone or DVC has lost it."""
    import dvc.api
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        found: bytes = dvc.api.read(path.relative_to(root).as_posix(), repo=str(root), rev=commit, mode="rb")
    except (DvcException, SCMError, OSError):
        return None
    return found


def _known(manifest: Path) -> Known:
    """Of a prepared manifest."""
    table = read_manifest(manifest, PREPARED_COLUMNS, "image_id", "photo_sha256", "split", "sha256", "phash")
    splits: dict[str, str] = {}
    for split in _SEEN:  # an image on two sides counts as one of the test split, which stays closed
        rows = table[table["split"] == split]
        splits |= dict.fromkeys([*rows["photo_sha256"], *rows["sha256"]], split)
    return Known(splits, table.loc[table["split"] == "train", ["image_id", "split", "phash"]])


def stored_metrics(layout: Layout, name: str, registered: RegisteredModel | None, version: Version | None) -> Metrics:
    """What was measured of a model on its test split.

    Raises:
        DataError: there is nothing, or an older Podium wrote it.
        TrackingError: the package of the version cannot be had.
    """
    if registered is None or version is None:
        return Metrics.read(layout.evaluation(name) / METRICS)
    with TemporaryDirectory(prefix="podium-version-") as folder:
        path = artifact_of(layout, registered.name, version, METRICS, Path(folder))
        try:
            return Metrics.read(path)
        except DataError as error:
            raise DataError(
                f"version {version.version} of {registered.name} is of an older Podium, which measured other things: "
                "name a newer one (`podium status`)"
            ) from error


def answer(loaded: LoadedModel, part: Part, known: Known | None, workers: int, *, with_known: bool = False) -> Answered:
    """Asks a model about labelled images, a batch at a time.

    Args:
        loaded: the model.
        part: the images, with labels it knows.
        known: what it knows already; None where that cannot be said.
        workers: threads that decode.
        with_known: also ask about images of its train and val splits.

    Raises:
        DataError: not one image is left.
    """
    card = loaded.classifier.card
    images = sorted(part.images, key=lambda image: image.key)
    skip = ("test",) if with_known else tuple(_SEEN)
    rows: list[dict[str, object]] = []
    out = [(file.path, "", file.reason, "") for file in part.skipped if file.image]
    answers, seen = [np.empty((0, len(card.classes)), np.float32)], Counter[str]()
    read = partial(_read, part, loaded)
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(max(1, workers)) as pool,
        show_progress("evaluate", len(images)) as advance,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # what matters is in the row
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            asked: list[NDArray[np.uint8]] = []
            for image, found in zip(batch, pool.map(read, batch), strict=True):
                split = "" if known is None or isinstance(found, str) else _split_of(known, *found)
                seen[split] += 1
                if isinstance(found, str) or split in skip:
                    reason = found if isinstance(found, str) else f"an image {_SEEN[split]}"
                    out.append((image.path, image.label, reason, split))
                    continue
                rows.append(_row(part, image, *found))
                asked.append(found[0].pixels)
            if asked:
                answers.append(loaded.classifier.probabilities(np.stack(asked), BATCH_SIZE))
            advance(len(batch))
    left_out = pd.DataFrame(out, columns=list(LEFT_OUT)).sort_values(["path", "reason"], ignore_index=True)
    if not rows:
        first = f" (first: {left_out['path'][0]!r}: {left_out['reason'][0]})" if len(left_out) else ""
        raise DataError(f"{part.origin.name}: no image is left to ask about{first}: give other images")
    counted = {} if known is None else {split: seen[split] for split in _SEEN}
    predictions, digest = _gathered(card.classes, pd.DataFrame(rows), np.concatenate(answers), known)
    return Answered(predictions, left_out, counted, digest)


def find_pixels(part: Part, loaded: LoadedModel) -> Callable[[str], NDArray[np.uint8]]:
    """What gives an image as the model saw it, uint8, shape (S, S, 3), by its `image_id`; reads its file once more."""
    images = {_id(part, image): image for image in part.images}

    def pixels(wanted: str) -> NDArray[np.uint8]:
        """One image."""
        found = _read(part, loaded, images[wanted])
        if isinstance(found, str):
            raise DataError(f"{images[wanted].path} changed while it was read: {found}")
        return found[0].pixels

    return pixels


def measure_new(loaded: LoadedModel, answered: Answered, stored: Metrics, evaluate: Evaluate, seed: int) -> Measured:
    """What `evaluate` measures, by the temperature, threshold and limits that the model was registered with.

    Args:
        loaded: the model.
        answered: what it answered.
        stored: its metrics on its test split.
        evaluate: that section of the params; quantiles of slices are those of these images.
        seed: of the bootstrap.
    """
    index, found = answered.predictions.index, stored.abstention
    absent = [name for name, one in evaluate.slices.items() if one.column not in index]
    abstain = Abstain(risk=found.target_risk, coverage=found.target_coverage)
    slices = {name: one for name, one in evaluate.slices.items() if name not in absent}
    changes = {"slices": slices, "abstain": abstain, "set_coverage": stored.sets.target_coverage}
    masks = slice_masks(resolve(slices, index), index)
    metrics = measure_with(
        loaded.classifier.card,
        Chosen.of(stored),
        test=answered.predictions,
        test_digest=answered.digest,
        slices=masks,
        settings=evaluate.model_copy(update=changes),
        seed=seed,
    )
    return Measured(round_floats(metrics), masks, absent)


def _read(part: Part, loaded: LoadedModel, image: SourceImage) -> tuple[MeasuredImage, str] | str:
    """An image and the sha256 of its file, or why it cannot be read."""
    try:
        data, box = part.source.read(image.path), image.box
        how = loaded.classifier.card.preprocessing
        return read_measured(data, how, (box.left, box.top, box.right, box.bottom)), sha256(data).hexdigest()
    except DataError as error:
        return told(error)


def _id(part: Part, image: SourceImage) -> str:
    """The key of an image; no source of a dataset has a name with a slash."""
    return image_id(f"new/{part.origin.name}", image.path, image.box.text)


def _split_of(known: Known, image: MeasuredImage, file: str) -> str:
    """The split that an image is of; empty for none."""
    return known.splits.get(image.sha256) or known.splits.get(file, "")


def _row(part: Part, image: SourceImage, found: MeasuredImage, file: str) -> dict[str, object]:
    """What is known of an image, as the manifest and `measures.parquet` have it."""
    left, top, right, bottom = image.box.left, image.box.top, image.box.right, image.box.bottom
    return {
        "image_id": _id(part, image),
        "path": image.path,
        "label": image.label,
        "group": image.group,
        "photo_sha256": file,
        "sha256": found.sha256,
        "phash": found.phash,
        "width": found.width,
        "height": found.height,
        "note": found.note,
        **{"box_left": left, "box_top": top, "box_right": right, "box_bottom": bottom},
        **image.extras,
        **found.measures,
    }


def _gathered(
    classes: Sequence[str],
    rows: pd.DataFrame,
    probabilities: NDArray[np.float32],
    known: Known | None,
) -> tuple[Predictions, str]:
    """Predictions with all that is known of their images, and the digest of these."""
    rows["duplicate_kind"] = np.where(rows.duplicated("sha256"), "exact", "")
    manifest = rows[[name for name in rows if name not in MEASURES]].assign(split="new")
    train = pd.DataFrame(columns=["image_id", "split", "phash"]) if known is None else known.train
    index = describe_images(
        rows[["image_id", "path", "label", "group"]],
        pd.concat([manifest, train]) if len(train) else manifest.drop(columns="phash"),
        rows[["image_id", *MEASURES]],
    )
    numbers = {name: place for place, name in enumerate(classes)}
    labels = np.array([numbers[label] for label in rows["label"]], dtype=np.int64)
    named = sorted(rows[["sha256", "label"]].itertuples(index=False, name=None))
    digest = sha256_text("\n".join(" ".join(pair) for pair in named))
    return sort_predictions(tuple(classes), index, labels, probabilities), digest
