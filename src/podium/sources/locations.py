"""What `dataset.location` may be: a path that DVC watches, or an address whose bytes are pinned by their digest.

Stands on `core`, `remote` and `download`.
"""

import os
from pathlib import Path

from podium.config.dataset import ArchiveDataset, CsvDataset, Fetch, SampleDataset, SnapshotDataset
from podium.core.errors import ParamsError
from podium.core.layout import Layout
from podium.sources.download import download
from podium.sources.remote import OF_DATASET, address, without_secrets

OneFile = SampleDataset | ArchiveDataset | SnapshotDataset | CsvDataset


def is_address(location: str) -> bool:
    """Whether a location is a URL and not a path."""
    return "://" in location


def local_path(layout: Layout, location: str, key: str = OF_DATASET.location) -> Path:
    """The absolute path of a location.

    Args:
        layout: the project's paths; relative locations start at its root.
        location: a path, perhaps with `~`.
        key: where it is written, for the message.

    Raises:
        ParamsError: it names the home of somebody who is not known.
    """
    try:
        return Path(os.path.normpath(layout.root / Path(location).expanduser()))
    except RuntimeError as error:  # `~nobody/photos`
        raise ParamsError(f"{key} {location!r} names a home that is not known here: correct it") from error


def watched_path(layout: Layout, source: str, location: str, key: str = "location", pinning: str = "") -> Path:
    """The absolute path of a location below data/.

    Args:
        layout: the project's paths.
        source: the kind of source, for the message.
        location: a path.
        key: of the dataset section, for the message.
        pinning: another way to pin the bytes, added to the message.

    Raises:
        ParamsError: it is an address, or lies outside data/, where its changes would go unseen.
    """
    if is_address(location):
        raise ParamsError(
            f"dataset.{key} is an address, but source `{source}` reads from this machine: "
            "set dataset.source to `archive`"
        )
    path = local_path(layout, location, f"dataset.{key}")
    if not _is_watched(layout, path):
        raise ParamsError(
            f"dataset.{key} {location!r} lies outside data/, which DVC does not watch: copy it below data/ "
            f"and run `dvc add data`{pinning}"
        )
    return path


def one_file(layout: Layout, dataset: OneFile, fetch: Fetch) -> Path:
    """The file a dataset is, downloaded where it is an http(s) address.

    Args:
        layout: the project's paths.
        dataset: location and digest.
        fetch: limits of downloading.

    Raises:
        ParamsError: the location is neither watched by DVC nor pinned, or is another kind of address.
        DataError: the download fails.
    """
    if is_address(dataset.location):
        return downloaded(layout, dataset.location, dataset.sha256, fetch)
    if dataset.sha256 is not None:
        return local_path(layout, dataset.location)
    return watched_path(layout, dataset.source, dataset.location, pinning=", or set dataset.sha256")


def downloaded(layout: Layout, location: str, sha256: str | None, fetch: Fetch) -> Path:
    """One pinned file from an http(s) address.

    Raises:
        ParamsError: the address is of another kind, or not pinned.
        DataError: the download fails.
    """
    shown = without_secrets(location)
    if address(location).scheme not in ("http", "https"):
        raise ParamsError(
            f"dataset.location {shown!r} is not an http:// or https:// address: download it and give its path"
        )
    return download(location, pinned(shown, sha256), downloads(layout), fetch)


def pinned(shown: str, sha256: str | None, key: str = OF_DATASET.sha256) -> str:
    """The digest of a file at an address.

    Raises:
        ParamsError: there is none.
    """
    if sha256 is None:
        raise ParamsError(f"{key} is missing: a file from an address ({shown}) must be pinned by its digest")
    return sha256


def downloads(layout: Layout) -> Path:
    """Where downloads are kept; the copies that `dvc exp run --temp` works in share one folder."""
    return Layout(layout.main_root).downloads


def recorded(layout: Layout, location: str) -> str:
    """A location as it goes into a hashed file: nothing in it depends on where the project lies."""
    if is_address(location):
        return without_secrets(location)
    path = local_path(layout, location)
    return path.relative_to(layout.root).as_posix() if path.is_relative_to(layout.root) else path.name


def _is_watched(layout: Layout, path: Path) -> bool:
    """Whether DVC sees a change of it: DVC follows links to files, but not links to folders."""
    real = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    return real.is_relative_to(layout.data.resolve())
