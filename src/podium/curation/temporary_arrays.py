"""Arrays on disk with a row an image, filled by several processes, and the shards made of them.

A row's pixels lie packed at its start (h x w x 3 bytes, top left first), because where they go in their square is known
only once the splits are: in the middle; for training it may be anywhere they fit, drawn from (seed, image_id) alone.
Everything is written with plain writes and not through a memory map: a full disk is then an error and not a signal that
kills the process.
"""

import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from podium.curation.measures import NAMES
from podium.curation.near_duplicates.signature import SIGNATURE_BYTES
from podium.data.preprocess import ResizedImage, paste
from podium.data.shards import images_per_shard
from podium.records.profile import CHANNELS, LEVEL_BINS

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 32  # images
_THREADS = 2  # copying and writing let go of the interpreter

Number = TypeVar("Number", np.uint8, np.uint32, np.float32)


@dataclass(frozen=True)
class ArrayFile(Generic[Number]):
    """A two-dimensional array in a file. Several processes may write rows of their own."""

    path: Path
    dtype: type[Number]
    shape: tuple[int, int]

    @property
    def row_bytes(self) -> int:
        """Of the file."""
        return self.shape[1] * np.dtype(self.dtype).itemsize

    def allocate(self) -> None:
        """Makes the file at its full length, without content; of one that is there, rows within that length stay."""
        with self.path.open("ab") as stream:
            stream.truncate(self.shape[0] * self.row_bytes)

    def read(self) -> NDArray[Number]:
        """A memory map of it."""
        return np.memmap(self.path, self.dtype, "r", shape=self.shape)

    def write(self, row: int, values: NDArray[Number]) -> None:
        """Stores contiguous values of any shape at the start of a row."""
        file = os.open(self.path, os.O_WRONLY)
        try:
            _write_at(file, values, row * self.shape[1] * values.itemsize)
        finally:
            os.close(file)


