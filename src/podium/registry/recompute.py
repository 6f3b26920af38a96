"""Do a version's papers follow from each other: its metrics from its predictions, its predictions from its weights?

The audit record says whether a package changed since it was registered; this finds papers that were wrong by then.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podium.analysis.calibration import calibrate, reliability
from podium.analysis.metrics import class_metrics
from podium.analysis.predictions import Predictions
from podium.analysis.slices import describe_images, resolve, slice_masks
from podium.analysis.statistics import confusion, macro_f1
from podium.config.judging import Evaluate
from podium.config.params import load
from podium.config.problems import nearest
from podium.console.openings import opened
from podium.core.errors import DataError, ModelError, first_few
from podium.core.layout import PREDICTIONS, Layout
from podium.data.shards import open_for_fitting, open_for_testing
from podium.records.base import read_parquet
from podium.registry.evidence import Evidence, VersionMetrics

if TYPE_CHECKING:
    from podium.models.inference import Classifier

SAMPLE = 64
"""Test images that are asked about again, unless all are."""
_SAME = 1e-6  # metrics.json keeps ten digits
_BATCH, _LISTED = 64, 5


def check_metrics(evidence: Evidence) -> tuple[str, str]:
    """What was seen of the metrics when they were computed again, and why that speaks against the version; or ""."""
    try:
        stored = _read_predictions(evidence.folder, tuple(evidence.card.classes))
    except DataError as error:
        return "not computed", f"its metrics cannot be computed again: {error}"
    differ = _metrics_not_given(evidence.metrics, stored)
    return f"{len(differ)} differ", first_few(differ, _LISTED)


def check_predictions(
    evidence: Evidence, classifier: "Classifier | str", layout: Layout, allowed: float, *, thorough: bool
) -> tuple[str, str]:
    """Asks the weights about test images again.

    Args:
        evidence: of the version.
        classifier: its model, or why it does not load.
        layout: the prepared splits of this clone, where they are of the same state; the ledger of openings.
        allowed: how far a probability may differ.
        thorough: ask about every image, and not about `SAMPLE` of them.

    Returns:
        What was seen, and why that speaks against the version; or "".
    """
    if isinstance(classifier, str):
        return "does not load", f"the packaged model does not load: {classifier}"
    try:
        stored = _read_predictions(evidence.folder, tuple(evidence.card.classes))
        images, difference = _ask_again(evidence, stored, classifier, layout.prepared, thorough)
    except (DataError, ModelError) as error:
        return "not computed", f"its predictions cannot be computed again: {error}"
    if images:
        above = f"its weights give other predictions: a probability differs by {difference:.1e}, above {allowed:.0e}"
        return f"{difference:.1e} on {images:,} images", above if difference > allowed else ""
    missing = "its test images are not here: `dvc checkout` in the commit that made it brings them"
    return "its test images are not here", missing if thorough or not _was_opened(evidence, layout) else ""


def measure_calibration(evidence: Evidence) -> float:
    """The expected calibration error of a version's predictions at its temperature, in [0, 1].

    Raises:
        DataError: its predictions are damaged.
    """
    stored = _read_predictions(evidence.folder, tuple(evidence.card.classes))
    calibrated = calibrate(stored, evidence.metrics.temperature or 1.0)
    bins = Evaluate().calibration_bins
    return reliability(calibrated.confidence, calibrated.correct, bins).expected_calibration_error


def find_slices(evidence: Evidence, layout: Layout, names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Which of a version's test images lie in which slice, shape (N,) in the order of its predictions.

    Args:
        evidence: of the version.
        layout: the prepared splits of this clone, and `evaluate.slices` of its params.
        names: of slices; each holds an image.

    Raises:
        DataError: its test images are not here, or a slice is not there or empty.
    """
    test, validation = open_for_testing(layout.prepared), open_for_fitting(layout.prepared, "val")
    if test.digest != evidence.metrics.test_digest:
        raise DataError("its test images are not here: `dvc checkout` in the commit that made it brings them")
    manifest, measures = (read_parquet(path) for path in (layout.manifest, layout.measures))
    known, fitting = (describe_images(split.index, manifest, measures) for split in (test, validation))
    told = known.set_index("image_id", drop=False).reindex(evidence.predictions["image_id"])
    masks = slice_masks(resolve(load(layout.params).evaluate.slices, fitting), told)
    for name in names:
        if name not in masks:
            raise DataError(f"there is no slice {name!r}{nearest(name, masks)} (slices: {', '.join(masks)})")
        if not masks[name][1].any():
            raise DataError(f"slice {name!r} holds no test image")
    return {name: masks[name][1] for name in names}


