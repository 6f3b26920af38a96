"""Source `snapshot`: what was fetched, packed into one archive below data/, and read back with nothing lost.

It holds `images/<photo_id>.<suffix>` (bytes untouched), `images.csv` (a row an image, readable by anybody) and
`snapshot.json` (where the images came from). Every image keeps its source, path and box, and so its key. DVC pins the
archive, and colleagues can pull it.
"""

import configparser
import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from podium.config.dataset import Fetch, SnapshotDataset
from podium.console.process import run_dvc
from podium.console.progress import show_progress
from podium.core.errors import DataError, ParamsError
from podium.core.files import replacing, sha256_file
from podium.core.layout import MANIFEST, SOURCES, Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from podium.records.base import Record
from podium.records.fetch import SourceRecord, Sources
from podium.sources.archive import unpack
from podium.sources.download import get_file
from podium.sources.names import IMAGE_SUFFIXES
from podium.sources.source import Box, FileSource, Listing, Origin, Part, SourceImage, check_box

ABOUT = "snapshot.json"
TABLE = "images.csv"
COLUMNS = ("file", *(c for c in RAW_COLUMNS if c not in ("image_id", "photo_id", "photo_sha256", "shard")))
"""Of the table, without what `fetch` works out; further columns of the sources come after them."""
Kind = Literal["text", "int", "float"]
_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_CONVERT: Mapping[Kind, type[str] | type[int] | type[float]] = {"text": str, "int": int, "float": float}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
_EPOCH = (1980, 1, 1, 0, 0, 0)


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
        keep_together=row["keep_together"],
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


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was written.

    Attributes:
        archive: the file, below data/.
        images: rows of the table; `photographs` may hold several of them each.
        photographs: files in the archive.
        size: of the archive in bytes.
        section: what to put under `dataset:` in params.yaml, as YAML.
        pinned: whether `data.dvc` now holds it; False where the project is not under DVC.
        steps: commands that bring it to colleagues, in their order.
    """

    archive: Path
    images: int
    photographs: int
    size: int
    section: str
    pinned: bool
    steps: tuple[str, ...]


def write_snapshot(layout: Layout, name: str, replace: bool = False) -> Snapshot:
    """Packs `artifacts/raw` into `data/<name>.zip` and pins data/ anew; params.yaml is left to the user.

    Args:
        layout: the project's paths.
        name: of the archive, without its ending.
        replace: overwrite an archive of that name.

    Returns:
        What was written, and what to do next.

    Raises:
        ParamsError: the name is no plain file name.
        DataError: nothing was fetched, an archive of that name is there, the disk is full, or DVC refuses.
    """
    if not _NAME.fullmatch(name):
        raise ParamsError(f"snapshot name {name!r} must be letters, digits, - and _ (at most 64): choose another")
    archive = layout.data / f"{name}.zip"
    if archive.exists() and not replace:
        raise DataError(f"data/{archive.name} exists: choose another name, or replace it on purpose")
    manifest = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS)
    sources = Sources.read(layout.raw / SOURCES)
    with replacing(archive) as temporary:
        photographs = _pack(temporary, layout.raw, manifest, sources)
    section = (
        f"dataset:\n  source: snapshot\n  location: data/{archive.name}\n  sha256: {sha256_file(archive)}\n"
        "  limit_per_class: null\n"
    )
    section += "  corrections: null\n" if sources.corrections else ""  # the labels in it are the corrected ones
    pinned = _pin(layout)
    return Snapshot(
        archive, len(manifest), photographs, archive.stat().st_size, section, pinned, _steps(layout) if pinned else ()
    )


def _pack(archive: Path, raw: Path, manifest: pd.DataFrame, sources: Sources) -> int:
    """Writes the archive, the same bytes for the same images; returns the number of photographs."""
    rows = manifest.assign(file=[_member(*both) for both in zip(manifest["photo_id"], manifest["path"], strict=True)])
    photographs = rows.drop_duplicates("photo_id").sort_values("photo_id")
    extras = _extras(manifest)
    about = SnapshotRecord(sources=sources, extras=extras)
    reader = RawImages(raw)
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed,
        show_progress("snapshot", len(photographs)) as advance,
    ):
        packed.writestr(zipfile.ZipInfo(ABOUT, _EPOCH), json.dumps(about.model_dump(mode="json"), ensure_ascii=False))
        packed.writestr(zipfile.ZipInfo(TABLE, _EPOCH), _csv(rows, extras))
        for photo in photographs.itertuples():
            packed.writestr(
                zipfile.ZipInfo(str(photo.file), _EPOCH), reader.read(str(photo.shard), str(photo.photo_id))
            )
            advance(1)
    return len(photographs)


def _member(photo_id: str, path: str) -> str:
    """Name of a photograph in the archive, with the ending it had where that is an image's."""
    suffix = PurePosixPath(path).suffix.casefold()
    return f"images/{photo_id}{suffix if suffix[1:] in IMAGE_SUFFIXES else ''}"


def _extras(manifest: pd.DataFrame) -> dict[str, dict[str, Kind]]:
    """Further columns of each source with their kinds; a source has those that are not empty in all of its rows."""
    names = [column for column in manifest.columns if column not in RAW_COLUMNS]
    return {
        str(source): {name: _kind(manifest[name]) for name in names if rows[name].notna().any()}
        for source, rows in manifest.groupby("source", sort=True)
    }


def _kind(column: "pd.Series[Any]") -> Kind:
    """Kind of a further column, by its type in the manifest."""
    if pd.api.types.is_integer_dtype(column):
        return "int"
    return "float" if pd.api.types.is_float_dtype(column) else "text"


def _csv(rows: pd.DataFrame, extras: Mapping[str, Mapping[str, Kind]]) -> str:
    r"""The table. Numbers are written so that they read back as the same bits; texts in quotes, also a lone `\r`."""
    columns = [*COLUMNS, *sorted({name for own in extras.values() for name in own})]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    for row in rows.sort_values("image_id")[columns].to_dict("records"):
        own = extras[row["source"]]
        writer.writerow([row[c] if c in COLUMNS or c in own else "" for c in columns])
    return text.getvalue()


def _pin(layout: Layout) -> bool:
    """Lets DVC take data/ as it is now; False where the project is not under DVC.

    Raises:
        DataError: DVC refuses.
    """
    if not (layout.root / ".dvc").is_dir():
        return False
    try:
        run_dvc(layout.root, "add", "--quiet", "data")
    except DataError as error:
        raise DataError(f"the snapshot is written, but {error}") from error
    return True


def _steps(layout: Layout) -> tuple[str, ...]:
    """What brings data/ to colleagues; a remote inside the repository is the sample's, not the team's."""
    config = configparser.ConfigParser()
    config.read(layout.root / ".dvc" / "config", encoding="utf-8")
    default = config.get("core", "remote", fallback="")
    url = config.get(f"'remote \"{default}\"'", "url", fallback="")
    shared = "://" in url or Path(url).is_absolute()
    add = () if shared else ("dvc remote add --default team s3://YOUR-BUCKET/PATH   # once; any storage DVC knows",)
    files = "data.dvc params.yaml" if shared else "data.dvc params.yaml .dvc/config"
    return (*add, "dvc push data.dvc", f'git add {files} && git commit -m "Data of the experiment as a snapshot"')
