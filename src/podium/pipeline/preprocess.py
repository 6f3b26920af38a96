"""Stage preprocess: decode every photograph once, crop, group duplicates, split, write shards and their tables.

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

from podium.config.base import SPLITS
from podium.config.preprocess import Preprocess, Preprocessing
from podium.console.progress import show_progress
from podium.core.errors import DataError, first_few
from podium.core.files import raise_if_full, replacing, replacing_folder
from podium.core.jobs import Cluster
from podium.core.layout import MANIFEST, SOURCES, Layout
from podium.curation.dataset_profile import describe
from podium.curation.decode_cache import DecodeCache, image_keys
from podium.curation.decoding import DecodeJob, RawImage, decode_all
from podium.curation.measures import NAMES
from podium.curation.near_duplicates.approximate import require_index
from podium.curation.near_duplicates.grouping import group_duplicates
from podium.curation.splits import Assignment, assign_splits, join_split_groups, propose_seed
from podium.curation.temporary_arrays import TemporaryArrays, write_shards
from podium.data.manifest import (
    PREPARED_COLUMNS,
    RAW_COLUMNS,
    REJECTED_COLUMNS,
    WORKING_COLUMNS,
    read_manifest,
    write_manifest,
)
from podium.data.shards import finish_split
from podium.records.base import write_parquet
from podium.records.fetch import SkippedFile, Sources
from podium.records.profile import Profile

_NAMED = 8  # classes in a message
_INDEX_COLUMNS = ("image_id", "photo_sha256", "path", "label", "group")


def preprocess_dataset(
    layout: Layout,
    preprocess: Preprocess,
    seed: int,
    workers: int,
    cluster: Cluster | None = None,
    *,
    decoded_gib: float = 0.0,
) -> None:
    """Prepares the three splits from `artifacts/raw`.

    Args:
        layout: the project's paths.
        preprocess: size, padding, steps, shares and seed of the splits.
        seed: of random positions.
        workers: processes that decode; 0 decodes in this one. It changes no byte.
        cluster: decodes instead.
        decoded_gib: disk for what decoding makes of images, so that the next run decodes new ones alone. It changes no
            byte.

    Raises:
        DataError: the raw manifest is missing or empty, a raw shard is damaged, no image of a class is left, a class
            has too few images for three splits, faiss is missing for as many images, or the disk is full.
    """
    raw = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS)
    if raw.empty:
        raise DataError("artifacts/raw holds no images: check dataset.location and run `dvc repro -f fetch`")
    require_index(len(raw))  # before an hour of decoding
    skipped = Sources.read(layout.raw / SOURCES).skipped
    preprocessing = Preprocessing(**preprocess.model_dump(include=set(Preprocessing.model_fields)))
    with _scratch(layout.work / "preprocess") as scratch, _decode_cache(layout, preprocess, raw, decoded_gib) as cache:
        smallest = (preprocess.minimum_box_side, preprocess.minimum_box_area, preprocess.minimum_side)
        arrays = cache.arrays
        found = _decode(DecodeJob(layout.raw, arrays, preprocessing, *smallest), cache, raw, workers, cluster)
        images, rejected = _keep(raw, found), _reject(raw, found, skipped)
        _require_every_class(raw, images, rejected)
        images = _add_groups(images, arrays, scratch, cluster)
        assigned = assign_splits(images, preprocess)
        _print_assignment(images, assigned, preprocess)
        images["split"] = assigned.split
        images, rejected = _leave_out(images, assigned.left_out, rejected)
        _require_every_class(raw, images, rejected)
        measures = _measures_table(images, arrays)
        extras, classes, levels = sorted(set(raw.columns) - set(RAW_COLUMNS)), sorted(images["label"].unique()), {}
        for split in SPLITS:
            position_seed = seed if split == "train" and preprocess.train_placement == "random" else None
            with replacing_folder(layout.prepared / split) as folder:
                part = images[images["split"] == split]
                written = write_shards(folder, part, arrays, position_seed)
                images.loc[part.index, "prepared_sha256"], levels[split] = written.sha256, written.levels
                index = part.loc[:, [*_INDEX_COLUMNS, *extras]]
                finish_split(folder, split, classes, preprocessing, index)
        profile = describe(images, measures, _draw_alone(images, preprocess), rejected, levels)
    write_manifest(layout.manifest, images.drop(columns=["shard", *WORKING_COLUMNS]), PREPARED_COLUMNS)
    write_parquet(layout.measures, measures)
    with replacing(layout.rejected) as temporary:
        rejected.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", quoting=csv.QUOTE_NONNUMERIC)
    profile.model_copy(update={"preprocess": preprocess}).write(layout.profile)
    _print_summary(profile)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that vanishes at the end; what a killed run left goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except OSError as error:
        raise_if_full(error, folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _decode_cache(layout: Layout, preprocess: Preprocess, raw: pd.DataFrame, gib: float) -> Iterator[DecodeCache]:
    """What was decoded before, and room for the rest; of a full disk everything goes, so that there is room again."""
    cache = DecodeCache(layout.decoded, layout.root, preprocess, image_keys(raw))
    try:
        yield cache
    except OSError:
        gib = 0
        raise
    finally:
        cache.limit(gib)


def _decode(
    job: DecodeJob, cache: DecodeCache, raw: pd.DataFrame, workers: int, cluster: Cluster | None
) -> pd.DataFrame:
    """Reads images that are not known yet, as they lie in the shards; a `Reading` a row, in the order of `raw`."""
    columns = ["shard", "photo_id", "photo_sha256", "box_left", "box_top", "box_right", "box_bottom"]
    ordered = raw.sort_values(["shard", "path", "photo_id", "image_id"])[columns]
    numbers, wanted = list[int](), list[RawImage]()
    for number, shard, photo_id, photo_sha256, left, top, right, bottom in ordered.itertuples(name=None):
        if cache.readings[number] is None:
            numbers.append(number)
            region = (left, top, right, bottom)
            wanted.append(RawImage(cache.rows[number], shard, photo_id, region, photo_sha256))
    if len(wanted) < len(raw):
        print(f"preprocess: {len(raw) - len(wanted)} of {len(raw)} images were decoded before", flush=True)
    done = 0
    with show_progress("preprocess", len(wanted)) as advance:
        for batch in decode_all(job, wanted, workers, cluster):
            cache.add(numbers[done : done + len(batch)], batch)
            done += len(batch)
            advance(len(batch))
    return cache.finish()


def _keep(raw: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The images to go on with, by `image_id`: what the source says (`split` is `source_split`) and what was read."""
    kept = found["rejection"] == ""
    images = pd.concat([raw[kept], found[kept].drop(columns=["rejection", "reason"])], axis=1)
    return images.rename(columns={"split": "source_split"}).sort_values("image_id", ignore_index=True)


