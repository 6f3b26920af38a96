"""A trained model or a registered version, loaded to answer questions about images.

A version must be what the audit record says was registered. Of its package weights and JSON are read; no code is run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium.analysis.calibration import at_temperature
from podium.config.runtime import Runtime
from podium.core.errors import DataError, ModelError, PromotionRefused
from podium.core.layout import GOLDEN, METRICS, ONNX, Layout
from podium.models.inference import Classifier, load_classifier
from podium.registry import audit
from podium.registry.evidence import ARTIFACTS, VersionMetrics, changed_since
from podium.registry.golden import GoldenBatch
from podium.registry.holder import fetch_package
from podium.registry.read_only import RegisteredModel, Version
from podium.tracking import store

RuntimeName = Literal["torch", "onnx"]


@dataclass(frozen=True)
class LoadedModel:
    """A model that answers.

    Attributes:
        classifier: the network and its card.
        temperature: of its probabilities; None where it was registered before there was one.
        threshold: confidence below which it abstains, in [0, 1]; None where none was chosen.
        version: its number; empty for a model of the experiment that is not registered.
        runtime: what computes its answers.
    """

    classifier: Classifier
    temperature: float | None
    threshold: float | None
    version: str = ""
    runtime: RuntimeName = "torch"

    def probabilities(self, pixels: NDArray[np.uint8], batch_size: int) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (N, C); see `Classifier.probabilities`."""
        return at_temperature(self.classifier.probabilities(pixels, batch_size), self.temperature or 1.0)


def load_trained(layout: Layout, name: str, runtime: Runtime) -> LoadedModel:
    """A model of the experiment in force, as train and evaluate left it.

    Raises:
        DataError: a file of it is missing or damaged.
        ModelError: the weights are not those of the model's card.
    """
    classifier = load_classifier(layout.model(name), runtime)
    metrics = VersionMetrics.read(layout.evaluation(name) / METRICS)
    return LoadedModel(classifier, metrics.temperature, metrics.threshold)


def load_version(
    layout: Layout,
    registered: RegisteredModel,
    version: Version,
    asked: str,
    *,
    ask_golden: bool = False,
    runtime: RuntimeName = "torch",
) -> LoadedModel:
    """A registered version, once it is known to be what was registered.

    Args:
        layout: the project's paths.
        registered: the registered model.
        version: one of its versions.
        asked: the words it was asked for with; an alias in them must be where the record moved it.
        ask_golden: also ask it about its golden batch.
        runtime: what is to compute its answers.

    Raises:
        PromotionRefused: the record does not hold, or the version or the alias is not as it says.
        DataError: the package is of a Podium too old to be read, or was registered without the runtime's format.
        ModelError: the weights are not those of the model's card, or its golden batch gets other answers.
        TrackingError: the package cannot be had.
    """
    from podium.registry.predictor import serving_runtime

    with open_checked(layout, registered, version, asked) as package:
        folder = package / ARTIFACTS
        if runtime == "onnx" and not (folder / ONNX).is_file():
            raise DataError(
                f"version {version.version} of {registered.name} was registered without an ONNX file: put onnx into "
                "publish.export and run `dvc repro publish`, or leave --runtime onnx out"
            )
        try:
            if runtime == "onnx":
                from podium.registry.onnx_model import load_onnx as load
            else:
                load = load_classifier
            classifier = load(folder, serving_runtime(folder))
            metrics = VersionMetrics.read(folder / METRICS)
        except DataError as error:
            raise DataError(
                f"the package of version {version.version} of {registered.name} is of a Podium too old to be read "
                f"here: name another version ({len(registered.versions)} are registered: `podium status`)"
            ) from error
        if ask_golden:
            _require_golden(classifier, GoldenBatch.read(folder / GOLDEN), version.version)
    return LoadedModel(classifier, metrics.temperature, metrics.threshold, version.version, runtime)


@contextmanager
def open_checked(layout: Layout, registered: RegisteredModel, version: Version, asked: str) -> Iterator[Path]:
    """The package of a version, once it is known to be what was registered; arguments as of `load_version`.

    Raises:
        PromotionRefused: the record does not hold, or the version or the alias is not as it says.
        TrackingError: the package cannot be had.
    """
    with TemporaryDirectory(prefix="podium-version-") as temporary:
        package = fetch_package(layout, registered.name, version, Path(temporary))
        _require_on_record(layout, registered, version, asked, package)
        yield package


def _require_on_record(
    layout: Layout, registered: RegisteredModel, version: Version, asked: str, package: Path
) -> None:
    """Refuses a version, or an alias, that is not what the audit record says.

    Raises:
        PromotionRefused: it is not, or the record does not hold.
    """
    record = audit.read_record(layout, registered.name, registered.tags)
    if record.behind:  # moved by somebody else's clone
        client = store.open_client(layout)
        with store.translate_errors(store.tracking_uri(layout)):
            fetch = audit.fetcher(client, registered.name)
            record = audit.read_record(layout, registered.name, registered.tags, fetch)
    record.check()
    alias = re.split("[/@]", asked)[-1]
    moved = None
    if alias in registered.aliases and (alias in audit.STAGES or record.last(alias)):
        moved = record.moved_past(registered.tags, alias, version.version)
    if wrong := moved or changed_since(record, version.version, version.tags, package):
        raise PromotionRefused(f"{wrong}: it is not asked anything; see `podium audit`, or name another version")


def _require_golden(classifier: Classifier, golden: GoldenBatch, version: str) -> None:
    """Refuses a version that does not answer here as it did when it was registered.

    Raises:
        ModelError: it does not.
        DataError: an image cannot be read.
    """
    from podium.registry.predictor import golden_difference

    difference = golden_difference(classifier, golden)
    if difference > golden.tolerance:
        raise ModelError(
            f"version {version} answers its golden batch otherwise than when it was registered (a probability differs "
            f"by {difference:.2g}, at most {golden.tolerance:g}): compare the installed packages with `podium lineage`"
        )
