"""Labelled images that are no part of the dataset: class folders, an archive of them, or a table, anywhere on disk."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from podium.config.dataset import CsvDataset, Fetch
from podium.config.problems import nearest
from podium.core.errors import DataError, UsageError, first_few
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.sources.archive import unpack
from podium.sources.folder import read_folder
from podium.sources.names import ARCHIVE_SUFFIXES
from podium.sources.selection import map_labels
from podium.sources.source import FileSource, Origin, Part
from podium.sources.table import read_table

_LISTED = 6  # labels in a message


def open_labelled(layout: Layout, place: Path, labels: Mapping[str, Sequence[str]], fetch: Fetch) -> Part:
    """Opens labelled images where they lie; splits that they come with mean nothing here.

    Args:
        layout: the project's paths; an archive is unpacked below `.podium/`.
        place: a folder of class folders, a zip, 7z or tar of one, or a CSV with columns `path` and `label` whose paths
            are relative to it.
        labels: the source's classes by class of the model, as in `dataset.labels`.
        fetch: limits of unpacking.

    Returns:
        The images with the labels of the model, ready to be read, and the files left out.

    Raises:
        UsageError: it is a file of another kind.
        DataError: it is missing or cannot be used, or a class in `labels` is not there.
    """
    source = _open(layout, place.absolute(), fetch)
    name = source.listing.name
    ready = source.prepare(map_labels(name, source.listing.images, labels))
    origin = Origin(name=name, kind="folder", location=place.name, sha256=source.listing.sha256, licence="")
    return Part(origin, source, ready.images, (*source.listing.skipped, *ready.skipped))


def require_labels(part: Part, classes: Collection[str]) -> None:
    """Refuses images of classes that a model does not know.

    Raises:
        DataError: there are some; the message lists them and says how they are mapped.
    """
    unknown = sorted(part.labels - set(classes))
    if not unknown:
        return
    told = first_few([f"{label!r}{nearest(label, classes)}" for label in unknown], _LISTED)
    raise DataError(
        f"{len(unknown)} of the {len(part.labels)} labels of {part.origin.name} are no class of the model: {told}. "
        "Take their images out, or give --labels FILE, a YAML file of the model's classes with what they are called "
        f"here (`lemon: [citron, zitrone]`); it knows {first_few(sorted(classes), _LISTED)}"
    )


def _open(layout: Layout, place: Path, fetch: Fetch) -> FileSource:
    """The source, by what lies there."""
    suffix = place.suffix.removeprefix(".").casefold()
    if not place.exists():
        raise DataError(f"{place} does not exist: name a folder of class folders, an archive of one, or a .csv")
    if place.is_file() and suffix == "csv":
        section = CsvDataset(location=str(place), licence="unknown")
        return read_table(layout, place, section, fetch, digest=sha256_file(place), base=str(place.parent))
    if place.is_file() and suffix in ARCHIVE_SUFFIXES:
        folder, digest = unpack(layout, place, None, fetch)
        return read_folder(folder, place.stem, title=f"archive {place.name}", sha256=digest)
    if place.is_file():
        raise UsageError(f"{place} is neither a folder, an archive (zip, tar, 7z) nor a .csv: name one")
    return read_folder(place, place.name, title=f"folder {place.name}")
