"""Stage preprocess: decode every photograph once, crop, group duplicates, split, write shards and their tables.

Rule: an image ends in exactly one split or in `rejected.csv` with a reason. The outputs do not depend on the number
of workers. Pixels go through files in `.podium/`, so memory stays bounded by a few batches and numbers per image.
"""

import csv
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from podium.config.preprocess import Preprocess, Preprocessing
from podium.console.progress import show_progress
from podium.core.errors import DataError
from podium.core.files import raise_if_full, replacing, replacing_folder
from podium.core.layout import MANIFEST, SOURCES, Layout
from podium.curation.dataset_profile import describe
from podium.curation.decoding import DecodeJob, RawImage, Reading, Smallest, decode_all
from podium.curation.measures import NAMES
from podium.curation.near_duplicates.grouping import group_duplicates
from podium.curation.splits import assign_splits, join_split_groups
from podium.curation.temporary_arrays import PackedImages, TemporaryArrays, write_shards
from podium.data.manifest import (
    PREPARED_COLUMNS,
    RAW_COLUMNS,
    REJECTED_COLUMNS,
    WORKING_COLUMNS,
    read_manifest,
    write_manifest,
)
from podium.data.shards import finish_split
from podium.records.fetch import SkippedFile, Sources
from podium.records.profile import Profile

_INDEX_COLUMNS = ("image_id", "path", "label", "group")
_NUMBERS = ("width", "height", "content_width", "content_height")


def preprocess_dataset(layout: Layout, preprocess: Preprocess, seed: int, workers: int) -> None:
    """Prepares the three splits from `artifacts/raw`.

    Args:
        layout: the project's paths.
        preprocess: size, padding, steps, shares.
        seed: of the split and of random positions.
        workers: processes that decode; 0 decodes in this one. It changes no byte.

    Raises:
        DataError: the raw manifest is missing or empty, a raw shard is damaged, no image of a class is left, a class
            has too few images for three splits, or the disk is full.
    """
    raw = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS)
    if raw.empty:
        raise DataError("artifacts/raw holds no images: check dataset.location and run `dvc repro -f fetch`")
    skipped = Sources.read(layout.raw / SOURCES).skipped
    preprocessing = Preprocessing(**preprocess.model_dump(include=set(Preprocessing.model_fields)))
    with _temporary_arrays(layout.work / "preprocess", len(raw), preprocess.image_size) as arrays:
        smallest = Smallest(preprocess.minimum_box_side, preprocess.minimum_box_area)
        found = _decode(DecodeJob(layout.raw, arrays, preprocessing, smallest), raw, workers)
        images, rejected = found.kept(raw), found.rejected(raw, skipped)
        images = _add_groups(images, arrays)
        images["split"] = assign_splits(images, preprocess, seed)
        alone = images.assign(split_group=images["image_id"])
        measures = _measures_table(images, arrays)
        profile = describe(images, measures, assign_splits(alone, preprocess, seed), rejected)
        extras = sorted(set(raw.columns) - set(RAW_COLUMNS))
        for split in profile.per_split:
            position_seed = seed if split == "train" and preprocess.train_placement == "random" else None
            with replacing_folder(layout.prepared / split) as folder:
                part = images[images["split"] == split]
                write_shards(folder, _packed_images(part, arrays), part["image_id"].tolist(), position_seed)
                index = part.loc[:, [*_INDEX_COLUMNS, *extras]]
                finish_split(folder, split, profile.classes, preprocessing, index)
    write_manifest(layout.manifest, images.drop(columns=["shard", *WORKING_COLUMNS]), PREPARED_COLUMNS)
    with replacing(layout.measures) as temporary:
        table = pa.Table.from_pandas(measures, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, temporary, compression="zstd")
    with replacing(layout.rejected) as temporary:
        rejected.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", quoting=csv.QUOTE_NONNUMERIC)
    profile.write(layout.profile)
    _print_summary(profile)


@contextmanager
def _temporary_arrays(folder: Path, count: int, image_size: int) -> Iterator[TemporaryArrays]:
    """Files that vanish at the end; what a killed run left goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrays = TemporaryArrays(folder, count, image_size)
    try:
        arrays.allocate()
        yield arrays
    except OSError as error:
        raise_if_full(error, folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _decode(job: DecodeJob, raw: pd.DataFrame, workers: int) -> "_Readings":
    """Reads every image of the raw manifest, in the order in which they lie in the shards."""
    columns = ["shard", "photo_id", "box_left", "box_top", "box_right", "box_bottom"]
    ordered = raw.sort_values(["shard", "path", "photo_id", "image_id"])[columns]
    wanted = [
        RawImage(row, shard, photo_id, (left, top, right, bottom))
        for row, shard, photo_id, left, top, right, bottom in ordered.itertuples(name=None)
    ]
    found = _Readings(len(raw))
    with show_progress("preprocess", len(wanted)) as advance:
        for batch in decode_all(job, wanted, workers):
            found.add(batch)
            advance(len(batch))
    return found


class _Readings:
    """What came of decoding N images, in columns: a reading is taken apart as it comes, so memory stays bounded."""

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
        """The images to go on with; row i of `raw` is image i.

        Returns:
            Its rows without the rejected ones and with `split` as `source_split`, sorted by `image_id`; new columns are
            `row` (of the temporary arrays), `sha256 phash width height content_width content_height fill note`.

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


def _add_groups(images: pd.DataFrame, arrays: TemporaryArrays) -> pd.DataFrame:
    """Adds `duplicate_group`, `duplicate_kind` and `split_group`; images come sorted by `image_id`."""
    found = group_duplicates(images["sha256"].tolist(), arrays.signatures(), images["row"].to_numpy(np.int64))
    ids = images["image_id"].to_numpy()
    grouped = images.assign(duplicate_group=ids[found.first], duplicate_kind=found.kind)
    return grouped.assign(split_group=join_split_groups(grouped))


def _measures_table(images: pd.DataFrame, arrays: TemporaryArrays) -> pd.DataFrame:
    """`image_id split label source` and a column per measure, in the order of `images`."""
    numbers = pd.DataFrame(arrays.measures()[images["row"].to_numpy()], columns=list(NAMES))
    return pd.concat([images[["image_id", "split", "label", "source"]].reset_index(drop=True), numbers], axis=1)


def _packed_images(images: pd.DataFrame, arrays: TemporaryArrays) -> PackedImages:
    """Where the pixels of some images lie in the temporary arrays, in the order of the table."""
    return PackedImages(
        pixels=arrays.pixels(),
        side=arrays.image_size,
        row=images["row"].to_numpy(np.int64),
        height=images["content_height"].to_numpy(np.int64),
        width=images["content_width"].to_numpy(np.int64),
        fill=np.array(images["fill"].tolist(), np.uint8).reshape(-1, 3),
    )


def _print_summary(profile: Profile) -> None:
    """What a person wants to know at once."""
    counts = ", ".join(f"{split} {count}" for split, count in profile.per_split.items())
    print(f"preprocess: {profile.images} images of {len(profile.classes)} classes ({counts})")
    if profile.rejected or profile.skipped or profile.too_small:
        print(
            f"preprocess: {profile.rejected} images rejected, {profile.too_small} boxes too small, "
            f"{profile.skipped} other files: see rejected.csv"
        )
    if profile.duplicates:
        print(
            f"preprocess: {len(profile.duplicates)} groups of duplicates, each kept on one side of the split "
            f"({profile.groups_would_straddle} would have straddled, {profile.images_moved} images moved)"
        )
