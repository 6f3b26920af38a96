"""What an expectation is, in words too, what it looks at and what it finds; adding one is one decorated function.

Rule: an expectation counts with pandas, a few columns at a time, whatever the number of images, and Great Expectations
(`validator`) judges what it counted. What cannot be counted is neither passed nor failed: `CannotCheck` says why. Heavy
libraries are imported where they are used, so that a command line can explain an expectation at once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from podium.config.base import Severity
from podium.config.preprocess import Preprocess
from podium.config.problems import nearest
from podium.config.validate import ExpectationSettings, Validate, register
from podium.core.errors import DataError, UsageError
from podium.records.profile import LabelNoise, QualityFlag, Shortcuts
from podium.records.validate import MeasureDrift

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from podium.curation.shard_check import ShardCheck
    from podium.data.shards import PreparedSplit
    from podium.records.base import ParquetTable

Settings = TypeVar("Settings", bound=ExpectationSettings)


class CannotCheck(DataError):
    """An expectation has nothing to look at; the message says what is missing."""


@dataclass(frozen=True)
class DatasetFacts:
    """A prepared dataset, and what was measured and probed of it.

    Attributes:
        manifest: the prepared manifest, in memory or on the disk, of which a few columns are looked at at a time;
            columns may be missing, that is one of the things checked.
        rejected: files that are not in it: at least their `path` and `kind`.
        image_size: pixels a side of the prepared images.
        splits: train and val, opened for fitting.
        measures: likewise, a row an image (`image_id`, `split`, the measures); none, like all below, of a manifest with
            holes.
        drift: train against test, one entry a measure; empty where nothing was measured.
        quality: flags of doubtful images.
        label_noise: candidates for wrong labels.
        shortcuts: what the probes for them found.
        trained_on: by model, photographs (16 hex digits of their sha256) that the weights it starts from have seen.
        shards: what the shards of train and val say, read anew.
        preprocess: the section that images were split by; None where that is not known.
    """

    manifest: "pd.DataFrame | ParquetTable"
    rejected: "pd.DataFrame"
    image_size: int
    splits: "tuple[PreparedSplit, ...]" = ()
    measures: "pd.DataFrame | ParquetTable | None" = None
    drift: list[MeasureDrift] = field(default_factory=list)
    quality: list[QualityFlag] | None = None
    label_noise: LabelNoise | None = None
    shortcuts: Shortcuts | None = None
    trained_on: Mapping[str, list[str]] = field(default_factory=dict)
    shards: "ShardCheck | None" = None
    preprocess: Preprocess | None = None

    @property
    def unreadable(self) -> list[str]:
        """Paths of the images that could not be decoded."""
        paths: list[str] = self.rejected.loc[self.rejected["kind"] == "unreadable", "path"].tolist()
        return paths

    def columns(self, *names: str) -> "pd.DataFrame":
        """Some columns of the manifest, all rows.

        Raises:
            CannotCheck: one is missing or has no value.
        """
        for name in names:
            if name not in self.manifest.columns:
                raise CannotCheck(f"the manifest lacks the column {name!r}")
        frame = self.manifest[list(names)]
        for name in names:
            if frame[name].isna().all():  # also true of a manifest without rows
                raise CannotCheck(f"the manifest has no value in the column {name!r}")
        return frame

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

    def paths(self, rows: "pd.Series | NDArray[np.bool_]") -> "Offending":
        """The paths of some rows of the manifest (a mask), sorted; none where it has no such column."""
        if "path" not in self.manifest.columns or not rows.any():
            return Offending([], int(rows.sum()))
        return offending(self.manifest[["path"]].loc[rows, "path"].dropna())


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
        observed: what was seen, in words.
        images: the images behind the values out of bounds; not looked at where there are none.
        least: bound below, or None.
        most: bound above, or None.
    """

    values: Mapping[str, float]
    observed: str
    images: Offending = NOBODY
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
    count: Callable[[DatasetFacts, Settings], Figures]

    def settings(self, validate: Validate) -> Settings:
        """The entry in force."""
        return cast(Settings, validate.entry(self.id))

    def threshold(self, validate: Validate, image_size: int | str) -> str:
        """The threshold in force, as part of a sentence."""
        fields = self.settings(validate).model_dump()
        return self.expected.format(image_size=image_size, border=validate.probes.border, **fields)

    def __call__(self, facts: DatasetFacts, validate: Validate) -> Figures:
        """Counts under the settings in force; may raise `CannotCheck`."""
        return self.count(facts, self.settings(validate))


_expectations: dict[str, Expectation[Any]] = {}
EXPECTATIONS = MappingProxyType(_expectations)
"""Every expectation that was declared, by id."""


def expectation(
    default: Settings, *, suite: str, sentence: str, why: str, expected: str, remedy: str
) -> Callable[[Callable[[DatasetFacts, Settings], Figures]], Expectation[Settings]]:
    """Declares an expectation under the name of the function that counts; arguments as the fields of `Expectation`."""

    def declare(count: Callable[[DatasetFacts, Settings], Figures]) -> Expectation[Settings]:
        """Puts the expectation into `EXPECTATIONS` and among the keys of section `validate`."""
        id = count.__name__
        register(id, default)
        declared = Expectation(id, suite, sentence, why, expected, remedy, default, count)
        _expectations[id] = declared
        return declared

    return declare


@dataclass(frozen=True)
class Explanation:
    """An expectation in words, with the threshold and the severity in force; `because` is empty unless given."""

    id: str
    suite: str
    sentence: str
    why: str
    expected: str
    remedy: str
    severity: Severity
    default_severity: Severity
    because: str


def explain(id: str, validate: Validate) -> Explanation:
    """One expectation in words, under the section in force.

    Raises:
        UsageError: there is none of that name; the message names the nearest.
    """
    entry = EXPECTATIONS.get(id)
    if entry is None:
        raise UsageError(
            f"no expectation {id!r}{nearest(id, EXPECTATIONS)} (expectations: {', '.join(sorted(EXPECTATIONS))})"
        )
    settings = entry.settings(validate)
    return Explanation(
        id=id,
        suite=entry.suite,
        sentence=entry.sentence,
        why=entry.why,
        expected=entry.threshold(validate, "preprocess.image_size"),
        remedy=entry.remedy,
        severity=settings.severity,
        default_severity=settings.default_severity,
        because=settings.because or "",
    )


def docs_table() -> str:
    """All expectations with their defaults, as the table of docs/data.md."""
    rows = [
        f"| `{id}` | {one.default.severity} | {one.sentence} | {one.threshold(Validate(), '`preprocess.image_size`')} |"
        for id, one in EXPECTATIONS.items()
    ]
    return "\n".join(["| id | severity | what holds | expected by default |", "|---|---|---|---|", *rows])
