"""What a source offers: a list of images, the files left out with the reason, and the bytes of an image on request.

Every kind of source has one `open_...` function that returns a `Source`. `datasets.SOURCES` lists them, but for
snapshot and merge, which are made of others. Boxes in pixels and boxes drawn on the stored picture are fractions of the
upright photograph once its header is read; pixels are not decoded.
"""

import math
import struct
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from PIL import Image

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.data.file_kinds import HEIF_EXTRA, is_heif, register_heif
from podium.records.fetch import SkippedFile
from podium.sources.download import download_many

_ORIENTATION: Final = 0x0112  # EXIF tag
_BRAND_ENDS: Final = 12  # bytes of a file that tell HEIC
_ON_ITS_SIDE: Final = (5, 6, 7, 8)
# What Pillow was seen to raise on damaged headers; preprocess decodes the same file and says what is wrong.
_HEADER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


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


class PixelBox(Box):
    """A box in pixels of its upright photograph, until the size of that is known."""


class Unusable(ValueError):
    """Why an image cannot be used: its box is no part of the photograph, its row says no label, ..."""


def check_box(box: Box, width: float, height: float) -> Box:
    """A box as fractions, of one in units of the upright photograph's `width` and `height`.

    Raises:
        Unusable: it is inverted, empty, not finite, or reaches out of the photograph; the message says so.
    """
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    shown = f"box {left:g}, {top:g}, {right:g}, {bottom:g}"
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise Unusable(f"{shown} is not four finite numbers")
    if left >= right or top >= bottom:
        raise Unusable(f"{shown} is inverted or empty: it needs left < right and top < bottom")
    if left < 0 or top < 0 or right > width or bottom > height:
        raise Unusable(f"{shown} reaches out of the photograph ({width:g} x {height:g})")
    return Box(left / width, top / height, right / width, bottom / height)


