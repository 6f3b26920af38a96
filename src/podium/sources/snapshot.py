"""Source `snapshot`: an archive that `podium snapshot` wrote, read back with nothing lost.

It holds `images/<photo_id>.<suffix>` (bytes untouched), `images.csv` (a row an image, readable by anybody) and
`snapshot.json` (where the images came from). Every image keeps its source, path and box, and so its key.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from podium.config.dataset import Fetch, SnapshotDataset
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS
from podium.records.base import Record
from podium.records.fetch import SourceRecord, Sources
from podium.sources.download import get_file
from podium.sources.source import Box, FileSource, Listing, Origin, Part, SourceImage, check_box
from podium.sources.unpacking import unpack

ABOUT = "snapshot.json"
TABLE = "images.csv"
COLUMNS = ("file", *(c for c in RAW_COLUMNS if c not in ("image_id", "photo_id", "photo_sha256", "shard")))
"""Of the table, without what `fetch` works out; further columns of the sources come after them."""
Kind = Literal["text", "int", "float"]
_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_CONVERT: Mapping[Kind, type[str] | type[int] | type[float]] = {"text": str, "int": int, "float": float}


class SnapshotRecord(Record):
    """`snapshot.json`: the sources of the images, and by source the kind of each of their further columns."""

    version: Literal[1] = 1
    sources: Sources
    extras: dict[str, dict[str, Kind]]


def open_snapshot(layout: Layout, dataset: SnapshotDataset, fetch: Fetch) -> list[Part]:
    """Opens a snapshot, downloaded where it is an address.

    Args:
        layout: the project's paths.
        dataset: location, digest, and the name its images get instead of their own source's.
        fetch: limits of downloading and unpacking.

    Returns:
        A part for each source the images came from, in the order they were fetched.
    """
    path = get_file(layout, dataset, fetch)
    folder, digest = unpack(layout, path, dataset.sha256, fetch)
    about = _about(path.name, folder)
    images = _images(path.name, folder, about)
    names = _names(about.sources.sources, dataset.name)
    return [_part(source, names[source.name], images, folder, digest) for source in about.sources.sources]


def _about(archive: str, folder: Path) -> SnapshotRecord:
    """What a snapshot says of its sources.

    Raises:
        DataError: the archive is no snapshot, or one of another version.
    """
    if not ((folder / ABOUT).is_file() and (folder / TABLE).is_file()):
        raise DataError(f"{archive} holds no {ABOUT} and {TABLE}: use dataset.source `archive` for class folders")
    try:
        return SnapshotRecord.model_validate_json((folder / ABOUT).read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{archive}: {ABOUT} is damaged or of another version of podium: write the snapshot again"
        ) from error


def _images(archive: str, folder: Path, about: SnapshotRecord) -> dict[str, list[tuple[str, SourceImage]]]:
    """Images and the names of their files by source.

    Raises:
        DataError: the table is damaged, or lists a file that is not there.
    """
    known = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    found: dict[str, list[tuple[str, SourceImage]]] = {source.name: [] for source in about.sources.sources}
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, strict=True):
                if row["file"] not in known:
                    raise DataError(f"{archive}: {TABLE} lists {row['file']!r}, but the archive lacks it: get it again")
                found[row["source"]].append((row["file"], _image(row, about.extras.get(row["source"], {}))))
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{archive}: {TABLE} is damaged ({error!r}): get the archive again") from error
    return found


def _image(row: Mapping[str, str], extras: Mapping[str, Kind]) -> SourceImage:
    """The image of a row of the table.

    Raises:
        ValueError, KeyError: a column is missing, or a value cannot be what it should.
    """
    return SourceImage(
        path=row["path"],
        label=row["label"],
        group=row["group"],
        split=row["split"],
        keep_together=row.get("keep_together") or "",  # snapshots of 0.1 have none
        source_label="" if row["source_label"] == row["label"] else row["source_label"],
        licence=row["licence"],
        box=check_box(Box(*(float(row[side]) for side in _BOX)), 1, 1),
        extras={name: _CONVERT[kind](row[name]) for name, kind in extras.items()},
    )


def _names(sources: Sequence[SourceRecord], name: str | None) -> dict[str, str]:
    """What the sources are called now: as they were, or by the name the snapshot was given."""
    if name is None:
        return {source.name: source.name for source in sources}
    return {source.name: f"{name}-{source.name}" if len(sources) > 1 else name for source in sources}


def _part(
    source: SourceRecord, name: str, images: Mapping[str, list[tuple[str, SourceImage]]], folder: Path, digest: str
) -> Part:
    """One source of the snapshot as a part under its present name; `digest` is the snapshot's."""
    ordered = sorted(images[source.name], key=lambda row: row[1].key)
    listing = Listing(source.name, source.sha256, tuple(image for _, image in ordered), tuple(source.skipped))
    files = FileSource(listing, {image.path: folder / file for file, image in ordered})
    origin = Origin(
        name=name,
        kind=source.kind,
        location=source.location,
        sha256=source.sha256,
        licence=source.licence,
        snapshot=digest,
    )
    return Part(origin, files, listing.images, listing.skipped)
