"""Verb preprocess: decode every image once, group duplicates, split, write shards, manifest and profile.

Rule: an image ends in exactly one split or in `rejected.csv` with a reason. The outputs do not depend on the number
of workers. Pixels go through two files in `.podium/`, so memory stays bounded by a few batches.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from podium.core.config.preprocess import Preprocess
from podium.core.errors import DataError
from podium.core.files import raise_if_full, replacing, replacing_folder
from podium.core.layout import Layout
from podium.core.records.fetch import SourceRecord
from podium.core.records.preprocess import Preprocessing, Profile
from podium.curation import duplicates, splits
from podium.curation.decoding import RawImage, Reading, Scratch, decode_all
from podium.curation.profile import describe
from podium.data.manifest import PREPARED_COLUMNS, RAW_COLUMNS, read_manifest, write_manifest
from podium.data.shards import finish_split, images_per_shard

_COPIED_AT_ONCE = 512  # images
_INDEX_COLUMNS = ("image_id", "path", "label", "group")


def run(layout: Layout, preprocess: Preprocess, seed: int, workers: int) -> None:
    """Prepares the three splits from `artifacts/raw`.

    Args:
        layout: the project's paths.
        preprocess: size, padding, shares, distance of near duplicates.
        seed: of the split.
        workers: processes that decode; 0 decodes in this one. It changes no byte.

    Raises:
        DataError: the raw manifest is missing or empty, a raw shard is damaged, all images of a class are unreadable,
            a class has too few images for three splits, or the disk is full.
    """
    raw = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    if raw.empty:
        raise DataError("artifacts/raw holds no images: check dataset.location and run `dvc repro -f fetch`")
    source = SourceRecord.read(layout.raw / "sources.json")
    preprocessing = Preprocessing(**preprocess.model_dump(include=set(Preprocessing.model_fields)))
    with _scratch(layout.work / "preprocess", len(raw), preprocess.image_size) as scratch:
        readings = _decode(layout.raw, raw, scratch, preprocessing, workers)
        images, rejected = _sort_out(raw, readings, source)
        images = _group_duplicates(images, scratch, preprocess.near_duplicate_distance)
        images["split"] = splits.assign(images, preprocess, seed)
        alone = images.assign(duplicate_group=images["image_id"])
        profile = describe(images, splits.assign(alone, preprocess, seed), rejected)
        for split in profile.per_split:
            with replacing_folder(layout.prepared / split) as folder:
                part = images[images["split"] == split]
                _write_shards(folder, scratch.pixels(), part["row"].to_numpy(), preprocess.image_size)
                extras = [column for column in raw.columns if column not in RAW_COLUMNS]
                index = part.loc[:, [*_INDEX_COLUMNS, *sorted(extras)]]
                finish_split(folder, split, profile.classes, preprocessing, index)
    write_manifest(layout.manifest, images.drop(columns=["shard", "row"]), PREPARED_COLUMNS)
    with replacing(layout.rejected) as temporary:
        rejected.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    profile.write(layout.profile)
    _say(profile)


@contextmanager
def _scratch(folder: Path, count: int, image_size: int) -> Iterator[Scratch]:
    """Files for pixels and thumbnails that vanish at the end; what a killed run left goes first."""
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


def _decode(
    folder: Path, raw: pd.DataFrame, scratch: Scratch, preprocessing: Preprocessing, workers: int
) -> list[Reading]:
    """One reading per row of the raw manifest, in its order."""
    wanted = [
        RawImage(row, shard, key) for row, (shard, key) in enumerate(zip(raw["shard"], raw["photo_id"], strict=True))
    ]
    readings: list[Reading] = []
    with _progress(len(wanted)) as advance:
        for batch in decode_all(folder, wanted, scratch, preprocessing, workers):
            readings.extend(batch)
            advance(len(batch))
    return readings


class _Lines:
    """Progress where nobody watches: one line per quarter."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __call__(self, images: int) -> None:
        before, self._done = self._done, self._done + images
        if before * 4 // self._total < self._done * 4 // self._total:
            print(f"preprocess: decoded {self._done} of {self._total} images", flush=True)


