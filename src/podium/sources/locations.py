"""What `dataset.location` may be: a path that DVC watches, or an address whose bytes are pinned by their digest.

How messages and records speak of either; none of them holds a secret.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from podium.core.errors import DataError, ParamsError, one_line
from podium.core.files import sha256_file
from podium.core.layout import Layout

WEB: Final = ("http", "https")
_SIGNED_IN: Final = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True)
class Keys:
    """The keys of `params.yaml` that messages tell a person to correct."""

    location: str = "dataset.location"
    sha256: str = "dataset.sha256"

    @property
    def remedy(self) -> str:
        """What to do when an address is refused."""
        return f"correct {self.location}, or download the file yourself and give its path"


OF_DATASET: Final = Keys()


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        name: what messages call it; never holds a secret.
        address: gives its http or https address; asked before every attempt, since a signed address expires. It may
            raise `Broken`.
        remedy: what to do when the server refuses.
        identity: what tells it from other files; only a digest of it is written beside a part. Empty: its name.
        keys: where its address and digest are written.
        web: whether it is asked for over http(s); another protocol is fsspec's.
    """

    name: str
    address: Callable[[], str]
    remedy: str = OF_DATASET.remedy
    identity: str = ""
    keys: Keys = OF_DATASET
    web: bool = True

    @classmethod
    def at(cls, url: str, keys: Keys = OF_DATASET) -> Self:
        """The file at an address that stays as it is."""
        web = not is_address(url) or address(url).scheme in WEB
        return cls(without_secrets(url), lambda: url, keys.remedy, identity=url, keys=keys, web=web)

    @property
    def digest(self) -> str:
        """Of its identity: a query may hold a secret, and two addresses may differ in nothing else."""
        return hashlib.sha256((self.identity or self.name).encode("utf-8", "surrogatepass")).hexdigest()


def without_secrets(location: str) -> str:
    """An address without user name, password, query and fragment, all of which may hold secrets; paths as they are."""
    return re.split(r"[?#]", _SIGNED_IN.sub("", location), maxsplit=1)[0] if is_address(location) else location


def address(location: str, key: str = OF_DATASET.location) -> SplitResult:
    """The parts of a URL; `key` is where it is written, for the message.

    Raises:
        DataError: it cannot be read as one.
    """
    try:
        return urlsplit(location)
    except ValueError as error:
        raise DataError(f"{key} is not a valid address ({one_line(error)}): correct it") from error


def is_address(location: str) -> bool:
    """Whether a location is a URL and not a path."""
    return "://" in location


def is_web(location: str) -> bool:
    """Whether a location is an http or https address."""
    return location.casefold().startswith(("http://", "https://"))


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


def require_pin(shown: str, sha256: str | None, key: str = OF_DATASET.sha256) -> str:
    """The digest of a file at an address.

    Raises:
        ParamsError: there is none.
    """
    if sha256 is None:
        raise ParamsError(f"{key} is missing: a file from an address ({shown}) must be pinned by its digest")
    return sha256


def check_digest(path: Path, sha256: str | None, key: str = OF_DATASET.location) -> str:
    """The sha256 of the file a dataset is, which must be `sha256` unless that is None; `key` is where it is written.

    Raises:
        DataError: the file is missing or a folder, or its digest is another one.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist: put it there (`dvc pull data.dvc` brings what belongs into data/), "
            f"or correct {key}"
        )
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file: set dataset.source to `folder`, or correct its location")
    digest = sha256_file(path)
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"{path.name} has sha256 {digest}, but dataset.sha256 asks for {sha256}: "
            "get the right file, or correct the key if you trust this one"
        )
    return digest


def downloads_folder(layout: Layout) -> Path:
    """Where downloads are kept; the copies that `dvc exp run --temp` works in share one folder."""
    return Layout(layout.main_root).downloads


def unpacked_folder(layout: Layout) -> Path:
    """Where unpacked archives are kept; shared like downloads."""
    return Layout(layout.main_root).unpacked


def record_location(layout: Layout, location: str) -> str:
    """A location as it goes into a hashed file: nothing in it depends on where the project lies."""
    if is_address(location):
        return without_secrets(location)
    path = local_path(layout, location)
    return path.relative_to(layout.root).as_posix() if path.is_relative_to(layout.root) else path.name


def leads_out(root: Path, target: Path) -> bool:
    """Whether a file lies neither below a folder nor in a cache of DVC, into which `cache.type symlink` links.

    Args:
        root: absolute, links resolved.
        target: the same.
    """
    kept = re.fullmatch(r".*/files/md5/[0-9a-f]{2}/[0-9a-f]{30}", target.as_posix())
    return not (kept or target.is_relative_to(root))


def _is_watched(layout: Layout, path: Path) -> bool:
    """Whether DVC sees a change of it: DVC follows links to files, but not links to folders."""
    real = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    return real.is_relative_to(layout.data.resolve())
