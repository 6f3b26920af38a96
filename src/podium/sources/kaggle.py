"""Source `kaggle`: the archive of one version of a Kaggle dataset, unpacked like any other archive.

A dataset is pinned by its version (a version never changes on Kaggle), by the sha256 of its archive, or by both.
The archive is kept as `kaggle/<owner>/<dataset>/<version>/<dataset>.zip` below the downloads. kagglehub brings the
credentials and speaks the protocol; its own download is not used: a broken one loses bytes, and archives are unpacked
without limits. Nothing here prints or keeps a credential or a signed address.
"""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import requests

from podium.config.dataset import Fetch, KaggleDataset
from podium.core.errors import DataError, NotPinned
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.sources.archive import unpack
from podium.sources.download import download_to
from podium.sources.folder import read_folder
from podium.sources.locations import Remote, downloads_folder
from podium.sources.names import broken_rule
from podium.sources.source import FileSource
from podium.sources.transfer import RETRY_STATUSES, Broken, retry, root_cause

if TYPE_CHECKING:
    from kagglesdk.kaggle_client import KaggleClient

_CREDENTIALS = "KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"
_TOKENS = "https://www.kaggle.com/settings"


@dataclass(frozen=True)
class Handle:
    """A dataset on kaggle.com; `version` is None where it is not known."""

    owner: str
    dataset: str
    version: int | None = None

    def __str__(self) -> str:
        """What messages call it: `kaggle:owner/dataset/versions/3`, without the end where the version is not known."""
        version = f"/versions/{self.version}" if self.version else ""
        return f"kaggle:{self.owner}/{self.dataset}{version}"

    @classmethod
    def of(cls, location: str) -> Self:
        """From `owner/dataset` or `owner/dataset/versions/N`."""
        owner, name, *version = location.split("/")
        return cls(owner, name, int(version[1]) if version else None)

    @property
    def page(self) -> str:
        """Where a person finds it."""
        return f"https://www.kaggle.com/datasets/{self.owner}/{self.dataset}"

    @property
    def by_hand(self) -> str:
        """What to do where Kaggle does not give it to us."""
        return f"download it from {self.page}, and use source `archive`"


def open_kaggle(layout: Layout, dataset: KaggleDataset, fetch: Fetch) -> FileSource:
    """Opens a Kaggle dataset of class folders under the name `owner_dataset`, downloading it if needed.

    Args:
        layout: the project's paths; an archive that is there and pinned is used without asking Kaggle.
        dataset: `owner/dataset` or `owner/dataset/versions/N`, the digest of the archive, and the folder `inside` it
            whose class folders are meant.
        fetch: timeout, retries, and limits of the archive.

    Raises:
        NotPinned: neither version nor sha256 is given; the message says which ones to put in.
        DataError: Kaggle refuses or cannot be reached; the archive has another digest, is damaged or unsafe, or breaks
            a rule of `class_folders`.
    """
    handle, title = Handle.of(dataset.location), f"kaggle:{dataset.location}"
    folder = downloads_folder(layout) / "kaggle" / handle.owner / handle.dataset
    pinned = handle.version is not None or dataset.sha256 is not None
    path = _kept(folder, handle, dataset.sha256) if pinned else None
    if path is None:
        if handle.version is None:
            handle = replace(handle, version=_current_version(handle, fetch))
        path = folder / str(handle.version) / f"{handle.dataset}.zip"
        remote = Remote(str(handle), lambda: _archive_address(handle, fetch), handle.by_hand)
        download_to(path, remote, dataset.sha256, fetch)
    if not pinned:
        location = str(handle).removeprefix("kaggle:")
        raise NotPinned(
            f"{title} is not pinned: write `location: {location}` and `sha256: {sha256_file(path)}` under dataset "
            "(the archive is downloaded already)"
        )
    folder, digest = unpack(layout, path, None, fetch, dataset.encoding)
    name = dataset.name or f"{handle.owner}_{handle.dataset}"
    below = _below(title, folder, dataset.inside)
    return read_folder(below, name, title=title, sha256=digest, layout=dataset.layout)


def _kept(folder: Path, handle: Handle, sha256: str | None) -> Path | None:
    """The archive of an earlier download with that version and digest, of which one may be None."""
    kept = sorted(folder.glob(f"{handle.version or '*'}/{handle.dataset}.zip"))
    return next((path for path in kept if sha256 in (None, sha256_file(path))), None)