@contextmanager
def _progress(total: int) -> Iterator["_Lines | _Bar"]:
    """A bar on a terminal, plain lines in a pipe."""
    if not Console().is_terminal:
        yield _Lines(total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        yield _Bar(progress, total)


class _Bar:
    """Progress on a terminal."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("decoding", total=total)

    def __call__(self, images: int) -> None:
        self._progress.advance(self._task, images)


def _sort_out(raw: pd.DataFrame, readings: list[Reading], source: SourceRecord) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Readable images with what was found in them, and `path label reason` of everything else."""
    found = pd.DataFrame(
        {
            "row": [r.row for r in readings],
            "reason": [r.reason for r in readings],
            "sha256": [r.sha256 for r in readings],
            "phash": [f"{r.phash:016x}" for r in readings],
            "width": np.array([r.width for r in readings], dtype=np.int64),
            "height": np.array([r.height for r in readings], dtype=np.int64),
            "note": [r.note for r in readings],
        }
    )
    images = pd.concat([raw.rename(columns={"split": "source_split"}).reset_index(drop=True), found], axis=1)
    unreadable = images["reason"] != ""
    skipped = pd.DataFrame([(s.path, "", s.reason) for s in source.skipped], columns=["path", "label", "reason"])
    rejected = pd.concat([images.loc[unreadable, ["path", "label", "reason"]], skipped])
    kept = images[~unreadable].drop(columns="reason").sort_values("image_id").reset_index(drop=True)
    for label in sorted(set(raw["label"]) - set(kept["label"])):
        first = rejected[rejected["label"] == label].sort_values("path").iloc[0]
        raise DataError(
            f"no image of class {label!r} can be read (first: {first['path']}: {first['reason']}): "
            "replace its files or remove the class"
        )
    return kept, rejected.sort_values(["path", "reason"]).reset_index(drop=True)


def _group_duplicates(images: pd.DataFrame, scratch: Scratch, largest_distance: int) -> pd.DataFrame:
    """Adds `duplicate_group` and `duplicate_kind`; images come sorted by `image_id`."""
    found = duplicates.find(
        sha256=images["sha256"].tolist(),
        hashes=np.array([int(text, 16) for text in images["phash"]], dtype=np.uint64),
        thumbnails=scratch.thumbnails()[images["row"].to_numpy()],
        largest_distance=largest_distance,
    )
    return images.assign(
        duplicate_group=images["image_id"].to_numpy()[found.first],
        duplicate_kind=found.kind,
    )


def _write_shards(folder: Path, pixels: NDArray[np.uint8], rows: NDArray[np.int64], image_size: int) -> None:
    """Copies rows of the scratch file into `images-00000.npy`, ...

    Written as a stream and not through a memory map, so that a full disk is an error that can be told.
    """
    per_shard = images_per_shard(image_size)
    for number, start in enumerate(range(0, len(rows), per_shard)):
        chosen = rows[start : start + per_shard]
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(chosen), image_size, image_size, 3)}
        with (folder / f"images-{number:05d}.npy").open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for at in range(0, len(chosen), _COPIED_AT_ONCE):
                stream.write(pixels[chosen[at : at + _COPIED_AT_ONCE]].tobytes())


def _say(profile: Profile) -> None:
    """What a person wants to know at once."""
    counts = ", ".join(f"{split} {count}" for split, count in profile.per_split.items())
    print(f"preprocess: {profile.images} images of {len(profile.classes)} classes ({counts})")
    if profile.rejected or profile.skipped:
        print(f"preprocess: {profile.rejected} images rejected, {profile.skipped} other files: see rejected.csv")
    if profile.duplicates:
        print(
            f"preprocess: {len(profile.duplicates)} groups of duplicates, each kept on one side of the split "
            f"({profile.groups_would_straddle} would have straddled, {profile.images_moved} images moved)"
        )
