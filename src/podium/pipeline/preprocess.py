"""Verb preprocess: decode every photograph once, crop, group duplicates, split, write shards and what is known of them.

Rule: an image ends in exactly one split or in `rejected.csv` with a reason. The outputs do not depend on the number
of workers. Pixels go through files in `.podium/`, so memory stays bounded by a few batches and numbers per image.
"""

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from podium.config.preprocess import Preprocess
from podium.console.progress import show_progress
from podium.core.errors import DataError
from podium.core.files import raise_if_full, replacing, replacing_folder
from podium.core.layout import Layout
from podium.curation import duplicates, splits
from podium.curation.decoding import Job, RawImage, Smallest, decode_all
from podium.curation.measures import NAMES
from podium.curation.placing import Packed, write_shards
from podium.curation.profile import describe
from podium.curation.scratch import Scratch
from podium.curation.sorting import Sorted
from podium.data.manifest import PREPARED_COLUMNS, RAW_COLUMNS, SCRATCH_COLUMNS, read_manifest, write_manifest
from podium.data.shards import finish_split
from podium.records.fetch import Sources
from podium.records.preprocess import Preprocessing
from podium.records.profile import Profile

_INDEX_COLUMNS = ("image_id", "path", "label", "group")


def run(layout: Layout, preprocess: Preprocess, seed: int, workers: int) -> None:
    """Prepares the three splits from `artifacts/raw`.

    Args:
        layout: the project's paths.
        preprocess: size, padding, steps, shares.
        seed: of the split and of random places.
        workers: processes that decode; 0 decodes in this one. It changes no byte.

    Raises:
        DataError: the raw manifest is missing or empty, a raw shard is damaged, no image of a class is left, a class
            has too few images for three splits, or the disk is full.
    """
    raw = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    if raw.empty:
        raise DataError("artifacts/raw holds no images: check dataset.location and run `dvc repro -f fetch`")
    skipped = Sources.read(layout.raw / "sources.json").skipped
    preprocessing = Preprocessing(**preprocess.model_dump(include=set(Preprocessing.model_fields)))
    with _scratch(layout.work / "preprocess", len(raw), preprocess.image_size) as scratch:
        smallest = Smallest(preprocess.minimum_box_side, preprocess.minimum_box_area)
        found = _decode(Job(layout.raw, scratch, preprocessing, smallest), raw, workers)
        images, rejected = found.kept(raw), found.rejected(raw, skipped)
        images = _group(images, scratch)
        images["split"] = splits.assign(images, preprocess, seed)
        alone = images.assign(split_group=images["image_id"])
        measures = _measures(images, scratch)
        profile = describe(images, measures, splits.assign(alone, preprocess, seed), rejected)
        extras = sorted(set(raw.columns) - set(RAW_COLUMNS))
        for split in profile.per_split:
            placing_seed = seed if split == "train" and preprocess.train_placement == "random" else None
            with replacing_folder(layout.prepared / split) as folder:
                part = images[images["split"] == split]
                write_shards(folder, _packed(part, scratch), part["image_id"].tolist(), placing_seed)
                index = part.loc[:, [*_INDEX_COLUMNS, *extras]]
                finish_split(folder, split, profile.classes, preprocessing, index)
    write_manifest(layout.manifest, images.drop(columns=["shard", *SCRATCH_COLUMNS]), PREPARED_COLUMNS)
    with replacing(layout.measures) as temporary:
        table = pa.Table.from_pandas(measures, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, temporary, compression="zstd")
    with replacing(layout.rejected) as temporary:
        rejected.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", quoting=csv.QUOTE_NONNUMERIC)
    profile.write(layout.profile)
    _say(profile)


@contextmanager
def _scratch(folder: Path, count: int, image_size: int) -> Iterator[Scratch]:
    """Files that vanish at the end; what a killed run left goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scratch = Scratch(folder, count, image_size)
    try:
        scratch.allocate()
        yield scratch
    except OSError as error:
        raise_if_full(error, folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _decode(job: Job, raw: pd.DataFrame, workers: int) -> Sorted:
    """Reads every image of the raw manifest, in the order in which they lie in the shards."""
    columns = ["shard", "photo_id", "box_left", "box_top", "box_right", "box_bottom"]
    ordered = raw.sort_values(["shard", "path", "photo_id", "image_id"])[columns]
    wanted = [
        RawImage(row, shard, photo_id, (left, top, right, bottom))
        for row, shard, photo_id, left, top, right, bottom in ordered.itertuples(name=None)
    ]
    found = Sorted(len(raw))
    with show_progress("preprocess", len(wanted)) as advance:
        for batch in decode_all(job, wanted, workers):
            found.add(batch)
            advance(len(batch))
    return found


def _group(images: pd.DataFrame, scratch: Scratch) -> pd.DataFrame:
    """Adds `duplicate_group`, `duplicate_kind` and `split_group`; images come sorted by `image_id`."""
    found = duplicates.find(images["sha256"].tolist(), scratch.signatures(), images["row"].to_numpy(np.int64))
    ids = images["image_id"].to_numpy()
    grouped = images.assign(duplicate_group=ids[found.first], duplicate_kind=found.kind)
    return grouped.assign(split_group=splits.split_groups(grouped))


def _measures(images: pd.DataFrame, scratch: Scratch) -> pd.DataFrame:
    """`image_id split label source` and a column per measure, in the order of `images`."""
    numbers = pd.DataFrame(scratch.measures()[images["row"].to_numpy()], columns=list(NAMES))
    return pd.concat([images[["image_id", "split", "label", "source"]].reset_index(drop=True), numbers], axis=1)


def _packed(images: pd.DataFrame, scratch: Scratch) -> Packed:
    """Where the contents of some images lie in the scratch, in the order of the table."""
    return Packed(
        pixels=scratch.pixels(),
        side=scratch.image_size,
        row=images["row"].to_numpy(np.int64),
        height=images["content_height"].to_numpy(np.int64),
        width=images["content_width"].to_numpy(np.int64),
        fill=np.array(images["fill"].tolist(), np.uint8).reshape(-1, 3),
    )


def _say(profile: Profile) -> None:
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