def _below(title: str, folder: Path, inside: str | None) -> Path:
    """The folder `inside` an unpacked archive.

    Raises:
        DataError: it is not there, or holds no files.
    """
    wanted = unicodedata.normalize("NFC", inside or "").strip("/")
    below = folder / wanted
    if wanted and (broken_rule(wanted) or not any(path.is_file() for path in below.rglob("*"))):
        parents = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        found = sorted(parents - {"."})[:10]
        raise DataError(
            f"{title} holds no files below {inside!r} (dataset.inside); its folders: {', '.join(found) or 'none'}"
        )
    return below


def _current_version(handle: Handle, fetch: Fetch) -> int:
    """The number of a dataset's newest version.

    Raises:
        DataError: Kaggle cannot be reached, or says none.
    """

    def ask() -> int:
        with _client(handle, fetch) as client:
            from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

            request = ApiGetDatasetRequest()
            request.owner_slug, request.dataset_slug = handle.owner, handle.dataset
            return int(client.datasets.dataset_api_client.get_dataset(request).current_version_number)

    try:
        version = retry(ask, fetch.retries)
    except Broken as error:
        raise DataError(f"Kaggle cannot be asked about {handle} ({error}): check the network, run it again") from error
    if version < 1:
        raise DataError(f"Kaggle says no version of {handle}: take the number from {handle.page} into dataset.location")
    return version


def _archive_address(handle: Handle, fetch: Fetch) -> str:
    """Where the archive of a version lies: signed and expiring, so it is asked for before each attempt.

    Raises:
        DataError: Kaggle says no address.
    """
    with _client(handle, fetch) as client:
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = handle.owner, handle.dataset
        request.dataset_version_number = handle.version
        # The client follows the redirect and leaves the body unread; closing it leaves the address.
        response: requests.Response = client.datasets.dataset_api_client.download_dataset(request)
        response.close()
        if not response.history:
            raise DataError(f"Kaggle sent no address for {handle}: {handle.by_hand}")
        return response.url


@contextmanager
def _client(handle: Handle, fetch: Fetch) -> Iterator["KaggleClient"]:
    """A client of kagglehub's with a timeout, for one question about a dataset; its errors in words.

    Raises:
        Broken: Kaggle could not be reached, or is busy.
        DataError: kagglehub is missing, the credentials are unreadable, Kaggle refuses, or the answer is not its own.
    """
    try:
        from kagglehub.clients import build_kaggle_client
    except ImportError as error:
        raise DataError("source `kaggle` needs kagglehub: pip install 'podium[kaggle]'") from error
    if os.environ.get("KAGGLE_API_ENVIRONMENT", "PROD") != "PROD":  # TEST prints tokens
        raise DataError("KAGGLE_API_ENVIRONMENT is for Kaggle's developers: unset it")
    try:
        client = build_kaggle_client()
    except ValueError as error:  # a kaggle.json that is not JSON, or lacks a key
        raise DataError(f"{error}: repair it, or set {_CREDENTIALS}") from error
    with client:
        session = client.http_client()._session
        session.send = partial(session.send, timeout=fetch.timeout_seconds)  # it sets none, and would wait for ever
        try:
            yield client
        except requests.exceptions.InvalidHeader as error:  # its text quotes the token
            raise DataError(f"the credentials hold characters that no token has: set {_CREDENTIALS} anew") from error
        except requests.HTTPError as error:
            raise _refusal(handle, error.response) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Broken(root_cause(error)) from error
        except (requests.RequestException, ValueError, TypeError, KeyError) as error:
            said = f"the answer about {handle} is not one of Kaggle's ({type(error).__name__})"
            raise DataError(f"{said}: look for a proxy or a login page in between") from error


def _refusal(handle: Handle, response: requests.Response | None) -> Exception:
    """The error for a status: `Broken` where asking again may help, else a `DataError` with what to do."""
    status = response.status_code if response is not None else 0
    if status in RETRY_STATUSES:
        return Broken(f"it answered {status}")
    if status == requests.codes.not_found:
        return DataError(f"{handle} does not exist (404): compare dataset.location with its page on kaggle.com")
    if status == requests.codes.unauthorized:
        return DataError(f"Kaggle refuses the credentials (401): set {_CREDENTIALS} (see {_TOKENS}) to valid ones")
    if status == requests.codes.forbidden:
        return DataError(
            f"Kaggle does not give {handle} (403): set {_CREDENTIALS} (see {_TOKENS}), accept the dataset's terms at "
            f"{handle.page}, and compare dataset.location with that page"
        )
    return DataError(f"Kaggle refuses {handle} ({status}): {handle.by_hand}")
