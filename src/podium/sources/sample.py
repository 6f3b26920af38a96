"""Source `sample`: the embedded archive, `sample/<class>/<number>.jpg` with the known truth in `sample/truth.csv`."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.records.fetch import SkippedFile
from podium.sources.archive import ArchiveSource, checked_digest, name_of, open_members
from podium.sources.listing import Listing, SourceImage
from podium.sources.members import Members

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


@contextmanager
def open_sample(path: Path, sha256: str | None, limits: Fetch, scratch: Path) -> Iterator[ArchiveSource]:
    """Opens the sample.

    Args:
        path: its archive.
        sha256: what its digest must be; None to accept any.
        limits: numbers of files, bytes and compression that are accepted.
        scratch: folder for an unpacked tar.

    Yields:
        The source; paths are relative to `sample/`, and the truth's columns are extras of each image.

    Raises:
        DataError: the archive is missing, damaged or unsafe, or its images and its truth do not agree.
    """
    digest = checked_digest(path, sha256)
    with open_members(path, limits, scratch) as members:
        images = _truth(path.name, members)
        known = {_PREFIX + image.path for image in images}
        missing = sorted(known - set(members.files))
        if missing:
            raise DataError(f"{path.name}: {TRUTH} lists {missing[0]!r}, but the archive lacks it: get it again")
        others = sorted(set(members.files) - known - {TRUTH})
        skipped = tuple(
            SkippedFile(path=name.removeprefix(_PREFIX), reason="not in truth.csv", image=True) for name in others
        )
        yield ArchiveSource(Listing(name_of(path.name), digest, images, skipped), members, _PREFIX)


def _truth(archive: str, members: Members) -> tuple[SourceImage, ...]:
    """The images that the truth lists, sorted by path.

    Raises:
        DataError: it is missing, damaged or empty.
    """
    if TRUTH not in members.files:
        raise DataError(f"{archive} holds no {TRUTH}: use dataset.source `archive` for an archive of class folders")
    try:
        rows = csv.DictReader(io.StringIO(members.read(TRUTH).decode("utf-8"), newline=""), strict=True)
        images = [_image(row) for row in rows]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{archive}: {TRUTH} is damaged ({error!r}): get the archive again") from error
    if not images:
        raise DataError(f"{archive}: {TRUTH} lists no images: get the archive again")
    return tuple(sorted(images, key=lambda image: image.path))


def _image(row: dict[str, str]) -> SourceImage:
    """The image of a row of the truth; the columns of `_TYPES` are its extras."""
    extras = {name: convert(row[name]) for name, convert in _TYPES.items()}
    return SourceImage(path=row["path"], label=row["label"], group=row["group"], extras=extras)
