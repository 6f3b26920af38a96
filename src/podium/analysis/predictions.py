"""What a model said about every image of a split, in one fixed order: over classes and over coarse classes.

`evaluate` writes it, `compare` reads back who was right about which image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        probabilities: shape (N, C), each row sums to 1: float32 as a model gives them, float64 calibrated.
    """

    classes: tuple[str, ...]
    index: pd.DataFrame
    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating[Any]]

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


def sort_predictions(
    classes: tuple[str, ...], index: pd.DataFrame, labels: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]
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
    """Writes `image_id path label predicted p_<class>...`, one row an image, the same bytes for the same rows."""
    columns: dict[str, pa.Array] = {
        name: pa.array([str(value) for value in predictions.index[name]], pa.string())
        for name in ("image_id", "path", "label")
    }
    columns["predicted"] = pa.array(predictions.predicted_names, pa.string())
    for number, name in enumerate(predictions.classes):
        columns[f"p_{name}"] = pa.array(predictions.probabilities[:, number], pa.float32())
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_answers(path: Path, *, with_path: bool = False) -> pd.DataFrame:
    """Reads back which class was given to which image.

    Args:
        path: the Parquet file.
        with_path: whether to read the path of each image too; without one, its id stands for it.

    Returns:
        Columns `image_id label predicted`, and `path` where it is asked for, sorted by `image_id`.

    Raises:
        DataError: the file is missing, is not Parquet, lacks one of these columns, or names an image twice.
    """
    wanted = ["image_id", "label", "predicted"]
    frame = read_parquet(path, wanted)
    if not {*wanted} <= {*frame.columns}:
        raise DataError(f"{path} lacks image_id, label or predicted: delete it and run `dvc repro`")
    if not all(pd.api.types.is_string_dtype(frame[name]) and frame[name].notna().all() for name in wanted):
        raise DataError(f"{path} holds an image_id, label or predicted that is no text: write all three as text")
    if not frame["image_id"].is_unique:
        raise DataError(f"{path} names an image twice: it must hold one row an image")
    if with_path:
        stored = "path" in pq.read_schema(path).names
        frame["path"] = read_parquet(path, ["path"])["path"] if stored else frame["image_id"]
    return frame.sort_values("image_id", ignore_index=True)


def predict_groups(predictions: Predictions, groups: Mapping[str, str]) -> Predictions | None:
    """The same predictions over coarse classes (`dataset.groups`).

    P(group | image) is the sum of P(class | image) over the classes of the group, which exclude each other. The most
    probable group need not be that of the most probable class: apple 0.4, leek 0.3 and onion 0.3 make an apple, and a
    vegetable.

    Args:
        predictions: N images over C classes.
        groups: group by class; a class that is missing or has none ("") is a group of its own.

    Returns:
        N images over the sorted groups, summed in float64 and given as they came; None where the groups tell nothing
        new: no class has one, all classes share one, or each class is one.
    """
    named = {label: groups.get(label, "") for label in predictions.classes}
    of_class = [group or label for label, group in named.items()]
    found = tuple(sorted(set(of_class)))
    if not any(named.values()) or not 1 < len(found) < len(predictions.classes):
        return None
    number = np.array([found.index(group) for group in of_class], dtype=np.int64)
    return Predictions(
        classes=found,
        index=predictions.index,
        labels=number[predictions.labels],
        probabilities=_sum_groups(predictions.probabilities, number, len(found)),
    )


def _sum_groups(
    probabilities: NDArray[np.floating[Any]], number: NDArray[np.int64], groups: int
) -> NDArray[np.floating[Any]]:
    """Probabilities of groups, shape (N, groups)."""
    out = np.zeros((len(probabilities), groups), dtype=np.float64)
    for column, group in enumerate(number):
        out[:, group] += probabilities[:, column]
    return out.astype(probabilities.dtype)
