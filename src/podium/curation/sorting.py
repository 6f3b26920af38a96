"""What came of decoding, as tables: the images that are kept, and a row with a reason for everything else.

Memory is bounded by numbers per image: a reading is taken apart as it comes. Depends on pandas and NumPy.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from podium.core.errors import DataError
from podium.curation.decoding import Reading
from podium.records.fetch import SkippedFile

REJECTED_COLUMNS = ("path", "label", "reason", "kind", "image_id")
"""Of `rejected.csv`. `kind` is `unreadable`, `too_small` (a box below the least size: a choice) or `skipped` (a file of
the source that is no image). What the source itself could not use has no label and no image_id; where it is an image by
its name (a broken link, a failed download) it is `unreadable` too."""

_NUMBERS = ("width", "height", "content_width", "content_height")


class Sorted:
    """Readings of N images by row, in columns."""

    def __init__(self, count: int) -> None:
        self._sha256 = np.zeros(count, "S64")
        self._phash = np.zeros(count, np.uint64)
        self._fill = np.zeros((count, 3), np.uint8)
        self._numbers = {name: np.zeros(count, np.int64) for name in _NUMBERS}
        self._notes: dict[int, str] = {}
        self._rejected: dict[int, tuple[str, str]] = {}

    def add(self, readings: Iterable[Reading]) -> None:
        """Takes readings in; each row comes once."""
        for reading in readings:
            row = reading.row
            if reading.rejection:
                self._rejected[row] = (reading.rejection, reading.reason)
                continue
            self._sha256[row] = reading.sha256
            self._phash[row] = reading.phash
            self._fill[row] = reading.fill
            for name, column in self._numbers.items():
                column[row] = getattr(reading, name)
            if reading.note:
                self._notes[row] = reading.note

    def kept(self, raw: pd.DataFrame) -> pd.DataFrame:
        """The images to go on with.

        Args:
            raw: the raw manifest, row i is image i.

        Returns:
            Its rows without the rejected ones and with `split` as `source_split`, sorted by `image_id`; new columns are
            `row` (in the scratch), `sha256 phash width height content_width content_height fill note`.

        Raises:
            DataError: no image of a class is left.
        """
        chosen = np.ones(len(raw), bool)
        chosen[list(self._rejected)] = False
        rows = np.nonzero(chosen)[0]
        images = raw.iloc[rows].rename(columns={"split": "source_split"}).reset_index(drop=True)
        found = pd.DataFrame({"row": rows, **{name: column[rows] for name, column in self._numbers.items()}})
        found["sha256"] = self._sha256[rows].astype("U64")
        found["phash"] = [f"{value:016x}" for value in self._phash[rows].tolist()]
        found["fill"] = list(map(tuple, self._fill[rows].tolist()))
        found["note"] = [self._notes.get(row, "") for row in rows.tolist()]
        images = pd.concat([images, found], axis=1).sort_values("image_id", ignore_index=True)
        self._require_every_class(raw, images)
        return images

    def rejected(self, raw: pd.DataFrame, skipped: Iterable[SkippedFile]) -> pd.DataFrame:
        """The rows of `rejected.csv`, sorted by path, reason and `image_id`.

        Args:
            raw: as for `kept`.
            skipped: files the source could not use.
        """
        rows = list(self._rejected)
        left_out = raw.iloc[rows][["path", "label", "image_id"]].assign(
            kind=[self._rejected[row][0] for row in rows], reason=[self._rejected[row][1] for row in rows]
        )
        no_images = pd.DataFrame(
            [(file.path, "", file.reason, "unreadable" if file.image else "skipped", "") for file in skipped],
            columns=list(REJECTED_COLUMNS),
        )
        table = pd.concat([left_out, no_images])[list(REJECTED_COLUMNS)]
        return table.sort_values(["path", "reason", "image_id"], ignore_index=True)

    def _require_every_class(self, raw: pd.DataFrame, images: pd.DataFrame) -> None:
        """Refuses a dataset that lost a class on the way.

        Raises:
            DataError: no image of a class can be read; it says what happened to the first.
        """
        for label in sorted(set(raw["label"]) - set(images["label"])):
            rejected = self.rejected(raw, ())
            first = rejected[rejected["label"] == label].iloc[0]
            if (rejected.loc[rejected["label"] == label, "kind"] == "too_small").any():
                todo = "lower preprocess.minimum_box_side and minimum_box_area or remove the class"
            else:
                todo = "replace its files or remove the class"
            raise DataError(
                f"no image of class {label!r} can be read (first: {first['path']!r}: {first['reason']}): {todo}"
            )
