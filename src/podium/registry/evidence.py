"""What a registered version brings along: its tags and the documents, weights and predictions in its package.

What it was when it was registered stands in the audit record; `changed_since` says what is not as it was.

A version whose package lacks a document has no evidence and cannot be promoted, not even by force. `dvc repro publish`
repairs the package of `candidate` and no other.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict, ValidationError

from podium.config.judging import ExportFormat
from podium.core.errors import DataError, TrackingError, one_line
from podium.core.files import canonical_json, sha256_text, sha256_tree
from podium.core.layout import (
    GOLDEN,
    METRICS,
    MODEL_CARD,
    ONNX,
    ONNX_INT8,
    PREDICTIONS,
    TORCH_EXPORT,
    VALIDATION,
    WEIGHTS,
    Layout,
)
from podium.records.audit import EVENT, VersionDigests
from podium.records.base import read_parquet
from podium.records.evaluation import ClassMetrics, ModelResult
from podium.records.training import ModelCard
from podium.records.validate import ValidationReport
from podium.registry.audit import AuditRecord
from podium.registry.golden import GoldenBatch

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion


ARTIFACTS = "artifacts"
_ADDED = "registered_model_meta"  # MLflow writes it into what it downloads
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

EXPORT_FILES: dict[ExportFormat, str] = {"onnx": ONNX, "torch_export": TORCH_EXPORT, "onnx_int8": ONNX_INT8}
"""Beside the evidence: the model in other formats, which `EXPORTS` tells of."""

_Document = TypeVar("_Document")
_MOST_MEASURED = 5000  # training images whose measures travel


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

    @property
    def threshold(self) -> float | None:
        """The confidence below which no answer is given, in [0, 1]; None where none was chosen yet."""
        found = self.__pydantic_extra__.get("abstention")
        value = found.get("threshold") if isinstance(found, dict) else None
        return float(value) if isinstance(value, int | float) else None


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
    """A version's package, as long as the block runs.

    Yields:
        A folder to read from; removed at the end where it had to be downloaded.

    Raises:
        TrackingError: the package cannot be had.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    # MLflow's threads may still write where one of them has failed
    with TemporaryDirectory(prefix="podium-package-", ignore_cleanup_errors=True) as temporary:
        try:
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{version.name}/{version.version}",
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

    Args:
        version: which one.
        folder: its package.

    Returns:
        The evidence; weights are not read yet.

    Raises:
        DataError: a document is missing or is not what its name says.
    """
    from podium.analysis.predictions import read_answers

    def read(name: str, reader: Callable[[Path], _Document]) -> _Document:
        """One document of the package; where it is missing or broken, the message says what to do."""
        try:
            return reader(folder / ARTIFACTS / FILES[name])
        except DataError as error:
            raise DataError(
                f"version {version.version} has no usable {FILES[name]} in its package, so it cannot be judged: "
                f"{_remedy(version)}"
            ) from error

    card = read("model", ModelCard.read)
    try:
        buildable = bool(card.classes and card.network)
    except ValidationError:
        buildable = False
    if not buildable:
        raise DataError(f"{MODEL_CARD} of version {version.version} describes no network: {_remedy(version)}")
    return Evidence(
        version=str(version.version),
        tags=dict(version.tags),
        folder=folder / ARTIFACTS,
        card=card,
        metrics=read("metrics", VersionMetrics.read),
        validation=read("validation", ValidationReport.read),
        golden=read("golden", GoldenBatch.read),
        predictions=read("predictions", read_answers),
    )


def digest_package(folder: Path) -> str:
    """One digest (64 hex digits) over every file of a package: names and contents."""
    every = [path for path in folder.rglob("*") if "__pycache__" not in path.parts and path != folder / _ADDED]
    if any(path.is_symlink() for path in every):
        return "a link"  # leads out of the package, to what may change
    return sha256_tree((path for path in every if not path.is_dir()), folder)


def digest_tags(tags: Mapping[str, str]) -> str:
    """One digest (64 hex digits) over the tags of a version that Podium sets, but for the message to webhooks."""
    mine = {key: value for key, value in tags.items() if key.startswith("podium.") and key != EVENT}
    return sha256_text(canonical_json(mine))


def digests_of(tags: Mapping[str, str], package: str) -> VersionDigests:
    """What the audit record is to say of a version, by its tags and the digest of its package."""
    named = {"weights": "weights_sha256", "data": "data_digest", "test": "test_digest", "evidence": "evidence"}
    told = {name: tags.get(f"podium.{tag}", "") for name, tag in named.items()}
    return VersionDigests(package=package, tags=digest_tags(tags), **told)


def rate_in(tags: Mapping[str, str], name: str) -> float | None:
    """A rate in the tags of a version; None where there is none, or none that is a number."""
    try:
        return float(tags[f"podium.{name}"])
    except (KeyError, ValueError):
        return None


def changed_since(record: AuditRecord, version: str, tags: Mapping[str, str], folder: Path | None = None) -> str | None:
    """What of a version is not as the audit record says it was registered, in words; None where all is.

    Args:
        record: of its registered model.
        version: its number.
        tags: that it has now.
        folder: its package as it is now; None looks at the tags alone.
    """
    entry = record.registration(version)
    if entry is None:
        return f"version {version} is not in the record of {record.name}: another program or an earlier Podium made it"
    changed = ["tags"] if digest_tags(tags) != entry.version.tags else []
    changed += ["package"] if folder is not None and digest_package(folder) != entry.version.package else []
    if not changed:
        return None
    return (
        f"the {' and the '.join(changed)} of version {version} changed since {entry.when[:10]}, when it was registered"
    )


def _remedy(version: "ModelVersion") -> str:
    """What to do about a broken package: the files in force are those of `candidate` only."""
    if CANDIDATE in version.aliases:
        return "bring it back with `dvc repro publish`"
    return "it is not the present winner's, which `dvc repro publish` brings back, so promote another version"


def train_measures(layout: Layout) -> "pd.DataFrame":
    """The measures of at most 5,000 training images, those with the smallest ids, which are digests.

    Returns:
        Columns `curation.measures.CHEAP` and `shorter_side` (pixels of the original), a row an image, float32, without
        names.

    Raises:
        DataError: the dataset was not prepared.
    """
    from podium.curation.measures import CHEAP

    measures, manifest = read_parquet(layout.measures), read_parquet(layout.manifest)
    rows = measures[measures["split"] == "train"].merge(manifest[["image_id", "width", "height"]], on="image_id")
    rows = rows.sort_values("image_id").head(_MOST_MEASURED)
    found = rows[list(CHEAP)].assign(shorter_side=rows[["width", "height"]].min(axis=1))
    return found.astype("float32").reset_index(drop=True)