def _reject(raw: pd.DataFrame, found: pd.DataFrame, skipped: list[SkippedFile]) -> pd.DataFrame:
    """The rows of `rejected.csv`, sorted: images left out, and files that the source could not use."""
    images = raw[["path", "label", "image_id"]].assign(kind=found["rejection"], reason=found["reason"])
    files = pd.DataFrame(
        [(file.path, "", file.reason, "unreadable" if file.image else "skipped", "") for file in skipped],
        columns=list(REJECTED_COLUMNS),
    )
    table = pd.concat([images[images["kind"] != ""], files])[list(REJECTED_COLUMNS)]
    return table.sort_values(["path", "reason", "image_id"], ignore_index=True)


def _require_every_class(raw: pd.DataFrame, images: pd.DataFrame, rejected: pd.DataFrame) -> None:
    """Refuses a dataset that lost classes on the way; says what happened to their first image."""
    lost = rejected[rejected["label"].isin(set(raw["label"]) - set(images["label"]))]
    if lost.empty:
        return
    todo = "replace its files or remove the class"
    if (lost["kind"] == "too_small").any():
        todo = "lower that key or remove the class"
    elif (lost["kind"] == "duplicate").any():
        todo = "set preprocess.duplicates to keep, or remove the class"
    path, reason = lost.iloc[0][["path", "reason"]]
    labels = sorted(map(repr, lost["label"].unique()))
    several = f"classes {', '.join(labels)}" if labels[1:] else f"class {labels[0]}"
    raise DataError(f"no image of {several} can be used (first: {path!r}: {reason}): {todo}")


