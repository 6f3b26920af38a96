"""Decodes raw images in processes, at most a few of them in memory at a time; the same bytes for any number.

A row's pixels and thumbnail go to its place in two files, so nothing large travels between processes. Depends on
Pillow, imagehash, NumPy and `podium.data`; it is imported by every process, so it imports nothing heavy.
"""

import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.core.errors import DataError
from podium.core.records.preprocess import Preprocessing
from podium.curation import duplicates
from podium.curation.alignment import SIDE
from podium.data.images import decode, fit, pixels_sha256
from podium.data.raw import RawImages

_BATCH = 64
_WORTH_PROCESSES = 2 * _BATCH  # fewer images are read sooner than processes start


@dataclass(frozen=True)
class RawImage:
    """Where one image's bytes are, and its row in the files that decoding fills."""

    row: int
    shard: str
    photo_id: str


@dataclass(frozen=True)
class Reading:
    """What came of one image. `reason` is empty for an image that could be read; the rest is empty for others."""

    row: int
    reason: str
    sha256: str = ""
    phash: int = 0
    width: int = 0
    height: int = 0
    note: str = ""


@dataclass(frozen=True)
class Scratch:
    """Two files with a place per row: pixels uint8 (S, S, 3) and thumbnails uint8 (24, 24, 3)."""

    folder: Path
    count: int
    image_size: int

    @property
    def pixels_file(self) -> Path:
        return self.folder / "pixels.bin"

    @property
    def thumbnails_file(self) -> Path:
        return self.folder / "thumbnails.bin"

    def pixels(self) -> NDArray[np.uint8]:
        """Memory map of shape (N, S, S, 3); rows of rejected images hold anything."""
        return np.memmap(self.pixels_file, np.uint8, "r", shape=(self.count, self.image_size, self.image_size, 3))

    def thumbnails(self) -> NDArray[np.uint8]:
        """Memory map of shape (N, 24, 24, 3)."""
        return np.memmap(self.thumbnails_file, np.uint8, "r", shape=(self.count, SIDE, SIDE, 3))

    def allocate(self) -> None:
        """Makes both files at their full length, without content."""
        for path, side in ((self.pixels_file, self.image_size), (self.thumbnails_file, SIDE)):
            with path.open("wb") as stream:
                stream.truncate(self.count * side * side * 3)


class Decoder:
    """Reads batches of raw images in one process."""

    def __init__(self, raw: Path, scratch: Scratch, preprocessing: Preprocessing) -> None:
        self._images = RawImages(raw)
        self._scratch = scratch
        self._preprocessing = preprocessing

    def __call__(self, batch: Sequence[RawImage]) -> list[Reading]:
        """Decodes a batch and stores its pixels.

        Args:
            batch: images to read.

        Returns:
            One reading an image, in the same order.

        Raises:
            DataError: a raw shard lacks an image.
        """
        # plain writes, not a memory map: a full disk is then an error and not a signal that kills the process
        with (
            self._scratch.pixels_file.open("r+b", buffering=0) as pixels,
            self._scratch.thumbnails_file.open("r+b", buffering=0) as thumbnails,
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", module="PIL")  # what matters is in the reading
            return [self._read(image, pixels.fileno(), thumbnails.fileno()) for image in batch]

    def _read(self, image: RawImage, pixels: int, thumbnails: int) -> Reading:
        data = self._images.read(image.shard, image.photo_id)
        try:
            decoded = decode(data, self._preprocessing.max_pixels)
        except DataError as error:
            return Reading(image.row, str(error))
        original = decoded.image
        for file, array in (
            (pixels, fit(original, self._preprocessing)),
            (thumbnails, duplicates.thumbnail(original)),
        ):
            os.pwrite(file, array.tobytes(), image.row * array.nbytes)
        return Reading(
            row=image.row,
            reason="",
            sha256=pixels_sha256(original),
            phash=duplicates.perceptual_hash(original),
            width=original.width,
            height=original.height,
            note=decoded.note,
        )


def decode_all(
    raw: Path, images: Sequence[RawImage], scratch: Scratch, preprocessing: Preprocessing, workers: int
) -> Iterator[list[Reading]]:
    """Decodes all images.

    Args:
        raw: folder with the raw shards.
        images: what to read.
        scratch: where pixels go; allocated.
        preprocessing: how bytes become pixels.
        workers: processes; 0 works in this one, and so do few images.

    Yields:
        Readings in the order of `images`, some at a time.

    Raises:
        DataError: a raw shard lacks an image, or a process was killed.
    """
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    if workers == 0 or len(images) < _WORTH_PROCESSES:
        yield from map(Decoder(raw, scratch, preprocessing), batches)
        return
    # forkserver: this process may hold threads and locks that a plain fork would copy
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(batches)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(raw, scratch, preprocessing),
    )
    try:
        yield from pool.map(_work, batches)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that decodes images was killed, mostly for want of memory: "
            "lower runtime.workers or preprocess.max_pixels and run `dvc repro` again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_decoder: list[Decoder] = []  # of a worker process


def _start_worker(raw: Path, scratch: Scratch, preprocessing: Preprocessing) -> None:
    _decoder[:] = [Decoder(raw, scratch, preprocessing)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers of a killed stage would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(batch: Sequence[RawImage]) -> list[Reading]:
    return _decoder[0](batch)
