"""Files with a place per row of the raw manifest, filled by several processes and gone at the end of the stage.

A row's content lies packed at the start of its place (h x w x 3 bytes, top left first), because where it goes in its
square is known only once the splits are. Written with plain writes and not through a memory map: a full disk is then
an error and not a signal that kills the process. Depends on NumPy.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podium.curation.measures import NAMES
from podium.curation.signatures import SIGNATURE_BYTES


@dataclass(frozen=True)
class Scratch:
    """Where the three files are and how long. Rows of images that were left out hold anything."""

    folder: Path
    count: int
    image_size: int

    @property
    def pixels_file(self) -> Path:
        """Content of each row, uint8 RGB, packed at the start of its place."""
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


class ScratchWriter:
    """The files, open for one process to write places of its own."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch

    def __enter__(self) -> Self:
        files = (self._scratch.pixels_file, self._scratch.signatures_file, self._scratch.measures_file)
        self._streams = [path.open("r+b", buffering=0) for path in files]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in self._streams:
            stream.close()

    def pixels(self, row: int, content: NDArray[np.uint8]) -> None:
        """Stores a row's content, uint8, shape (h, w, 3), contiguous."""
        write_at(self._streams[0].fileno(), content, row * self._scratch.image_size**2 * 3)

    def signature(self, row: int, signature: NDArray[np.uint8]) -> None:
        """Stores a row's signature, uint8, shape (SIGNATURE_BYTES,)."""
        write_at(self._streams[1].fileno(), signature, row * SIGNATURE_BYTES)

    def measures(self, row: int, measures: NDArray[np.float32]) -> None:
        """Stores a row's measures, float32, shape (len(NAMES),)."""
        write_at(self._streams[2].fileno(), measures, row * len(NAMES) * 4)


def forget(array: NDArray[Any]) -> None:
    """Lets go of the pages of a memory map that were read; they come from the file again when they are needed.

    Without it what was read counts as memory of the process until the system needs it elsewhere.

    Args:
        array: a memory map as the methods of `Scratch` return it; any other array is left alone.
    """
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def write_at(file: int, array: NDArray[np.uint8] | NDArray[np.float32], offset: int) -> None:
    """Writes all bytes of an array at an offset of an open file, however many the system takes at a time."""
    rest = array.data.cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
