"""The packaged classifier: as `mlflow models serve` runs it, and as a promotion runs it the same way to judge it.

Preprocessing and weights come from the package alone. A bad image is the caller's error: a clean 400 that names the
row. It travels inside the package (`code/podium`).
"""

import base64
import binascii
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray
from pydantic import ValidationError

from podium.analysis.calibration import at_temperature
from podium.analysis.paired import holm, mcnemar
from podium.config.runtime import Runtime, use_instructions
from podium.core.errors import DataError, ModelError, ParamsError
from podium.core.layout import MANIFEST, MODEL_CARD, Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from podium.data.preprocess import crop_file, read_image, region_of
from podium.models.inference import Classifier, load_classifier
from podium.records.evaluation import PairedTest
from podium.records.training import ModelCard
from podium.registry.evidence import Evidence, VersionMetrics
from podium.registry.golden import GoldenBatch

COLUMN = "image"
BATCH_SIZE = 64  # images in memory at once
LATENCY_WARM_UPS = 3
LATENCY_ROUNDS, LATENCY_CALLS = 8, 3
_SHOWN = 24  # characters of a bad value that are worth repeating


class ImageClassifier(PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """Classifies the `image` column: JPEG, PNG, ... as base64 text or as bytes, one image a row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the weights that lie in the package.

        Raises:
            ModelError: they are not the weights of `model.json`.
        """
        folder = Path(context.artifacts["weights"]).parent
        self._classifier = load_classifier(folder, serving_runtime(folder))
        self._temperature = VersionMetrics.read(Path(context.artifacts["metrics"])).temperature or 1.0  # as it is

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Names what is in each image.

        Args:
            context: not used after loading.
            model_input: N rows with a column `image`.
            params: the model takes none.

        Returns:
            N rows: `label`, and as doubles `score` (its probability) and `p_<class>` for every class; calibrated if
            the model was when it was registered.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, a row holds no readable image.
        """
        try:
            images = [_file_in_row(value, row) for row, value in enumerate(model_input[COLUMN])]
            probabilities = at_temperature(predict_bytes(self._classifier, images), self._temperature)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return as_table(self._classifier.card.classes, probabilities)


def as_table(classes: list[str], probabilities: NDArray[np.float64]) -> pd.DataFrame:
    """What `ImageClassifier.predict` returns for probabilities, shape (N, C)."""
    answers = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
    answers.insert(0, "label", [classes[i] for i in probabilities.argmax(axis=1)])
    answers.insert(1, "score", probabilities.max(axis=1))
    return answers


def serving_runtime(folder: Path) -> Runtime:
    """How a package computes where it is served: as it was trained, on the CPU where there is no CUDA device.

    With the instructions this process has: others change a probability less than its golden batch allows.

    Raises:
        DataError: the model's card is damaged, or names no such runtime.
    """
    import torch

    written = ModelCard.read(folder / MODEL_CARD).runtime
    asked = Runtime.model_fields.keys() - {"processes"}  # which trained it
    try:
        runtime = Runtime.model_validate({key: value for key, value in written.items() if key in asked})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{folder / MODEL_CARD}: runtime.{key} cannot be {written[key]!r}: publish it anew") from error
    if runtime.device == "cuda" and not torch.cuda.is_available():
        runtime = runtime.model_copy(update={"device": "cpu"})
    try:
        use_instructions(runtime)
    except ParamsError:
        return runtime.model_copy(update={"instructions": "native"})
    return runtime


def predict_bytes(classifier: Classifier, images: Sequence[bytes]) -> NDArray[np.float32]:
    """Class probabilities of image files as the model gives them; serving, golden batch and gates predict through it.

    Args:
        classifier: a loaded model.
        images: the bytes of N image files.

    Returns:
        float32, shape (N, C), columns in the order of `classifier.card.classes`; rows sum to 1.

    Raises:
        DataError: an image cannot be read; the message starts with `row <n>: not an image: `.
    """
    parts = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = [_pixels(classifier, data, start + i) for i, data in enumerate(images[start : start + BATCH_SIZE])]
        parts.append(classifier.probabilities(np.stack(batch), BATCH_SIZE))
    return np.concatenate(parts) if parts else np.empty((0, len(classifier.card.classes)), dtype=np.float32)


def load_model(folder: Path) -> Classifier | str:
    """The model of a package (`folder` is its `artifacts/`), or why it does not load."""
    try:
        return load_classifier(folder, serving_runtime(folder))
    except (DataError, ModelError) as error:
        return str(error)


def golden_difference(classifier: Classifier, golden: GoldenBatch) -> float:
    """How far the model's probabilities of its golden batch are from those that were stored for it.

    Returns:
        The largest absolute difference of a probability, in [0, 1].

    Raises:
        DataError: an image cannot be read.
        ModelError: there is no image, one has another number of probabilities than the model has classes, or a
            probability, stored or new, is not a number.
    """
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


def seconds_for_one(classifiers: Sequence[Classifier], images: Sequence[bytes]) -> list[float]:
    """How long each model takes for one image, decoding included, when nothing else keeps the machine busy.

    The lowest of `LATENCY_ROUNDS` medians of `LATENCY_CALLS` calls each, after some that do not count: other programs
    only ever add to a time, so the lowest is the nearest to the model's own (as in Python's `timeit`), and the median
    keeps one lucky call from deciding. Of several models each has its turn in every round, so that all meet the same
    other programs.

    Args:
        classifiers: loaded models.
        images: files, taken in turn, one a call; at least one.
    """
    taken: list[list[float]] = [[] for _ in classifiers]
    for calls in (LATENCY_WARM_UPS, *[LATENCY_CALLS] * LATENCY_ROUNDS):
        for classifier, seconds in zip(classifiers, taken, strict=True):
            for _ in range(calls):
                start = time.perf_counter()
                predict_bytes(classifier, [images[len(seconds) % len(images)]])
                seconds.append(time.perf_counter() - start)
    rounds = range(LATENCY_WARM_UPS, LATENCY_WARM_UPS + LATENCY_ROUNDS * LATENCY_CALLS, LATENCY_CALLS)
    return [min(statistics.median(seconds[start : start + LATENCY_CALLS]) for start in rounds) for seconds in taken]


def compare_with_holder(candidate: Evidence, holder: Evidence, layout: Layout) -> PairedTest:
    """Exact McNemar test of the candidate (`first`) against the present holder (`second`) on the same images.

    Args and errors are those of `right_answers`.
    """
    return mcnemar(candidate.version, holder.version, *right_answers(candidate, holder, layout))


def compare_slices(
    candidate: Evidence, holder: Evidence, layout: Layout, masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, tuple[PairedTest, float]]:
    """The same on parts of the test images (`recompute.find_slices`), each with its p after Holm's correction."""
    first, second = right_answers(candidate, holder, layout)
    tests = [mcnemar(candidate.version, holder.version, first[mask], second[mask]) for mask in masks.values()]
    adjusted = holm([test.p_value for test in tests])
    return dict(zip(masks, zip(tests, adjusted, strict=True), strict=True))


