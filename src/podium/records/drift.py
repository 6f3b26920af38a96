"""A row of a prediction log, and what `podium drift` found in it."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from podium.records.base import Record
from podium.records.validate import MeasureDrift

_Rate = Annotated[float, Field(ge=0, le=1)]


class LoggedPrediction(Record):
    """One answer: neither the image nor a name of it.

    `id` is a keyed digest of the image file, so that who has the key and the file finds its rows; `fingerprint` is the
    first half of the model's. `confidence` is calibrated, `width` and `height` are pixels of the original, `measures`
    those of `curation.measures.CHEAP`.
    """

    time: AwareDatetime
    id: str
    model: str
    version: str | None
    fingerprint: str
    label: str
    confidence: _Rate
    abstained: bool
    width: int
    height: int
    measures: dict[str, float]


class ClassShare(Record):
    """How often a class was named: share of the logged images and of the test images."""

    label: str
    now: _Rate
    test: _Rate


class Drift(Record):
    """`drift.json`: a model's logged images against those it was trained on, its answers against those on test images.

    `smallest` is the least distance that so many images tell from chance. `results` has the measures, `shorter_side`
    (pixels of the original), `confidence` and `classes`; medians stand by their names, that of `classes` in neither.
    """

    model: str
    version: str | None
    fingerprint: str
    images: int
    first: AwareDatetime
    last: AwareDatetime
    train_images: int
    test_images: int
    smallest: float
    abstained: _Rate
    abstained_on_test: _Rate
    results: list[MeasureDrift]
    medians: dict[str, float]
    medians_before: dict[str, float]
    classes: list[ClassShare]

    @property
    def drifted(self) -> list[str]:
        """Names of what drifts, the largest distance first."""
        found = [one for one in self.results if one.drifts]
        return [one.measure for one in sorted(found, key=lambda one: (-one.distance, one.measure))]
