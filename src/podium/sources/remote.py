"""A file on a server: its address, and how messages speak of it. No message and no record holds a secret.

Stands on `core` only.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit, urlunsplit

from podium.core.errors import DataError, one_line


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
    """

    name: str
    address: Callable[[], str]
    remedy: str = OF_DATASET.remedy
    identity: str = ""
    keys: Keys = OF_DATASET

    @classmethod
    def at(cls, url: str, keys: Keys = OF_DATASET) -> Self:
        """The file at an address that stays as it is."""
        return cls(without_secrets(url), lambda: url, keys.remedy, identity=url, keys=keys)

    @property
    def digest(self) -> str:
        """Of its identity: a query may hold a secret, and two addresses may differ in nothing else."""
        return hashlib.sha256((self.identity or self.name).encode("utf-8", "surrogatepass")).hexdigest()


def without_secrets(location: str) -> str:
    """An address without user name, password, query and fragment, all of which may hold secrets; paths as they are."""
    if "://" not in location:
        return location
    parts = address(location)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def address(location: str, key: str = OF_DATASET.location) -> SplitResult:
    """The parts of an address.

    Args:
        location: a URL.
        key: where it is written, for the message.

    Raises:
        DataError: it cannot be read as one.
    """
    try:
        return urlsplit(location)
    except ValueError as error:
        raise DataError(f"{key} is not a valid address ({one_line(error)}): correct it") from error
