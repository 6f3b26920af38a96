"""What expectations look at and what they find: the dataset as it was prepared, and figures drawn from it.

Rule: numbers are counted here with pandas, whatever the number of images, and judged by Great Expectations
(`engine`). What cannot be counted is neither passed nor failed: `CannotCheck` says why. Depends on pandas.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from podium.core.errors import DataError
from podium.records.profile import LabelNoise, QualityFlag, Shortcuts
from podium.records.validate import MeasureDrift


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

    manifest: pd.DataFrame
    rejected: list[str]
    image_size: int
    measures: pd.DataFrame | None = None
    drift: list[MeasureDrift] = field(default_factory=list)
    quality: list[QualityFlag] | None = None
    label_noise: LabelNoise | None = None
    shortcuts: Shortcuts | None = None

    def columns(self, *names: str) -> pd.DataFrame:
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

    def numbers(self, *names: str) -> pd.DataFrame:
        """Like `columns`, for columns of numbers.

        Raises:
            CannotCheck: one is missing, has no value or holds something else.
        """
        frame = self.columns(*names)
        for name in names:
            if not pd.api.types.is_numeric_dtype(frame[name]):
                raise CannotCheck(f"the column {name!r} of the manifest holds values that are no numbers")
        return frame

    def paths(self, rows: pd.Series) -> "Offending":
        """The paths of some rows of the manifest (a mask with its index), sorted; none where it has no such column."""
        if "path" not in self.manifest.columns:
            return Offending([], int(rows.sum()))
        return offending(self.manifest.loc[rows, "path"].dropna())


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
