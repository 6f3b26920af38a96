"""Arrays on disk with a row an image of the raw manifest, filled by several processes, and the shards made of them.

A row's pixels lie packed at its start (h x w x 3 bytes, top left first), because where they go in their square is known
only once the splits are: in the middle; for training it may be anywhere they fit, drawn from (seed, image_id) alone.
Everything is written with plain writes and not through a memory map: a full disk is then an error and not a signal that
kills the process.
"""

import hashlib
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podium.curation.measures import NAMES
from podium.curation.near_duplicates.signature import SIGNATURE_BYTES
from podium.data.preprocess import ResizedImage, paste
from podium.data.shards import images_per_shard

_AT_ONCE = 32  # images
_THREADS = 2  # copying and writing let go of the interpreter


@dataclass(frozen=True)
class TemporaryArrays:
    """The three arrays: where their files are and how long. Rows of images that were left out hold anything."""

    folder: Path
    count: int
    image_size: int

    @property
    def pixels_file(self) -> Path:
        """Pixels of each row, uint8 RGB, packed at the start of its place."""
        return self.folder / "pixels.bin"

    @property
    def signatures_file(self) -> Path:
        """Signature of each row, for near duplicates."""
        return self.folder / "signatures.bin"

    @property
    def measures_file(self) -> Path:
        """Measures of each row."""
        return self.folder / "measures.bin"

    def pixels(self) -> NDArray[np.uint8]:
        """Memory map of shape (N, S * S * 3)."""
        return np.memmap(self.pixels_file, np.uint8, "r", shape=(self.count, self.image_size**2 * 3))

    def signatures(self) -> NDArray[np.uint8]:
        """Memory map of shape (N, SIGNATURE_BYTES)."""
        return np.memmap(self.signatures_file, np.uint8, "r", shape=(self.count, SIGNATURE_BYTES))

    def measures(self) -> NDArray[np.float32]:
        """Memory map of shape (N, len(NAMES))."""
        return np.memmap(self.measures_file, np.float32, "r", shape=(self.count, len(NAMES)))

    def allocate(self) -> None:
        """Makes the files at their full length, without content."""
        for path, size in (
            (self.pixels_file, self.image_size**2 * 3),
            (self.signatures_file, SIGNATURE_BYTES),
            (self.measures_file, len(NAMES) * 4),
        ):
            with path.open("wb") as stream:
                stream.truncate(self.count * size)


class TemporaryArraysWriter:
    """The files, open for one process to write places of its own."""

    def __init__(self, arrays: TemporaryArrays) -> None:
        self._arrays = arrays

    def __enter__(self) -> Self:
        files = (self._arrays.pixels_file, self._arrays.signatures_file, self._arrays.measures_file)
        self._streams = [path.open("r+b", buffering=0) for path in files]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in self._streams:
            stream.close()

    def pixels(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """Stores a row's pixels, uint8, shape (h, w, 3), contiguous."""
        _write_at(self._streams[0].fileno(), pixels, row * self._arrays.image_size**2 * 3)

    def signature(self, row: int, signature: NDArray[np.uint8]) -> None:
        """Stores a row's signature, uint8, shape (SIGNATURE_BYTES,)."""
        _write_at(self._streams[1].fileno(), signature, row * SIGNATURE_BYTES)

    def measures(self, row: int, measures: NDArray[np.float32]) -> None:
        """Stores a row's measures, float32, shape (len(NAMES),)."""
        _write_at(self._streams[2].fileno(), measures, row * len(NAMES) * 4)


def release_pages(array: NDArray[Any]) -> None:
    """Lets go of the pages of a memory map that were read; they come from the file again when they are needed.

    Without it what was read counts as memory of the process until the system needs it elsewhere.

    Args:
        array: a memory map as the methods of `TemporaryArrays` return it; any other array is left alone.
    """
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def _write_at(file: int, array: NDArray[np.uint8] | NDArray[np.float32], offset: int) -> None:
    """Writes all bytes of an array at an offset of an open file, however many the system takes at a time."""
    rest = array.data.cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


@dataclass(frozen=True)
class PackedImages:
    """M resized images as they lie in the temporary arrays: packed at the start of their rows.

    Attributes:
        pixels: uint8, shape (N, side * side * 3); a memory map will do.
        side: pixels of the square that each goes into.
        row: where each is in `pixels`, shape (M,).
        height: of each, shape (M,).
        width: likewise.
        fill: uint8, shape (M, 3): the colour around each.
    """

    pixels: NDArray[np.uint8]
    side: int
    row: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    fill: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.row)

    def image(self, number: int) -> ResizedImage:
        """One of them."""
        height, width = int(self.height[number]), int(self.width[number])
        pixels = self.pixels[self.row[number], : height * width * 3].reshape(height, width, 3)
        return ResizedImage(pixels, self.fill[number])


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


def write_shards(folder: Path, packed: PackedImages, image_ids: Sequence[str], seed: int | None) -> None:
    """Pastes images into their squares and writes them to `images-00000.npy`, ...

    Args:
        folder: the split's.
        packed: their pixels, in the order of the split.
        image_ids: of these.
        seed: of random positions; None puts every image in the middle.
    """
    side = packed.side
    per_shard = images_per_shard(side)
    positions = _positions(packed, image_ids, seed)
    with ThreadPoolExecutor(_THREADS) as threads:
        for number, start in enumerate(range(0, len(packed), per_shard)):
            end = min(start + per_shard, len(packed))
            header = {"descr": "|u1", "fortran_order": False, "shape": (end - start, side, side, 3)}
            with (folder / f"images-{number:05d}.npy").open("w+b", buffering=0) as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                at = stream.tell()

                def write(
                    first: int, end: int = end, start: int = start, at: int = at, file: int = stream.fileno()
                ) -> None:
                    """Writes up to `_AT_ONCE` squares, from number `first` on, to their place in the shard."""
                    block = _pad_block(packed, positions, range(first, min(first + _AT_ONCE, end)))
                    _write_at(file, block, at + (first - start) * side * side * 3)

                for _ in threads.map(write, range(start, end, _AT_ONCE)):
                    release_pages(packed.pixels)


def _positions(packed: PackedImages, image_ids: Sequence[str], seed: int | None) -> NDArray[np.int64]:
    """Left and top of each image, shape (M, 2)."""
    room = packed.side - np.stack([packed.width, packed.height], axis=1)
    if seed is None:
        return np.asarray(room // 2)
    drawn = [
        random_position(image_id, seed, (across, down))
        for image_id, (across, down) in zip(image_ids, room.tolist(), strict=True)
    ]
    return np.array(drawn, dtype=np.int64).reshape(-1, 2)


def _pad_block(packed: PackedImages, positions: NDArray[np.int64], numbers: range) -> NDArray[np.uint8]:
    """Some images, placed: uint8, shape (B, side, side, 3)."""
    block = np.empty((len(numbers), packed.side, packed.side, 3), np.uint8)
    for square, number in zip(block, numbers, strict=True):
        paste(packed.image(number), square, *positions[number].tolist())
    return block
