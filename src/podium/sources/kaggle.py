"""Source `kaggle`: the archive of one version of a Kaggle dataset, read in place like any other archive.

A dataset is pinned by its version (a version never changes on Kaggle), by the sha256 of its archive, or by both.
The archive is kept as `kaggle/<owner>/<dataset>/<version>/<dataset>.zip` below the downloads.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podium.config.dataset import Fetch, KaggleDataset
from podium.core.errors import DataError, NotPinned
from podium.core.files import sha256_file
from podium.sources.archive import ArchiveSource, open_members
from podium.sources.classfolders import arrange
from podium.sources.download import download_to
from podium.sources.kaggle_api import Handle, archive_address, current_version
from podium.sources.listing import Listing
from podium.sources.locations import Remote
from podium.sources.members import Members


@contextmanager
def open_kaggle(
    dataset: KaggleDataset, fetch: Fetch, downloads: Path, pause_seconds: float = 1.0
) -> Iterator[ArchiveSource]:
    """Opens a Kaggle dataset of class folders, downloading it if needed.

    Args:
        dataset: `owner/dataset` or `owner/dataset/versions/N`, the digest of the archive, and the folder `inside` it
            whose class folders are meant.
        fetch: timeout, retries, and limits of the archive.
        downloads: folder for archives; one that is there and pinned is used without asking Kaggle.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.

    Yields:
        The source; its name is the dataset's, `owner_dataset` by default.

    Raises:
        NotPinned: neither version nor sha256 is given; the message says which ones to put in.
        DataError: Kaggle refuses or cannot be reached; the archive has another digest, is damaged or unsafe, or breaks
            a rule of `classfolders.arrange`.
    """
    handle = _handle(dataset.location)
    folder = downloads / "kaggle" / handle.owner / handle.dataset
    path = _kept(folder, handle, dataset.sha256)
    pinned = handle.version is not None or dataset.sha256 is not None
    if path is None:
        if handle.version is None:
            handle = Handle(handle.owner, handle.dataset, current_version(handle, fetch, pause_seconds))
        path = _path(folder, handle)
        remedy = f"download it from {handle.page}, and use source `archive`"
        remote = Remote(str(handle), lambda: archive_address(handle, fetch), remedy)
        download_to(path, remote, dataset.sha256, fetch, pause_seconds)
    digest = sha256_file(path)
    if not pinned:
        location = str(handle).removeprefix("kaggle:")
        raise NotPinned(
            f"kaggle:{dataset.location} is not pinned: write `location: {location}` and `sha256: {digest}` under "
            "dataset (the archive is downloaded already)"
        )
    with open_members(path, fetch, folder / "unpacked") as members:
        title = f"kaggle:{dataset.location}"
        prefix, files, folders = _below(title, members, dataset.inside)
        arranged = arrange(title, files, folders)
        name = dataset.name or f"{handle.owner}_{handle.dataset}"
        yield ArchiveSource(Listing(name, digest, arranged.images, arranged.skipped), members, prefix)


def _handle(location: str) -> Handle:
    """From `owner/dataset` or `owner/dataset/versions/N`."""
    owner, name, *version = location.split("/")
    return Handle(owner, name, int(version[1]) if version else None)


def _path(folder: Path, handle: Handle) -> Path:
    """Where the archive of one version is kept."""
    return folder / str(handle.version) / f"{handle.dataset}.zip"


def _kept(folder: Path, handle: Handle, sha256: str | None) -> Path | None:
    """The archive of an earlier download, if it is the right one."""
    if handle.version is not None:
        path = _path(folder, handle)
        return path if path.is_file() and sha256 in (None, sha256_file(path)) else None
    candidates = sorted(folder.glob(f"*/{handle.dataset}.zip")) if sha256 else []
    return next((path for path in candidates if sha256_file(path) == sha256), None)


def _below(title: str, members: Members, inside: str | None) -> tuple[str, list[str], list[str]]:
    """Files and folders below the folder `inside`, relative to it, and what stands before their names."""
    parts = [p for p in unicodedata.normalize("NFC", inside or "").split("/") if p]
    prefix = "".join(f"{part}/" for part in parts)
    files = [name.removeprefix(prefix) for name in members.files if name.startswith(prefix)]
    folders = [name.removeprefix(prefix) for name in members.folders if name.startswith(prefix)]
    if prefix and not files:
        found = sorted({name.rpartition("/")[0] for name in members.files if "/" in name})[:10]
        raise DataError(
            f"{title} holds no files below {inside!r} (dataset.inside); its folders: {', '.join(found) or 'none'}"
        )
    return prefix, files, folders
