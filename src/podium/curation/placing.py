"""Where an image's content goes in its square, and the shards it is written to.

Rule: in the middle; for training it may be anywhere it fits, drawn from (seed, image_id) alone. Depends on NumPy and
`podium.data`.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.curation.scratch import forget, write_at
from podium.data.preprocess import ResizedImage, paste
from podium.data.shards import images_per_shard

_AT_ONCE = 32  # images
_THREADS = 2  # copying and writing let go of the interpreter


@dataclass(frozen=True)
class Packed:
    """M images' contents as they lie in the scratch: packed at the start of their rows.

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

    def content(self, number: int) -> ResizedImage:
        """One of them."""
        height, width = int(self.height[number]), int(self.width[number])
        pixels = self.pixels[self.row[number], : height * width * 3].reshape(height, width, 3)
        return ResizedImage(pixels, self.fill[number])


def random_place(image_id: str, seed: int, room: tuple[int, int]) -> tuple[int, int]:
    """A place for one image.

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


def write_shards(folder: Path, packed: Packed, image_ids: Sequence[str], seed: int | None) -> None:
    """Places images and writes them to `images-00000.npy`, ...

    Written with plain writes and not through a memory map, so that a full disk is an error that can be told.

    Args:
        folder: the split's.
        packed: their contents, in the order of the split.
        image_ids: of these.
        seed: of random places; None puts every image in the middle.
    """
    side = packed.side
    per_shard = images_per_shard(side)
    places = _places(packed, image_ids, seed)
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
                    block = _squares(packed, places, range(first, min(first + _AT_ONCE, end)))
                    write_at(file, block, at + (first - start) * side * side * 3)

                for _ in threads.map(write, range(start, end, _AT_ONCE)):
                    forget(packed.pixels)


def _places(packed: Packed, image_ids: Sequence[str], seed: int | None) -> NDArray[np.int64]:
    """Left and top of each image, shape (M, 2)."""
    room = packed.side - np.stack([packed.width, packed.height], axis=1)
    if seed is None:
        return np.asarray(room // 2)
    drawn = [
        random_place(image_id, seed, (across, down))
        for image_id, (across, down) in zip(image_ids, room.tolist(), strict=True)
    ]
    return np.array(drawn, dtype=np.int64).reshape(-1, 2)


def _squares(packed: Packed, places: NDArray[np.int64], numbers: range) -> NDArray[np.uint8]:
    """Some images, placed: uint8, shape (B, side, side, 3)."""
    block = np.empty((len(numbers), packed.side, packed.side, 3), np.uint8)
    for square, number in zip(block, numbers, strict=True):
        paste(packed.content(number), square, *places[number].tolist())
    return block
