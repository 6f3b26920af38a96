"""Source `sample`: the embedded archive, `sample/<class>/<number>.jpg` with the known truth in `sample/truth.csv`."""

import csv
from pathlib import Path

from podium.config.dataset import Fetch, SampleDataset
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.archive import check_digest, source_name, unpack
from podium.sources.locations import unpacked_folder, watched_path
from podium.sources.source import FileSource, Listing, SourceImage

TRUTH = "sample/truth.csv"
_PREFIX = "sample/"
_TYPES: dict[str, type[str] | type[float] | type[int]] = {
    "x0": float,
    "y0": float,
    "x1": float,
    "y1": float,
    "occlusion": float,
    "clutter": float,
    "objects": int,
    "view": str,
    "other_label": str,
    "planted": str,
}
"""Columns of the truth beside `path label group`: object box in pixels, occlusion and clutter in [0, 1], ..."""


def open_sample(layout: Layout, dataset: SampleDataset, fetch: Fetch) -> FileSource:
    """Opens the sample below data/; see `read_sample`.

    Args:
        layout: the project's paths.
        dataset: location and digest.
        fetch: limits of unpacking.
    """
    path = watched_path(layout, dataset.source, dataset.location)
    return read_sample(path, dataset.sha256, fetch, unpacked_folder(layout))


def read_sample(path: Path, sha256: str | None, limits: Fetch, unpacked: Path) -> FileSource:
    """Unpacks the sample, and reads it.

    Args:
        path: its archive.
        sha256: what its digest must be; None to accept any.
        limits: numbers of files, bytes and compression that are accepted.
        unpacked: where unpacked archives are kept.

    Returns:
        The source; paths are relative to `sample/`, and the truth's columns are extras of each image.

    Raises:
        DataError: the archive is missing, damaged or unsafe, or its images and its truth do not agree.
    """
    digest = check_digest(path, sha256)
    folder = unpack(path, digest, limits, unpacked)
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    if TRUTH not in found:
        raise DataError(f"{path.name} holds no {TRUTH}: use dataset.source `archive` for an archive of class folders")
    images = _truth(path.name, found[TRUTH])
    known = {_PREFIX + image.path for image in images}
    missing = sorted(known - set(found))
    if missing:
        raise DataError(f"{path.name}: {TRUTH} lists {missing[0]!r}, but the archive lacks it: get it again")
    others = sorted(set(found) - known - {TRUTH})
    skipped = tuple(
        SkippedFile(path=name.removeprefix(_PREFIX), reason="not in truth.csv", image=True) for name in others
    )
    files = {name.removeprefix(_PREFIX): file for name, file in found.items() if name in known}
    return FileSource(Listing(source_name(path.name), digest, images, skipped), files)


def _truth(archive: str, table: Path) -> tuple[SourceImage, ...]:
    """The images that the truth lists, sorted by path.

    Raises:
        DataError: it is damaged or empty.
    """
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            images = [_image(row) for row in csv.DictReader(stream, strict=True)]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{archive}: {TRUTH} is damaged ({error!r}): get the archive again") from error
    if not images:
        raise DataError(f"{archive}: {TRUTH} lists no images: get the archive again")
    return tuple(sorted(images, key=lambda image: image.path))


def _image(row: dict[str, str]) -> SourceImage:
    """The image of a row of the truth; the columns of `_TYPES` are its extras."""
    extras = {name: convert(row[name]) for name, convert in _TYPES.items()}
    return SourceImage(path=row["path"], label=row["label"], group=row["group"], extras=extras)
