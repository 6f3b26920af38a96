"""What a source offers: a list of images, the files left out with the reason, and the bytes of an image on request.

Every source module has one `open_...` function that yields a `Source`. It stands on `core` only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from podium.records.fetch import SkippedFile


@dataclass(frozen=True)
class Box:
    """A part of a photograph as fractions of its upright width and height; 0 <= left < right <= 1 and so on."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    @property
    def text(self) -> str:
        """How it enters an image's primary key; empty for the whole."""
        return "" if self == WHOLE else f"{self.left!r},{self.top!r},{self.right!r},{self.bottom!r}"


WHOLE = Box()


@dataclass(frozen=True)
class SourceImage:
    """One image as the source describes it.

    Attributes:
        path: path inside the source, forward slashes, Unicode NFC; unique together with `box`.
        label: its class.
        group: its coarse class; empty where the source knows none.
        split: train, val or test as the source gave it; empty where it gave none.
        source_label: what the source calls the class, where a label map changed it; empty where it is `label`.
        licence: of the photograph; empty where it is the dataset's.
        box: the part of the photograph that is the image; a photograph with several boxes is listed once for each.
        extras: further manifest columns by name; every image of a source has the same ones.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    source_label: str = ""
    licence: str = ""
    box: Box = WHOLE
    extras: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other image of its source."""
        return self.path, self.box.text


@dataclass(frozen=True)
class Listing:
    """Everything a source holds, without any image's bytes.

    Attributes:
        name: short name of the source; part of every image's primary key.
        sha256: digest of the archive; None where the source is not one file.
        images: sorted by path.
        skipped: files that are not images to use, sorted by path; `image` says whether one ought to have been an image.
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


@dataclass(frozen=True)
class Prepared:
    """Images that can be read now, in the order they were given, and what turned out unusable."""

    images: tuple[SourceImage, ...]
    skipped: tuple[SkippedFile, ...]


@runtime_checkable
class Preparing(Protocol):
    """A source that has something to do before images are read: downloads, a look at their sizes."""

    def prepare(self, images: Sequence[SourceImage]) -> Prepared:
        """Called once with the images that were chosen, before the first of them is read.

        Args:
            images: some of `listing`, perhaps under other labels.

        Returns:
            The images that can be read, boxes in fractions, and a reason for each of the others.

        Raises:
            DataError: the network is down, or the disk is full; what came so far is kept.
        """
