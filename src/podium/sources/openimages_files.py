"""Where the tables and photographs of Open Images lie: on its servers, or in a folder somebody downloaded before.

A folder has FiftyOne's layout: `train/data/*.jpg`, `train/labels/detections.csv`, `train/metadata/classes.csv` and
`image_ids.csv`, the same for `validation` and `test`; or it is one such subset.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podium.config.base import Split
from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.download import download_to
from podium.sources.locations import Remote, without_secrets
from podium.sources.names import reason_to_skip

THEIR_NAMES: Final[Mapping[Split, str]] = {"train": "train", "val": "validation", "test": "test"}
_CLASSES: Final = "v7/oidv7-class-descriptions-boxable.csv"
_BOXES: Final[Mapping[Split, str]] = {
    "train": "v6/oidv6-train-annotations-bbox.csv",
    "val": "v5/validation-annotations-bbox.csv",
    "test": "v5/test-annotations-bbox.csv",
}
# V7 still points to the tables of photographs of 2018.
_PHOTOGRAPHS: Final[Mapping[Split, str]] = {
    "train": "2018_04/train/train-images-boxable-with-rotation.csv",
    "val": "2018_04/validation/validation-images-with-rotation.csv",
    "test": "2018_04/test/test-images-with-rotation.csv",
}


@dataclass(frozen=True)
class Subset:
    """One subset's files.

    Attributes:
        name: its folder (`validation`); first part of its images' paths.
        split: ours; empty where the folder does not tell.
        classes, boxes: its tables.
        photographs: the table with authors and licences; None where it is missing.
        files: photographs on disk by id, where somebody downloaded them before; None where they come from the bucket.
    """

    name: str
    split: str
    classes: Path
    boxes: Path
    photographs: Path | None
    files: Mapping[str, Path] | None = None

    def path(self, photograph: str) -> str:
        """A photograph's path inside the source."""
        file = f"{photograph}.jpg" if self.files is None else self.files[photograph].name
        return f"{self.name}/{file}"


def fetch_subsets(base: str, splits: Iterable[Split], fetch: Fetch, folder: Path) -> list[Subset]:
    """Brings the tables here, each once; a broken download goes on where it stopped.

    Args:
        base: address of the annotations.
        splits: the subsets wanted.
        fetch: timeout and number of retries.
        folder: where the tables are kept.

    Raises:
        DataError: the server cannot be reached or refuses, or the disk is full.
    """

    def bring(name: str) -> Path:
        """One table, downloaded unless it is there."""
        url = f"{base.rstrip('/')}/{name}"
        target = folder / folder_name(base) / name
        download_to(target, Remote.at(url), None, fetch)
        return target

    classes = bring(_CLASSES)
    return [
        Subset(THEIR_NAMES[split], split, classes, bring(_BOXES[split]), bring(_PHOTOGRAPHS[split]))
        for split in dict.fromkeys(splits)
    ]


def find_subsets(folder: Path, splits: Iterable[Split]) -> list[Subset]:
    """Finds tables and photographs in a folder.

    Args:
        folder: with subsets, or one subset.
        splits: the subsets wanted; those that are not there are left out.

    Raises:
        DataError: the folder, its photographs or a table is missing.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} does not exist: put the subsets there, or correct dataset.location")
    wanted = list(dict.fromkeys(splits))
    found: list[Subset] = []
    for split in wanted:
        names = dict.fromkeys((THEIR_NAMES[split], split))
        place = next((folder / name for name in names if (folder / name / "data").is_dir()), None)
        if place is not None:
            found.append(_subset(place, split))
    if not found and (folder / "data").is_dir():
        found.append(_subset(folder, next((s for s, name in THEIR_NAMES.items() if folder.name in (s, name)), "")))
    if not found:
        raise DataError(
            f"{folder} holds no photographs of Open Images: it needs a folder `data` with them, or "
            f"{', '.join(THEIR_NAMES[split] for split in wanted)} with a folder `data` inside"
        )
    return found


def bucket_address(images: str) -> str:
    """The http or https address of a bucket; that of a public S3 bucket is known by its name.

    Args:
        images: `https://...`, or `s3://bucket/folder`.
    """
    if images.startswith("s3://"):
        bucket, _, inside = images.removeprefix("s3://").partition("/")
        return f"https://{bucket}.s3.amazonaws.com/{inside}".rstrip("/")
    return images.rstrip("/")


def folder_name(address: str) -> str:
    """A folder for what comes from an address."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", without_secrets(address).partition("://")[2])[:100].strip("._")


def _subset(place: Path, split: str) -> Subset:
    """A subset somebody downloaded.

    Raises:
        DataError: it lacks a table that is needed.
    """
    data = place / "data"
    return Subset(
        place.name,
        split,
        _required(place, "metadata", "classes.csv"),
        _required(place, "labels", "detections.csv"),
        _table(place, "metadata", "image_ids.csv"),
        {path.stem: path for path in sorted(data.iterdir()) if path.is_file() and not reason_to_skip(path.name)},
    )


def _required(place: Path, inside: str, name: str) -> Path:
    """A table that has to be there.

    Raises:
        DataError: it is not.
    """
    path = _table(place, inside, name)
    if path is None:
        raise DataError(f"{place} has no {inside}/{name}: put it beside the photographs, as FiftyOne does")
    return path


def _table(place: Path, inside: str, name: str) -> Path | None:
    """A table in its folder or beside it, None where it is in neither."""
    return next((path for path in (place / inside / name, place / name) if path.is_file()), None)
