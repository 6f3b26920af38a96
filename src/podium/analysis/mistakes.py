"""The mistakes of a model, each with the slices it lies in: `mistakes.parquet`, which `evaluate` writes.

`typical.parquet`, of the same columns, holds the surest right answers of the classes that are taken for each other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from podium.analysis.predictions import Predictions, predict_groups
from podium.core.errors import DataError
from podium.core.files import replacing
from podium.records.base import read_parquet

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("image_id", "path", "label", "predicted")),
        ("confidence", pa.float64()),
        ("label_probability", pa.float64()),
        ("coarse_right", pa.bool_()),
        ("slices", pa.list_(pa.string())),
        ("picture", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Answer:
    """An answer about one image; the fields are the columns of `mistakes.parquet`.

    Attributes:
        image_id: of the image.
        path: of the image at its source.
        label: the class it is of.
        predicted: the class it was taken for.
        confidence: calibrated probability of `predicted`.
        label_probability: calibrated probability of `label`.
        coarse_right: whether the coarse class is right; None where there is none.
        slices: names of those the image lies in.
        picture: bytes of an image file with what the model saw; None for all but the surest.
    """

    image_id: str
    path: str
    label: str
    predicted: str
    confidence: float
    label_probability: float
    coarse_right: bool | None
    slices: tuple[str, ...]
    picture: bytes | None = None


def find_mistakes(
    calibrated: Predictions, groups: Mapping[str, str], masks: Mapping[str, tuple[str, NDArray[np.bool_]]]
) -> list[Answer]:
    """Every wrongly named image, the surest first, equals in the order of `image_id`; without pictures.

    Args:
        calibrated: predictions on N images, with calibrated probabilities.
        groups: coarse class by class.
        masks: sentence and mask of shape (N,) by slice (`slices.slice_masks`).

    Returns:
        The mistakes; probabilities with six significant digits.
    """
    return _tell(calibrated, np.flatnonzero(~calibrated.correct), groups, masks)


def find_typical(calibrated: Predictions, labels: Iterable[str], count: int) -> list[Answer]:
    """The `count` images of each of some classes that are named rightly most surely, the surest first; no pictures."""
    right, confidence = calibrated.correct, calibrated.confidence
    rows = []
    for label in sorted(set(labels)):
        own = np.flatnonzero(right & (calibrated.labels == calibrated.classes.index(label)))
        rows.append(own[np.argsort(-confidence[own], kind="stable")][:count])
    return _tell(calibrated, np.concatenate(rows), {}, {}) if rows else []


def _tell(
    calibrated: Predictions,
    chosen: NDArray[np.int64],
    groups: Mapping[str, str],
    masks: Mapping[str, tuple[str, NDArray[np.bool_]]],
) -> list[Answer]:
    """What is known of some answers, by their rows, the surest first."""
    coarse = predict_groups(calibrated, groups)
    names, labels, confidence = calibrated.predicted_names, calibrated.labels, calibrated.confidence
    ids, paths = (calibrated.index[name].astype(str).tolist() for name in ("image_id", "path"))
    return [
        Answer(
            image_id=ids[row],
            path=paths[row],
            label=calibrated.classes[labels[row]],
            predicted=names[row],
            confidence=float(f"{confidence[row]:.6g}"),
            label_probability=float(f"{calibrated.probabilities[row, labels[row]]:.6g}"),
            coarse_right=None if coarse is None else bool(coarse.correct[row]),
            slices=tuple(name for name, (_, mask) in masks.items() if mask[row]),
        )
        for row in chosen[np.argsort(-confidence[chosen], kind="stable")]
    ]


def write_mistakes(path: Path, mistakes: Sequence[Answer], count: int, picture: Callable[[str], bytes]) -> None:
    """Writes `mistakes.parquet`, the same bytes for the same rows; the first `count` with a `picture` of their id."""
    pictured = [
        replace(mistake, picture=picture(mistake.image_id) if number < count else None)
        for number, mistake in enumerate(mistakes)
    ]
    table = pa.Table.from_pylist([asdict(mistake) for mistake in pictured], _SCHEMA)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_mistakes(path: Path) -> list[Answer]:
    """Reads them back.

    Raises:
        DataError: the file is missing, is not Parquet or lacks a column.
    """
    frame = read_parquet(path)
    if list(frame.columns) != _SCHEMA.names:
        raise DataError(f"{path} lacks a column of {', '.join(_SCHEMA.names)}: delete it and run `dvc repro`")
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return [Answer(**{**row, "slices": tuple(row["slices"])}) for row in rows]
