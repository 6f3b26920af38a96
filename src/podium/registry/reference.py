"""What a model's images and answers were like when it was made: what later ones are held against.

A sample of the training images' measures travels in the package, without a name, so that the data need not be there.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from podium.analysis.calibration import at_temperature
from podium.analysis.drift import CONFIDENCE, Profiled, class_shares, find_drift, smallest_distance
from podium.core.errors import DataError, TrackingError
from podium.core.files import sha256_file
from podium.core.layout import PREDICTIONS, TRAIN_MEASURES, Layout
from podium.curation.expectations.pixels import SplitDrift
from podium.records.base import read_parquet, round_floats
from podium.records.drift import Drift, LoggedPrediction
from podium.registry.evidence import train_measures
from podium.registry.holder import artifact_of
from podium.registry.loading import LoadedModel
from podium.registry.read_only import RegisteredModel, Version


def read_reference(
    layout: Layout, model: str, loaded: LoadedModel, registered: RegisteredModel | None, version: Version | None
) -> Profiled:
    """What a model was trained on, and what it answered on its test images.

    Args:
        layout: the project's paths.
        model: how it was asked for; the name of a model of the experiment where `version` is None.
        loaded: the same.
        registered: of a version.
        version: which one; None for a model of the experiment.

    Raises:
        DataError: a version is of a Podium that packed no measures, and its data is not here.
        TrackingError: the package cannot be had.
    """
    card = loaded.classifier.card
    with TemporaryDirectory(prefix="podium-version-") as temporary:
        if registered is None or version is None:
            images, stored = train_measures(layout), read_parquet(layout.evaluation(model) / PREDICTIONS)
        else:
            folder = Path(temporary)
            images = _packed(layout, registered, version, folder)
            stored = read_parquet(artifact_of(layout, registered.name, version, PREDICTIONS, folder))
    raw = stored[[f"p_{name}" for name in card.classes]].to_numpy()
    confidence = at_temperature(raw, loaded.temperature or 1.0).max(axis=1)
    abstained = confidence < (loaded.threshold or 0.0)
    return Profiled(images, confidence, np.array(stored["predicted"], dtype=np.str_), abstained)


def logged(rows: Sequence[LoggedPrediction]) -> Profiled:
    """What a log holds of images and answers."""
    images = pd.DataFrame([{**row.measures, "shorter_side": min(row.width, row.height)} for row in rows])
    return Profiled(
        images.astype("float32"),
        np.array([row.confidence for row in rows]),
        np.array([row.label for row in rows], dtype=np.str_),
        np.array([row.abstained for row in rows]),
    )


def compare_with_reference(
    loaded: LoadedModel, rows: Sequence[LoggedPrediction], before: Profiled, now: Profiled, limits: SplitDrift
) -> Drift:
    """What of a log drifts.

    Args:
        loaded: the model.
        rows: its answers, at least one.
        before: as `read_reference` gives it.
        now: as `logged` gives it.
        limits: distance and false discovery rate from which on something drifts.
    """
    results = find_drift(before, now, limits.maximum, limits.significance)
    medians = [
        {name: float(some.images[name].median()) for name in before.images if name in now.images}
        | {CONFIDENCE: float(np.median(some.confidence))}
        for some in (before, now)
    ]
    smaller = min(len(before.images), len(before.confidence))
    card = loaded.classifier.card
    found = Drift(
        model=card.model,
        version=loaded.version or None,
        fingerprint=card.fingerprint,
        images=len(rows),
        first=min(row.time for row in rows),
        last=max(row.time for row in rows),
        train_images=len(before.images),
        test_images=len(before.confidence),
        smallest=smallest_distance(smaller, len(rows), len(results), limits.significance),
        abstained=float(now.abstained.mean()),
        abstained_on_test=float(before.abstained.mean()),
        results=results,
        medians_before=medians[0],
        medians=medians[1],
        classes=class_shares(before, now),
    )
    return round_floats(found)


def _packed(layout: Layout, registered: RegisteredModel, version: Version, folder: Path) -> pd.DataFrame:
    """The measures in a version's package, or of the data in this checkout where that is the version's."""
    try:
        return read_parquet(artifact_of(layout, registered.name, version, TRAIN_MEASURES, folder))
    except (DataError, TrackingError) as error:
        wanted = version.tags.get("podium.data_digest")
        if layout.manifest.is_file() and sha256_file(layout.manifest) == wanted:
            return train_measures(layout)
        raise DataError(
            f"the package of version {version.version} of {registered.name} holds no measures of its training images, "
            "and its data is not in this checkout: `git checkout` its commit and `dvc checkout`, or name a newer one"
        ) from error
