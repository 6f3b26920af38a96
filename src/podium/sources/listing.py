"""What a source offers: a list of images, the files left out with the reason, and the bytes of an image on request.

Every source module has one `open_...` function that yields a `Source`. It stands on `core` only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from podium.core.records import SkippedFile


@dataclass(frozen=True)
class SourceImage:
    """One image as the source describes it.

    Attributes:
        path: path inside the source, forward slashes, Unicode NFC; unique.
        label: its class.
        group: its coarse class; empty where the source knows none.
        split: train, val or test as the source gave it; empty where it gave none.
        extras: further manifest columns by name; every image of a source has the same ones.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    extras: Mapping[str, str | float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """Everything a source holds, without any image's bytes.

    Attributes:
        name: short name of the source; part of every image's primary key.
        sha256: digest of the archive; None where the source is not one file.
        images: sorted by path.
        skipped: files that are not images to use, sorted by path.
    """

    name: str
    sha256: str | None
    images: tuple[SourceImage, ...]
    skipped: tuple[SkippedFile, ...]


class Source(Protocol):
    """An opened source."""

    @property
    def listing(self) -> Listing:
        """What it holds."""

    def read(self, path: str) -> bytes:
        """The bytes of one image.

        Args:
            path: of an image of `listing`.

        Raises:
            DataError: the bytes cannot be read.
        """
