"""Writing a snapshot: what was fetched, packed into one archive below data/ that DVC pins and colleagues can pull.

`snapshot` says what is in it, and reads it back.
"""

import configparser
import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from podium.console.progress import show_progress
from podium.core.errors import DataError, ParamsError, one_line
from podium.core.files import replacing, sha256_file
from podium.core.layout import MANIFEST, SOURCES, Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from podium.records.fetch import Sources
from podium.sources.names import IMAGE_SUFFIXES
from podium.sources.snapshot import ABOUT, COLUMNS, TABLE, Kind, SnapshotRecord

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
_EPOCH = (1980, 1, 1, 0, 0, 0)


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
    pinned = _pin(layout)
    return Snapshot(
        archive, len(manifest), photographs, archive.stat().st_size, section, pinned, _steps(layout) if pinned else ()
    )


# --- writing -------------------------------------------------------------------------------------------------------


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


# --- DVC -----------------------------------------------------------------------------------------------------------


def _pin(layout: Layout) -> bool:
    """Lets DVC take data/ as it is now; False where the project is not under DVC.

    Raises:
        DataError: DVC refuses.
    """
    if not (layout.root / ".dvc").is_dir():
        return False
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", "data"],
        cwd=layout.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DataError(f"the snapshot is written, but `dvc add data` failed ({one_line(done.stderr)}): run it again")
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