def _was_opened(evidence: Evidence, layout: Layout) -> bool:
    """Whether the ledger knows that this model was tested on this test split."""
    try:
        known = opened(layout, evidence.metrics.test_digest)
    except DataError:
        return False
    return (evidence.card.fingerprint, evidence.metrics.test_digest) in known


def _read_predictions(folder: Path, classes: tuple[str, ...]) -> Predictions:
    """The predictions in a package, whole.

    Args:
        folder: the package's `artifacts/`.
        classes: of the model, in the order of its outputs.

    Raises:
        DataError: the table is not of these classes, a label is none of them, a row does not sum to 1, or the class it
            names is not the most probable.
    """
    frame = read_parquet(folder / PREDICTIONS)
    columns = [f"p_{name}" for name in classes]
    if [name for name in frame.columns if name.startswith("p_")] != columns:
        raise DataError(f"{PREDICTIONS} is of other classes, or of the same in another order, than the model")
    number = {name: place for place, name in enumerate(classes)}
    if not set(frame["label"]) <= number.keys() or frame.empty:
        raise DataError(f"{PREDICTIONS} is empty, or a label in it is no class of the model")
    probabilities = frame[columns].to_numpy(np.float32)
    if not np.isfinite(probabilities).all() or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise DataError(f"{PREDICTIONS} holds probabilities that do not add up to 1")
    labels = np.array([number[label] for label in frame["label"]], dtype=np.int64)
    found = Predictions(classes, frame[["image_id", "label"]], labels, probabilities)
    if found.predicted_names != frame["predicted"].tolist():
        raise DataError(f"{PREDICTIONS} names classes that are not the most probable ones")
    return found


def _metrics_not_given(metrics: VersionMetrics, predictions: Predictions) -> list[str]:
    """Which numbers of `metrics.json` the predictions do not give, each with both values."""
    counts = confusion(predictions.labels, predictions.predicted, len(predictions.classes))
    given = {
        "images": float(len(predictions.labels)),
        "accuracy": float(predictions.correct.mean()),
        "macro_f1": float(macro_f1(counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))),
    }
    told = {"images": float(metrics.images), "accuracy": metrics.accuracy.value, "macro_f1": metrics.macro_f1.value}
    if set(metrics.per_class) != set(predictions.classes):
        return ["classes of metrics.json are not those of the predictions"]
    for name, found in class_metrics(predictions).items():
        for rate in ("precision", "recall", "f1", "support"):
            given[f"{rate} of {name}"] = float(getattr(found, rate))
            told[f"{rate} of {name}"] = float(getattr(metrics.per_class[name], rate))
    return [
        f"{name} is {told[name]:g}, its predictions give {value:g}"
        for name, value in given.items()
        if not abs(told[name] - value) <= _SAME
    ]


def _ask_again(
    evidence: Evidence, predictions: Predictions, classifier: "Classifier", prepared: Path, thorough: bool
) -> tuple[int, float]:
    """About how many images the model was asked (0: they are not here), and the largest difference of a probability.

    Raises:
        DataError: the images are here, and not those of the predictions.
        ModelError: the model answers with what is no number.
    """
    try:
        split = open_for_testing(prepared)
    except DataError:
        return 0, 0.0
    if split.digest != evidence.metrics.test_digest:
        return 0, 0.0
    there, told = (index["image_id"].to_numpy(str) for index in (split.index, predictions.index))
    order, stored = np.argsort(there), np.argsort(told)
    same = np.array_equal(there[order], told[stored])
    if not same or not np.array_equal(split.labels[order], predictions.labels[stored]):
        raise DataError("its predictions are not of the images and labels of its test split")
    rows = np.arange(len(order))
    if not thorough:  # drawn anew each time: nobody can know which images will be asked about
        rows = np.sort(np.random.default_rng(secrets.randbits(64)).permutation(rows)[:SAMPLE])
    now = np.concatenate(
        [
            classifier.probabilities(split.images(order[part]), _BATCH)
            for part in np.array_split(rows, max(1, len(rows) // 1024))
        ]
    )
    if not np.isfinite(now).all():
        raise ModelError("the model answers with NaN or infinity")
    return len(rows), float(np.abs(now - predictions.probabilities[stored[rows]]).max())
