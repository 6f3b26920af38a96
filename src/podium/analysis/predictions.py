"""What a model said about every image of a split, in one fixed order. Needs pandas and pyarrow only.

`evaluate` writes it, `compare` reads back who was right about which image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from podium.core.errors import DataError, ModelError
from podium.core.files import replacing
from podium.records.base import read_parquet


@dataclass(frozen=True)
class Predictions:
    """Predictions on N images over C classes, sorted by `image_id`.

    Attributes:
        classes: C names, sorted.
        index: N rows; `image_id path label` and what the source knew of each image.
        labels: true class numbers, shape (N,), int64.
        probabilities: shape (N, C), float32, each row sums to 1.
    """

    classes: tuple[str, ...]
    index: pd.DataFrame
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, the first of equals, shape (N,)."""
        first: NDArray[np.int64] = np.argmax(self.probabilities, axis=1).astype(np.int64)
        return first

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the predicted class, shape (N,), in [0, 1]."""
        highest: NDArray[np.float64] = self.probabilities.max(axis=1).astype(np.float64)
        return np.minimum(highest, 1.0)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image was named rightly, shape (N,)."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right

    @property
    def predicted_names(self) -> list[str]:
        """The predicted class names, in the order of the images."""
        return [self.classes[number] for number in self.predicted]


def predictions_of(
    classes: tuple[str, ...], index: pd.DataFrame, labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> Predictions:
    """Puts predictions into the one order they are stored in.

    Args:
        classes: C names.
        index: N rows with at least `image_id path label`.
        labels: shape (N,), int64, values 0..C-1.
        probabilities: shape (N, C).

    Returns:
        The same predictions sorted by `image_id`.

    Raises:
        DataError: there is no image, or the shapes do not belong together.
        ModelError: a probability is not a number.
    """
    if len(labels) == 0:
        raise DataError("there is no image to evaluate: the split is empty; run `dvc repro preprocess`")
    if probabilities.shape != (len(labels), len(classes)) or len(index) != len(labels):
        raise DataError(
            f"{len(labels)} images of {len(classes)} classes need probabilities of shape "
            f"({len(labels)}, {len(classes)}), not {probabilities.shape}: train the model again on this data"
        )
    if not np.isfinite(probabilities).all():
        raise ModelError("the model answers with NaN or infinity: its training diverged; lower the learning rate")
    order = np.argsort(index["image_id"].to_numpy(dtype=str), kind="stable")
    return Predictions(
        classes=classes,
        index=index.iloc[order].reset_index(drop=True),
        labels=labels[order],
        probabilities=probabilities[order].astype(np.float32),
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes `image_id path label predicted p_<class>...`, one row an image, the same bytes for the same rows.

    Args:
        path: a `.parquet` file.
        predictions: what to write; probabilities stay float32.
    """
    columns: dict[str, pa.Array] = {
        name: pa.array([str(value) for value in predictions.index[name]], pa.string())
        for name in ("image_id", "path", "label")
    }
    columns["predicted"] = pa.array(predictions.predicted_names, pa.string())
    for number, name in enumerate(predictions.classes):
        columns[f"p_{name}"] = pa.array(predictions.probabilities[:, number], pa.float32())
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_answers(path: Path) -> pd.DataFrame:
    """Reads back which class was given to which image.

    Args:
        path: a `predictions.parquet`.

    Returns:
        Columns `image_id label predicted`, sorted by `image_id`.

    Raises:
        DataError: the file is missing, is not Parquet, or lacks one of these columns.
    """
    frame = read_parquet(path, ["image_id", "label", "predicted"])
    if frame.shape[1] != 3:
        raise DataError(f"{path} lacks image_id, label or predicted: delete it and run `dvc repro`")
    return frame.sort_values("image_id", ignore_index=True)
