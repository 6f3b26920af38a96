"""What a registered version brings along: its tags and the documents, weights and predictions in its package.

A version whose package lacks a document has no evidence and cannot be promoted, not even by force. `dvc repro publish`
repairs the package of `candidate` and no other.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field

from podium.core.errors import DataError, TrackingError, one_line
from podium.core.layout import GOLDEN, METRICS, MODEL_CARD, PREDICTIONS, VALIDATION, WEIGHTS
from podium.records.base import Record
from podium.records.evaluation import ClassMetrics, ModelResult
from podium.records.training import ModelCard
from podium.records.validate import ValidationReport

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion


CANDIDATE = "candidate"  # alias of the newest registered winner
FILES = {
    "weights": WEIGHTS,
    "model": MODEL_CARD,
    "metrics": METRICS,
    "validation": VALIDATION,
    "predictions": PREDICTIONS,
    "golden": GOLDEN,
}
"""The evidence in a package's `artifacts/`: file by MLflow's name of the artifact."""

_Document = TypeVar("_Document")


def _base64(text: str) -> str:
    """The text, if it is base64; `binascii.Error` is a ValueError otherwise."""
    base64.b64decode(text, validate=True)
    return text


class GoldenImage(Record):
    """An original test image and what the model said about it.

    `bytes` is the file in base64: the original one, or for a crop its part of the photograph as a PNG.
    """

    image_id: str
    path: str
    label: str
    bytes: Annotated[str, AfterValidator(_base64)]
    probabilities: Annotated[list[float], Field(min_length=1)]


class GoldenBatch(Record):
    """`golden.json`: images whose probabilities a loaded package must reproduce within `tolerance`."""

    classes: list[str]
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    images: Annotated[list[GoldenImage], Field(min_length=1)]

    @property
    def files(self) -> list[bytes]:
        """The images as the files they were."""
        return [base64.b64decode(image.bytes) for image in self.images]


class VersionMetrics(ModelResult):
    """`metrics.json` of a registered version, whichever Podium wrote it: what is asked of versions, and no more.

    `temperature` is None where confidences were not calibrated yet. All else that it holds stands beside the fields
    under its own name, as plain JSON.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    test_digest: str
    per_class: dict[str, ClassMetrics]
    temperature: float | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything a registered version brings along. `folder` is the `artifacts/` of its package."""

    version: str
    tags: Mapping[str, str]
    folder: Path
    card: ModelCard
    metrics: VersionMetrics
    validation: ValidationReport
    golden: GoldenBatch
    predictions: "pd.DataFrame"

    @property
    def weights(self) -> Path:
        """The weights in the package, a safetensors file."""
        return self.folder / WEIGHTS

    @property
    def test_digest(self) -> str:
        """Of the test split it was judged on; versions without the tag have it in their metrics."""
        return self.tags.get("podium.test_digest", self.metrics.test_digest)


@contextmanager
def open_package(uri: str, version: "ModelVersion") -> Iterator[Path]:
    """The `artifacts/` of a version's package, as long as the block runs.

    Yields:
        A folder to read from; removed at the end where it had to be downloaded.

    Raises:
        TrackingError: the package cannot be had.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory(prefix="podium-package-") as temporary:
        try:
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{version.name}/{version.version}/artifacts",
                dst_path=temporary,
                tracking_uri=uri,
                registry_uri=uri,
            )
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"the package of version {version.version} cannot be fetched ({one_line(error)}): {_remedy(version)}"
            ) from error
        yield Path(folder)


def read_evidence(version: "ModelVersion", folder: Path) -> Evidence:
    """Reads a package's documents.

    Returns:
        The evidence; weights are not read yet.

    Raises:
        DataError: a document is missing or is not what its name says.
    """
    from podium.analysis.predictions import read_answers

    def read(name: str, reader: Callable[[Path], _Document]) -> _Document:
        """One document of the package; where it is missing or broken, the message says what to do."""
        try:
            return reader(folder / FILES[name])
        except DataError as error:
            raise DataError(
                f"version {version.version} has no usable {FILES[name]} in its package, so it cannot be judged: "
                f"{_remedy(version)}"
            ) from error

    return Evidence(
        version=str(version.version),
        tags=dict(version.tags),
        folder=folder,
        card=read("model", ModelCard.read),
        metrics=read("metrics", VersionMetrics.read),
        validation=read("validation", ValidationReport.read),
        golden=read("golden", GoldenBatch.read),
        predictions=read("predictions", read_answers),
    )


def _remedy(version: "ModelVersion") -> str:
    """What to do about a broken package: the files in force are those of `candidate` only."""
    if CANDIDATE in version.aliases:
        return "bring it back with `dvc repro publish`"
    return "it is not the present winner's, which `dvc repro publish` brings back, so promote another version"