class ImageArrays(NamedTuple):
    """What is made of one image: its row, uint8 pixels (h, w, 3), and, where asked for, signature and measures."""

    row: int
    pixels: NDArray[np.uint8]
    signature: NDArray[np.uint8] | None = None
    measures: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class TemporaryArrays:
    """The three arrays of `count` rows, below `folder`. Rows of images that were left out hold anything."""

    folder: Path
    count: int
    image_size: int

    @cached_property
    def pixels(self) -> ArrayFile[np.uint8]:
        """RGB pixels of each image, packed at the start of its row."""
        return ArrayFile(self.folder / "pixels.bin", np.uint8, (self.count, self.image_size**2 * 3))

    @cached_property
    def signatures(self) -> ArrayFile[np.uint8]:
        """Signature of each image, for near duplicates."""
        return ArrayFile(self.folder / "signatures.bin", np.uint8, (self.count, SIGNATURE_BYTES))

    @cached_property
    def measures(self) -> ArrayFile[np.float32]:
        """Measures of each image, in the order of `NAMES`."""
        return ArrayFile(self.folder / "measures.bin", np.float32, (self.count, len(NAMES)))

    @property
    def _files(self) -> tuple[ArrayFile[Any], ...]:
        return self.pixels, self.signatures, self.measures

    @property
    def row_bytes(self) -> int:
        """The most that one image takes on the disk; small pixels leave gaps, which take none."""
        return sum(file.row_bytes for file in self._files)

    @classmethod
    def found(cls, folder: Path, image_size: int) -> Self:
        """As many rows as the files in a folder hold; none where one is missing."""
        empty = cls(folder, 0, image_size)
        whole = all(file.path.is_file() for file in empty._files)
        rows = [file.path.stat().st_size // file.row_bytes for file in empty._files] if whole else [0]
        return cls(folder, min(rows), image_size)

    def allocate(self) -> None:
        """Makes the files; of those that are there, rows below `count` stay."""
        for file in self._files:
            file.allocate()

    def write(self, made: ImageArrays) -> None:
        """Stores what was made of one image."""
        self.pixels.write(made.row, made.pixels)
        if made.signature is not None and made.measures is not None:
            self.signatures.write(made.row, made.signature)
            self.measures.write(made.row, made.measures)


def release_pages(array: NDArray[Any]) -> None:
    """Lets go of the pages of a memory map that were read; they come from the file again when they are needed.

    Without it what was read counts as memory of the process until the system needs it elsewhere.

    Args:
        array: a memory map as `ArrayFile.read` returns it; any other array is left alone.
    """
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def _write_at(file: int, array: NDArray[Any], offset: int) -> None:
    """Writes all bytes of an array at an offset of an open file, however many the system takes at a time."""
    rest = array.data.cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def random_position(image_id: str, seed: int, room: tuple[int, int]) -> tuple[int, int]:
    """Where one image goes in its square.

    Args:
        image_id: of the image.
        seed: of the experiment.
        room: pixels left over across and down, at least 0.

    Returns:
        Left and top, each even over 0..room; the same for the same arguments.
    """
    digest = hashlib.sha256(f"{seed}/place/{image_id}".encode()).digest()
    across, down = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")
    return across * (room[0] + 1) >> 64, down * (room[1] + 1) >> 64


@dataclass(frozen=True)
class WrittenSplit:
    """What was seen of the pixels of a split as they were written.

    Attributes:
        sha256: of each square, in the order of the split.
        levels: by label, the sum over its images of the shares of pixels by level, float64, shape (3, LEVEL_BINS).
    """

    sha256: list[str]
    levels: dict[str, NDArray[np.float64]]


def write_shards(folder: Path, images: "pd.DataFrame", arrays: TemporaryArrays, seed: int | None) -> WrittenSplit:
    """Pastes images into their squares and writes them to `images-00000.npy`, ...

    Args:
        folder: the split's.
        images: columns `image_id label row content_width content_height fill`, in the order of the split.
        arrays: their pixels.
        seed: of random positions; None puts every image in the middle.
    """
    per_shard = images_per_shard(arrays.image_size)
    written = WrittenSplit([], {label: np.zeros((len(CHANNELS), LEVEL_BINS)) for label in images["label"].unique()})
    with ThreadPoolExecutor(_THREADS) as threads:
        for number, start in enumerate(range(0, len(images), per_shard)):
            some = images.iloc[start : start + per_shard]
            done = _write_shard(folder / f"images-{number:05d}.npy", some, arrays, seed, threads)
            for label, (digest, levels) in zip(some["label"], done, strict=True):
                written.sha256.append(digest)
                written.levels[label] += levels
    return written


def _write_shard(
    file: Path, images: "pd.DataFrame", arrays: TemporaryArrays, seed: int | None, threads: ThreadPoolExecutor
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Writes one shard, a few squares at a time; gives the digest and the levels of each."""
    pixels, side = arrays.pixels.read(), arrays.image_size
    columns = images[["image_id", "row", "content_width", "content_height", "fill"]]
    rows = list(columns.itertuples(index=False, name=None))
    with file.open("wb", buffering=0) as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), side, side, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        begin = stream.tell()

        def write(first: int) -> list[tuple[str, NDArray[np.float64]]]:
            """Pastes and writes up to `_AT_ONCE` images, from number `first` on."""
            some = rows[first : first + _AT_ONCE]
            block, levels = np.empty((len(some), side, side, 3), np.uint8), []
            for square, (image_id, row, width, height, fill) in zip(block, some, strict=True):
                content = pixels[row, : height * width * 3].reshape(height, width, 3)
                room = (side - width, side - height)
                left, top = (room[0] // 2, room[1] // 2) if seed is None else random_position(image_id, seed, room)
                paste(ResizedImage(content, np.array(fill, np.uint8)), square, left, top)
                levels.append(count_levels(content))
            _write_at(stream.fileno(), block, begin + first * side * side * 3)
            return [(hashlib.sha256(square.data).hexdigest(), of) for square, of in zip(block, levels, strict=True)]

        for done in threads.map(write, range(0, len(rows), _AT_ONCE)):
            yield from done
            release_pages(pixels)


def count_levels(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shares of the pixels in bins of equal width of the levels 0..255, by channel: shape (3, LEVEL_BINS)."""
    counts = [cv2.calcHist([pixels], [channel], None, [LEVEL_BINS], [0, 256]).ravel() for channel in range(3)]
    return np.asarray(np.stack(counts) / (pixels.shape[0] * pixels.shape[1]), np.float64)
