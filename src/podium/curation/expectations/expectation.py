"""What an expectation is, what it looks at and what it finds: adding one is one decorated function.

Rule: an expectation counts with pandas, whatever the number of images, and Great Expectations (`engine`) judges what it
counted. What cannot be counted is neither passed nor failed: `CannotCheck` says why. Heavy libraries are imported where
they are used, so that a command line can explain an expectation at once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from podium.config.validate import ExpectationSettings, Validate, register
from podium.core.errors import DataError
from podium.records.profile import LabelNoise, QualityFlag, Shortcuts
from podium.records.validate import MeasureDrift

if TYPE_CHECKING:
    import pandas as pd

Settings = TypeVar("Settings", bound=ExpectationSettings)


class CannotCheck(DataError):
    """An expectation has nothing to look at; the message says what is missing."""


@dataclass(frozen=True)
class Evidence:
    """A prepared dataset.

    Attributes:
        manifest: the prepared manifest; columns may be missing, that is one of the things checked.
        rejected: paths of images that could not be read.
        image_size: pixels a side of the prepared images.
        measures: a row an image (`image_id`, `split`, the measures), where they were taken.
        drift: train against test, one entry a measure; empty where nothing was measured.
        quality: flags of doubtful images.
        label_noise: candidates for wrong labels, where they were looked for.
        shortcuts: the two probes, where they were run.
    """

    manifest: "pd.DataFrame"
    rejected: list[str]
    image_size: int
    measures: "pd.DataFrame | None" = None
    drift: list[MeasureDrift] = field(default_factory=list)
    quality: list[QualityFlag] | None = None
    label_noise: LabelNoise | None = None
    shortcuts: Shortcuts | None = None

    def columns(self, *names: str) -> "pd.DataFrame":
        """Some columns of the manifest, all rows.

        Raises:
            CannotCheck: one is missing or has no value.
        """
        for name in names:
            if name not in self.manifest.columns:
                raise CannotCheck(f"the manifest lacks the column {name!r}")
            if self.manifest[name].isna().all():  # also true of a manifest without rows
                raise CannotCheck(f"the manifest has no value in the column {name!r}")
        return self.manifest.loc[:, list(names)]

    def numbers(self, *names: str) -> "pd.DataFrame":
        """Like `columns`, for columns of numbers.

        Raises:
            CannotCheck: one is missing, has no value or holds something else.
        """
        from pandas.api.types import is_numeric_dtype

        frame = self.columns(*names)
        for name in names:
            if not is_numeric_dtype(frame[name]):
                raise CannotCheck(f"the column {name!r} of the manifest holds values that are no numbers")
        return frame

    def paths(self, rows: "pd.Series") -> "Offending":
        """The paths of some rows of the manifest (a mask with its index), sorted; none where it has no such column."""
        if "path" not in self.manifest.columns:
            return Offending([], int(rows.sum()))
        return offending(self.manifest.loc[rows, "path"].dropna())

    def paths_of(self, image_ids: list[str]) -> list[str]:
        """The paths of some images, in the order of their ids; none where the manifest has not both columns."""
        if not {"path", "image_id"} <= set(self.manifest.columns):
            return []
        rows = self.manifest.loc[self.manifest["image_id"].isin(image_ids), ["image_id", "path"]]
        path = dict(zip(rows["image_id"], rows["path"], strict=True))
        return [str(path[key]) for key in image_ids if key in path]


@dataclass(frozen=True)
class Offending:
    """Images that broke an expectation: all or the first of `count` paths."""

    paths: list[str]
    count: int


NOBODY = Offending([], 0)


def offending(paths: Iterable[str]) -> Offending:
    """All of them, once each, sorted."""
    found = sorted({str(path) for path in paths})
    return Offending(found, len(found))


@dataclass(frozen=True)
class Figures:
    """The numbers one expectation looks at: each must lie between `least` and `most`.

    Attributes:
        values: the numbers, by what they are of.
        least: bound below, or None.
        most: bound above, or None.
        observed: what was seen, in words, given what of `values` is out of bounds.
        images: the images behind what of `values` is out of bounds.
    """

    values: Mapping[str, float]
    observed: Callable[[list[str]], str]
    images: Callable[[list[str]], Offending]
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Expectation(Generic[Settings]):
    """One expectation: a key of params section `validate`, in words, and the function that counts.

    Attributes:
        id: name of the function and of the key.
        suite: what it belongs to; a suite of Great Expectations.
        sentence: what holds when it passes.
        why: why it matters.
        expected: the threshold as part of a sentence; fields of `default`, `image_size` and `border` stand in braces.
        remedy: what to do when it fails.
        default: severity and thresholds where the params have none.
        count: what is looked at, under the settings in force; it may raise `CannotCheck`.
    """

    id: str
    suite: str
    sentence: str
    why: str
    expected: str
    remedy: str
    default: Settings
    count: Callable[[Evidence, Settings], Figures]

    def settings(self, validate: Validate) -> Settings:
        """The entry in force.

        Raises:
            TypeError: it is an entry of another kind.
        """
        found = validate.entry(self.id)
        if not isinstance(found, type(self.default)):
            raise TypeError(f"validate.{self.id} is {found!r}, not of the kind of {self.default!r}")
        return found

    def __call__(self, evidence: Evidence, validate: Validate) -> Figures:
        """Counts under the settings in force.

        Raises:
            CannotCheck: there is nothing to look at.
        """
        return self.count(evidence, self.settings(validate))


_expectations: dict[str, Expectation[Any]] = {}
EXPECTATIONS = MappingProxyType(_expectations)
"""Every expectation that was declared, by id; `catalogue` imports all of the project's."""


def expectation(
    default: Settings, *, suite: str, sentence: str, why: str, expected: str, remedy: str
) -> Callable[[Callable[[Evidence, Settings], Figures]], Expectation[Settings]]:
    """Declares an expectation under the name of the function that counts; arguments as the fields of `Expectation`."""

    def declare(count: Callable[[Evidence, Settings], Figures]) -> Expectation[Settings]:
        id = count.__name__
        register(id, default)
        declared = Expectation(id, suite, sentence, why, expected, remedy, default, count)
        _expectations[id] = declared
        return declared

    return declare