def _add_groups(images: pd.DataFrame, arrays: TemporaryArrays, scratch: Path, cluster: Cluster | None) -> pd.DataFrame:
    """Adds `duplicate_group`, `duplicate_kind` and `split_group`; images come sorted by `image_id`."""
    rows, signatures = images["row"].to_numpy(np.int64), arrays.signatures.read()
    found = group_duplicates(images["sha256"].tolist(), signatures, rows, folder=scratch, cluster=cluster)
    ids = images["image_id"].to_numpy()
    grouped = images.assign(duplicate_group=ids[found.first], duplicate_kind=found.kind)
    return grouped.assign(split_group=join_split_groups(grouped))


def _draw_alone(images: pd.DataFrame, preprocess: Preprocess) -> pd.Series:
    """The split of each image in a draw image by image, copies of a file too."""
    ids = images["image_id"]
    alone = images.assign(split_group=ids, photo_sha256=ids, keep_together="")
    return assign_splits(alone, preprocess.model_copy(update={"duplicates": "keep"})).split


def _leave_out(images: pd.DataFrame, copies: pd.Series, rejected: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images without copies of held-out ones, and rows for those; groups are called after what is left of them."""
    if not copies.any():
        return images, rejected
    kept = images[~copies].reset_index(drop=True)
    twin = kept.groupby("split_group")["path"].first()
    lost = images.loc[copies, ["path", "label", "image_id", "split", "split_group"]]
    reason = "belongs to the group of " + lost["split"] + " image " + lost["split_group"].map(twin)
    table = pd.concat([rejected, lost.assign(reason=reason, kind="duplicate")[list(REJECTED_COLUMNS)]])
    for group in ("duplicate_group", "split_group"):
        kept[group] = kept.groupby(group)["image_id"].transform("min")
    kept.loc[kept["duplicate_group"] == kept["image_id"], "duplicate_kind"] = ""
    return kept, table.sort_values(["path", "reason", "image_id"], ignore_index=True)


def _print_assignment(images: pd.DataFrame, assigned: Assignment, preprocess: Preprocess) -> None:
    """Which classes the draw left short, and what to do about it."""
    if assigned.filled:
        first = [f"{label} ({', '.join(splits)})" for label, splits in sorted(assigned.filled.items())]
        print(
            f"preprocess: {len(first)} small classes drew no image for a split, so the nearest was taken; that may "
            f"change when images are added: {first_few(first, _NAMED)}"
        )
    short, better = propose_seed(images, preprocess)
    if short:
        todo = "add images, or raise the share" if better is None else f"preprocess.split_seed: {better} leaves none so"
        print(f"preprocess: less than half of their share of val or test fell to {first_few(short, _NAMED)}: {todo}")


def _measures_table(images: pd.DataFrame, arrays: TemporaryArrays) -> pd.DataFrame:
    """`image_id split label source` and a column per measure, in the order of `images`."""
    numbers = pd.DataFrame(arrays.measures.read()[images["row"].to_numpy()], columns=list(NAMES))
    return pd.concat([images[["image_id", "split", "label", "source"]], numbers], axis=1)


def _print_summary(profile: Profile) -> None:
    """What a person wants to know at once."""
    counts = ", ".join(f"{split} {count}" for split, count in profile.per_split.items())
    print(f"preprocess: {profile.images} images of {len(profile.classes)} classes ({counts})")
    if profile.rejected or profile.skipped or profile.too_small:
        print(
            f"preprocess: {profile.rejected} images rejected, {profile.too_small} too small, "
            f"{profile.skipped} other files: see rejected.csv"
        )
    if profile.left_out:
        print(f"preprocess: {profile.left_out} copies of held-out images left out: see rejected.csv")
    if profile.duplicates:
        print(
            f"preprocess: {len(profile.duplicates)} groups of duplicates, each kept on one side of the split "
            f"({profile.groups_would_straddle} would have straddled, {profile.images_moved} images moved)"
        )