def right_answers(candidate: Evidence, holder: Evidence, layout: Layout) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether candidate and present holder name each of the candidate's test images rightly, shape (N,) each.

    Args:
        candidate: the version to promote.
        holder: the version that holds the alias; it predicts again where it was tested on other data.
        layout: `artifacts/raw` holds the present test images.

    Raises:
        DataError: the two cannot be brought onto the same images.
    """
    mine, theirs = candidate.predictions, holder.predictions
    if candidate.test_digest != holder.test_digest:
        theirs = mine.assign(predicted=_predict_again(holder, mine["image_id"].tolist(), layout))
    if mine[["image_id", "label"]].to_numpy().tolist() != theirs[["image_id", "label"]].to_numpy().tolist():
        raise DataError(
            f"both were tested on data {candidate.test_digest[:12]}, but their stored predictions are of different "
            f"images, so the package of version {candidate.version} or {holder.version} was changed: "
            "`dvc repro publish` repairs that of the present winner; otherwise promote another version"
        )
    first, second = ((a["label"].astype(str) == a["predicted"].astype(str)).to_numpy(bool) for a in (mine, theirs))
    return first, second


def _predict_again(holder: Evidence, image_ids: Sequence[str], layout: Layout) -> list[str]:
    """The holder's class names for the candidate's test images, read from `artifacts/raw`."""
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
    for start in range(0, len(image_ids), BATCH_SIZE):
        rows = raw.loc[list(image_ids[start : start + BATCH_SIZE])].to_dict("records")
        files = [crop_file(images.read(row["shard"], row["photo_id"]), region_of(row), most) for row in rows]
        names += [classifier.card.classes[i] for i in predict_bytes(classifier, files).argmax(axis=1)]
    return names


def _pixels(classifier: Classifier, data: bytes, row: int) -> NDArray[np.uint8]:
    """One file as the model sees it, uint8, shape (H, W, 3); `row` is for the message."""
    try:
        return read_image(data, classifier.card.preprocessing).pixels
    except DataError as error:
        raise DataError(f"{not_an_image(row)}{error}") from error


def _file_in_row(value: object, row: int) -> bytes:
    """The file in a cell; `row` is for the message."""
    try:
        return image_bytes(value)
    except DataError as error:
        raise DataError(f"{not_an_image(row)}{error}") from error


def not_an_image(row: int) -> str:
    """How the message about an image that cannot be read begins."""
    return f"row {row}: not an image: "


def image_bytes(value: object) -> bytes:
    """An image file given as bytes, or as base64 text (a `data:` prefix is left out).

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        raise DataError(f"{type(value).__name__} given, base64 text of an image file expected")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{value[:_SHOWN]!r} is not base64 text: encode the file's bytes with base64") from error
