"""The packaged classifier behind `mlflow models serve`: image files in, labels and probabilities out.

Preprocessing and weights come from the package alone. A bad image is the caller's error: a clean 400 that names the
row. It travels inside the package (`code/podium`).
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from podium.config.runtime import Runtime
from podium.core.errors import DataError
from podium.core.layout import MODEL_CARD
from podium.data.preprocess import read_image
from podium.models.inference import Classifier, load_classifier

COLUMN = "image"
BATCH_SIZE = 64
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

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Names what is in each image.

        Args:
            context: not used after loading.
            model_input: N rows with a column `image`.
            params: the model takes none.

        Returns:
            N rows: `label`, `score` (its probability) and `p_<class>` for every class.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, a row holds no readable image.
        """
        try:
            images = [image_bytes(value, row) for row, value in enumerate(model_input[COLUMN])]
            probabilities = predict_bytes(self._classifier, images)
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return as_frame(probabilities, self._classifier.card.classes)


def serving_runtime(folder: Path) -> Runtime:
    """How a package computes where it is served: as it was trained, on the CPU where there is no CUDA device."""
    import torch

    from podium.records.training import ModelCard

    card = ModelCard.read(folder / MODEL_CARD)
    runtime = Runtime.model_validate({key: value for key, value in card.runtime.items() if key in Runtime.model_fields})
    if runtime.device == "cuda" and not torch.cuda.is_available():
        return runtime.model_copy(update={"device": "cpu"})
    return runtime


def image_bytes(value: object, row: int) -> bytes:
    """The bytes of an image file as they came in.

    Args:
        value: bytes, or base64 text (a `data:` prefix is left out).
        row: number of the row, from 0, for the message.

    Returns:
        The file's bytes.

    Raises:
        DataError: it is neither; the message starts with `row <n>: not an image: `.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        raise DataError(f"row {row}: not an image: {type(value).__name__} given, base64 text of an image file expected")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(
            f"row {row}: not an image: {value[:_SHOWN]!r} is not base64 text: encode the file's bytes with base64"
        ) from error


def predict_bytes(classifier: Classifier, images: Sequence[bytes]) -> NDArray[np.float32]:
    """Class probabilities of image files; serving, the golden batch and the promotion gates all predict through it.

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


def as_frame(probabilities: NDArray[np.float32], classes: Sequence[str]) -> pd.DataFrame:
    """The answer's columns: `label`, `score`, `p_<class>`; doubles, as the signature says."""
    wide = probabilities.astype(np.float64)
    best = wide.argmax(axis=1)
    columns: dict[str, object] = {
        "label": [classes[i] for i in best],
        "score": wide[np.arange(len(wide)), best],
    }
    columns.update({f"p_{name}": wide[:, i] for i, name in enumerate(classes)})
    return pd.DataFrame(columns)


def _pixels(classifier: Classifier, data: bytes, row: int) -> NDArray[np.uint8]:
    """One file as the model sees it, uint8, shape (H, W, 3); `row` is for the message."""
    try:
        return read_image(data, classifier.card.preprocessing).pixels
    except DataError as error:
        raise DataError(f"row {row}: not an image: {error}") from error
