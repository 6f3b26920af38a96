"""A packaged model run the way serving runs it: loaded, asked for its golden batch, timed, compared with another one.

It knows nothing of gates; a promotion judges what is found here.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.statistics import mcnemar
from podium.core.errors import DataError, ModelError
from podium.core.layout import MANIFEST, Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from podium.data.preprocess import crop_file
from podium.data.steps import region_of
from podium.records.evaluation import PairedTest
from podium.registry.evidence import Evidence, GoldenBatch

if TYPE_CHECKING:
    from podium.models.inference import Classifier

LATENCY_WARM_UPS = 3
LATENCY_CALLS = 21
CHUNK = 64  # images in memory at once


def load_model(folder: Path) -> "Classifier | str":
    """The model of a package, or why it does not load.

    Args:
        folder: the `artifacts/` of the package.
    """
    from podium.models.inference import load_classifier
    from podium.registry.predictor import serving_runtime

    try:
        return load_classifier(folder, serving_runtime(folder))
    except (DataError, ModelError) as error:
        return str(error)


def golden_difference(classifier: "Classifier", golden: GoldenBatch) -> float:
    """How far the model's probabilities of its golden batch are from those that were stored for it.

    Args:
        classifier: a loaded model.
        golden: images with C probabilities each.

    Returns:
        The largest absolute difference of a probability, in [0, 1].

    Raises:
        DataError: an image cannot be read.
        ModelError: there is no image, one has another number of probabilities than the model has classes, or a
            probability, stored or new, is not a number.
    """
    from podium.registry.predictor import predict_bytes

    classes = len(classifier.card.classes)
    lengths = {len(image.probabilities) for image in golden.images}
    if lengths != {classes}:
        told = ", ".join(map(str, sorted(lengths))) or "no image"
        raise ModelError(f"its golden batch has another shape ({told}) than {classes} probabilities an image")
    stored = np.array([image.probabilities for image in golden.images], dtype=np.float64)
    now = predict_bytes(classifier, golden.files).astype(np.float64)
    if not (np.isfinite(stored).all() and np.isfinite(now).all()):
        raise ModelError("a probability of its golden batch is not a number")
    return float(np.abs(now - stored).max())


def median_seconds(classifier: "Classifier", images: Sequence[bytes]) -> float:
    """How long one image takes, decoding included: the median of `LATENCY_CALLS` calls after some that do not count.

    Args:
        classifier: a loaded model.
        images: files, taken in turn, one a call; at least one.

    Raises:
        DataError: an image cannot be read.
        ModelError: the model's answers are not numbers.
    """
    from podium.registry.predictor import predict_bytes

    seconds = []
    for call in range(LATENCY_WARM_UPS + LATENCY_CALLS):
        start = time.perf_counter()
        predict_bytes(classifier, [images[call % len(images)]])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[LATENCY_WARM_UPS:])


def compare_with_holder(candidate: Evidence, holder: Evidence, layout: Layout) -> PairedTest:
    """Exact McNemar test of the candidate (`first`) against the present holder (`second`) on the same images.

    Args:
        candidate: the version to promote.
        holder: the version that holds the alias.
        layout: `artifacts/raw` holds the present test images.

    Returns:
        How many images only one of them names rightly, and p.

    Raises:
        DataError: the two cannot be brought onto the same images.
        ModelError: the holder does not load.
    """
    mine = candidate.predictions
    theirs = holder.predictions
    if candidate.test_digest != holder.test_digest:
        names = _predict_again(holder, mine["image_id"].tolist(), layout)
        theirs = mine.assign(predicted=names)
    if mine[["image_id", "label"]].to_numpy().tolist() != theirs[["image_id", "label"]].to_numpy().tolist():
        raise DataError(
            f"both were tested on data {candidate.test_digest[:12]}, but their stored predictions are of different "
            f"images, so the package of version {candidate.version} or {holder.version} was changed: "
            "`dvc repro publish` repairs that of the present winner; otherwise promote another version"
        )
    return mcnemar(candidate.version, holder.version, _right(mine), _right(theirs))


def _right(answers: pd.DataFrame) -> NDArray[np.bool_]:
    """Which images were named rightly, shape (N,)."""
    return (answers["label"].astype(str) == answers["predicted"].astype(str)).to_numpy(dtype=np.bool_)


def _predict_again(holder: Evidence, image_ids: Sequence[str], layout: Layout) -> list[str]:
    """The holder's class names for the candidate's test images, read from `artifacts/raw`."""
    from podium.models.inference import load_classifier
    from podium.registry.predictor import predict_bytes, serving_runtime

    raw = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS).set_index("image_id")
    absent = [i for i in image_ids if i not in raw.index]
    if absent:
        raise DataError(
            f"it was tested on other data, and {len(absent)} of the {len(image_ids)} present test images are not in "
            "artifacts/raw: run `dvc repro` and promote again"
        )
    classifier = load_classifier(holder.folder, serving_runtime(holder.folder))
    images = RawImages(layout.raw)
    most = classifier.card.preprocessing.max_pixels
    names: list[str] = []
    for start in range(0, len(image_ids), CHUNK):
        rows = raw.loc[list(image_ids[start : start + CHUNK])].to_dict("records")
        files = [crop_file(images.read(row["shard"], row["photo_id"]), region_of(row), most) for row in rows]
        probabilities = predict_bytes(classifier, files)
        names += [classifier.card.classes[i] for i in probabilities.argmax(axis=1)]
    return names
