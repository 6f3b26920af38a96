"""Sources `archive` and `sample`: a zip, 7z or tar of class folders, here or at an address; and the embedded archive.

Both are unpacked. An archive is then read as a folder; the sample is `sample/<class>/<number>.jpg` with the known truth
in `sample/truth.csv`.
"""

import csv
from pathlib import Path
from typing import Final

from podium.config.dataset import ArchiveDataset, Fetch, SampleDataset
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.download import get_file
from podium.sources.folder import read_folder
from podium.sources.locations import watched_path
from podium.sources.names import source_name
from podium.sources.source import FileSource, Listing, SourceImage
from podium.sources.unpacking import unpack

_TRUTH: Final = "sample/truth.csv"
_PREFIX: Final = "sample/"
_TYPES: Final[dict[str, type[str] | type[float] | type[int]]] = {
    **dict.fromkeys(("x0", "y0", "x1", "y1", "occlusion", "clutter"), float),
    "objects": int,
    **dict.fromkeys(("view", "other_label", "planted"), str),
}
"""Columns of the truth beside `path label group`: object box in pixels, occlusion and clutter in [0, 1], ..."""


def open_archive(layout: Layout, dataset: ArchiveDataset, fetch: Fetch) -> FileSource:
    """Opens an archive of class folders, downloaded where it is an address.

    Args:
        layout: the project's paths.
        dataset: location, digest, layout, encoding of names.
        fetch: limits of downloading and unpacking.

    Returns:
        The source; its name is the file's without its ending.
    """
    path = get_file(layout, dataset, fetch)
    folder, digest = unpack(layout, path, dataset.sha256, fetch, dataset.encoding)
    return read_folder(folder, source_name(path.name), title=path.name, sha256=digest, layout=dataset.layout)


def open_sample(layout: Layout, dataset: SampleDataset, fetch: Fetch) -> FileSource:
    """Opens the sample below data/.

    Args:
        layout: the project's paths.
        dataset: location and digest.
        fetch: limits of unpacking.

    Returns:
        The source; paths are relative to `sample/`, and the truth's columns are extras of each image.

    Raises:
        DataError: the archive is missing, damaged or unsafe, or its images and its truth do not agree.
    """
    path = watched_path(layout, dataset.source, dataset.location)
    folder, digest = unpack(layout, path, dataset.sha256, fetch)
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    if _TRUTH not in found:
        raise DataError(f"{path.name} holds no {_TRUTH}: use dataset.source `archive` for an archive of class folders")
    images = _read_truth(path.name, found.pop(_TRUTH))
    known = {_PREFIX + image.path for image in images}
    missing = sorted(known - set(found))
    if missing:
        raise DataError(f"{path.name}: {_TRUTH} lists {missing[0]!r}, but the archive lacks it: get it again")
    others = [name.removeprefix(_PREFIX) for name in sorted(set(found) - known)]
    skipped = tuple(SkippedFile(path=name, reason="not in truth.csv", image=True) for name in others)
    files = {image.path: found[_PREFIX + image.path] for image in images}
    return FileSource(Listing(source_name(path.name), digest, images, skipped), files)


def _read_truth(archive: str, table: Path) -> tuple[SourceImage, ...]:
    """The images that the truth lists, sorted by path; the columns of `_TYPES` are their extras.

    Raises:
        DataError: it is damaged or empty.
    """
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            images = [
                SourceImage(
                    path=row["path"],
                    label=row["label"],
                    group=row["group"],
                    extras={name: convert(row[name]) for name, convert in _TYPES.items()},
                )
                for row in csv.DictReader(stream, strict=True)
            ]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{archive}: {_TRUTH} is damaged ({error!r}): get the archive again") from error
    if not images:
        raise DataError(f"{archive}: {_TRUTH} lists no images: get the archive again")
    return tuple(sorted(images, key=lambda image: image.path))
