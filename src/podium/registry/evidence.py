"""What a registered version brings along: its tags and the documents, weights and predictions in its package.

A version whose package lacks a document has no evidence and cannot be promoted, not even by force. MLflow and pandas
are imported on use.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from podium.core.errors import DataError, TrackingError, one_line
from podium.core.records import Metrics, ModelCard, ValidationReport

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

    from podium.registry.package import GoldenBatch

_DOCUMENTS = ("model.json", "metrics.json", "validation.json", "golden.json", "predictions.parquet")


@dataclass(frozen=True)
class Evidence:
    """Everything a registered version brings along. `folder` is the `artifacts/` of its package."""

    version: str
    tags: Mapping[str, str]
    folder: Path
    card: ModelCard
    metrics: Metrics
    validation: ValidationReport
    golden: "GoldenBatch"
    predictions: "pd.DataFrame"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def test_digest(self) -> str:
        return self.tags.get("podium.test_digest", self.metrics.test_digest)


@contextmanager
def packaged(uri: str, version: "ModelVersion") -> Iterator[Path]:
    """The `artifacts/` of a version's package, as long as the block runs.

    Args:
        uri: of the store.
        version: as MLflow's client gives it.

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
                f"the package of version {version.version} cannot be fetched "
                f"({one_line(error)}): bring MLflow in line with the files with `dvc repro publish`"
            ) from error
        yield Path(folder)


def read_evidence(version: "ModelVersion", folder: Path) -> Evidence:
    """Reads a package's documents.

    Args:
        version: as MLflow's client gives it.
        folder: the `artifacts/` of its package.

    Returns:
        The evidence; weights are not read yet.

    Raises:
        DataError: a document is missing or is not what its name says.
    """
    from podium.analysis.predictions import read_answers
    from podium.registry.package import GoldenBatch

    number = str(version.version)
    try:
        return Evidence(
            version=number,
            tags=dict(version.tags),
            folder=folder,
            card=ModelCard.read(folder / "model.json"),
            metrics=Metrics.read(folder / "metrics.json"),
            validation=ValidationReport.read(folder / "validation.json"),
            golden=GoldenBatch.read(folder / "golden.json"),
            predictions=read_answers(folder / "predictions.parquet"),
        )
    except DataError as error:
        missing = next((d for d in _DOCUMENTS if d in str(error)), "its evidence")
        raise DataError(
            f"version {number} has no usable {missing} in its package, so it cannot be judged: "
            "register it with `dvc repro publish`"
        ) from error