@dataclass(frozen=True)
class SourceImage:
    """One image as the source describes it.

    Attributes:
        path: path inside the source, forward slashes, Unicode NFC; unique together with `box`.
        label: its class.
        group: its coarse class; empty where the source knows none.
        split: train, val or test as the source gave it; empty where it gave none.
        keep_together: what it must not be separated from, a patient or a video; empty for nothing.
        source_label: what the source calls the class, where a label map changed it; empty where it is `label`.
        licence: of the photograph; empty where it is the dataset's.
        box: the part of the photograph that is the image; a photograph with several boxes is listed once for each.
        extras: further manifest columns by name; every image of a source has the same ones.
    """

    path: str
    label: str
    group: str = ""
    split: str = ""
    keep_together: str = ""
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
        notes: how it was understood, where that is not plain, as sentences for people.
    """

    name: str
    sha256: str | None
    images: tuple[SourceImage, ...]
    skipped: tuple[SkippedFile, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usable:
    """Images that can be used, what was left out meanwhile, with the reason, and what people should be told."""

    images: tuple[SourceImage, ...]
    skipped: tuple[SkippedFile, ...] = ()
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """An opened source."""

    @property
    def listing(self) -> Listing:
        """What it holds."""

    def prepare(self, images: Sequence[SourceImage]) -> Usable:
        """Called once with the images that were chosen, before the first of them is read: downloads, a look at sizes.

        Args:
            images: some of `listing`, perhaps under other labels.

        Returns:
            The images that can be read, boxes in fractions, and a reason for each of the others.

        Raises:
            DataError: the network is down, or the disk is full; what came so far is kept.
        """

    def read(self, path: str) -> bytes:
        """The bytes of one image.

        Args:
            path: of an image of `listing`.

        Raises:
            DataError: the bytes cannot be read.
        """


class FileSource:
    """Images that are files on this machine, by their paths inside the source."""

    def __init__(self, listing: Listing, files: Mapping[str, Path]) -> None:
        self.listing = listing
        self.files = files

    def prepare(self, images: Sequence[SourceImage]) -> Usable:
        """All of them: files are there."""
        return Usable(tuple(images))

    def read(self, path: str) -> bytes:
        """The bytes of one image.

        Raises:
            DataError: it is no longer there.
        """
        try:
            return self.files[path].read_bytes()
        except FileNotFoundError as error:
            raise DataError(
                f"{self.files[path]} vanished while it was being read: run the stage again when nothing changes it"
            ) from error


class DownloadedSource(FileSource):
    """Photographs that come once they are chosen: `addresses` by path of those that are not here from the start.

    They go to `files` too, which are below `folder` then.
    """

    def __init__(
        self, listing: Listing, files: Mapping[str, Path], addresses: Mapping[str, str], folder: Path, fetch: Fetch
    ) -> None:
        super().__init__(listing, files)
        self._addresses = addresses
        self._folder = folder
        self._fetch = fetch

    def download(self, images: Sequence[SourceImage]) -> tuple[list[SourceImage], list[SkippedFile]]:
        """Brings the photographs of some images here; returns the images that are, and photographs that cannot be had.

        Raises:
            DataError: the network is down, or the disk is full; what came so far is kept.
        """
        wanted = sorted({image.path for image in images} & self._addresses.keys())
        names = {self.files[path].relative_to(self._folder).as_posix(): path for path in wanted}
        addresses = ((name, self._addresses[path]) for name, path in names.items())
        refused = download_many(addresses, self._folder, self._fetch) if wanted else {}
        gone = {names[name]: reason for name, reason in refused.items()}
        skipped = [SkippedFile(path=path, reason=reason, image=True) for path, reason in gone.items()]
        return [image for image in images if image.path not in gone], skipped


@dataclass(frozen=True)
class Origin:
    """Where a source came from, as it goes into `sources.json`.

    Attributes:
        name: of the source; what the manifest calls it.
        kind: one of the kinds of `dataset.source`.
        location: without secrets, relative to the project's root.
        sha256: digest of the file it is; None where it is not one file.
        licence: of images that state none of their own.
        snapshot: digest of the snapshot it was read back from; None for the source itself.
    """

    name: str
    kind: str
    location: str
    sha256: str | None
    licence: str
    snapshot: str | None = None


@dataclass(frozen=True)
class Part:
    """An opened source, the images chosen from it under our labels, and the files left out.

    `corrected` holds the keys of images whose label a person corrected.
    """

    origin: Origin
    source: Source
    images: tuple[SourceImage, ...]
    skipped: tuple[SkippedFile, ...]
    corrected: frozenset[tuple[str, str]] = frozenset()

    @property
    def labels(self) -> set[str]:
        """The classes of its images."""
        return {image.label for image in self.images}


def in_order(skipped: Iterable[SkippedFile]) -> tuple[SkippedFile, ...]:
    """Files left out by path, then by reason."""
    return tuple(sorted(skipped, key=lambda file: (file.path, file.reason)))


def read_upright_size(file: Path) -> tuple[int, int]:
    """Width and height of a photograph in pixels, after EXIF orientation.

    Raises:
        Unusable: there is no telling, or it is HEIC and the extra is missing.
    """
    with file.open("rb") as stream:
        if is_heif(stream.read(_BRAND_ENDS)) and not register_heif():
            raise Unusable(HEIF_EXTRA)
    header = _header(file)
    if header is None:
        raise Unusable("its size cannot be read, and its box is in pixels: is it a photograph?")
    return header[0]


def read_orientation(file: Path) -> int:
    """A photograph's EXIF orientation, 1 to 8; 1 (upright) where it says none or cannot be read."""
    return header[1] if (header := _header(file)) else 1


def turn_box(box: Box, orientation: int) -> Box:
    """A box on the stored picture as a box on the upright one.

    Args:
        box: fractions of the stored picture's width and height.
        orientation: 1 to 8, as in TIFF 6.0 and EXIF 2.32, section 4.6.4: where the stored first row and column lie.

    Returns:
        Fractions of the upright photograph, rounded to 10 digits where a side was counted from the other end.
    """
    if box == WHOLE or orientation not in range(2, 9):
        return box
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    if orientation in _ON_ITS_SIDE:  # 5 mirrors about the main diagonal; 6, 7 and 8 are 5 and then 2, 3 or 4
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 6, 7):
        left, right = round(1 - right, 10), round(1 - left, 10)
    if orientation in (3, 4, 7, 8):
        top, bottom = round(1 - bottom, 10), round(1 - top, 10)
    return Box(left, top, right, bottom)


def _header(file: Path) -> tuple[tuple[int, int], int] | None:
    """Upright size and orientation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decompression bomb is preprocess's to refuse
            with Image.open(file) as image:
                said = image.getexif().get(_ORIENTATION, 1)
                # Pillow turns the size of a TIFF when it opens it, that of other formats when pixels are turned.
                on_its_side = said in _ON_ITS_SIDE and image.format != "TIFF"
                return (image.height, image.width) if on_its_side else image.size, said
    except _HEADER_ERRORS:
        return None
