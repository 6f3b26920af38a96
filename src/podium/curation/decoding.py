"""Decodes raw images in processes, at most a few of them in memory at a time; the same bytes for any number.

What comes of an image goes to its row of the temporary arrays, so nothing large travels between processes, except from
nodes that do not see the project's folder. A photograph with several boxes is decoded once.
"""

import hashlib
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.core.executor import open_executor
from podium.core.jobs import Cluster
from podium.core.storage import Storage, StoredFile
from podium.curation.measures import measure
from podium.curation.near_duplicates.signature import signature
from podium.curation.temporary_arrays import ImageArrays, TemporaryArrays
from podium.data.colour import to_srgb
from podium.data.decode import DecodedImage, decode, pixels_sha256
from podium.data.manifest import RawImages
from podium.data.preprocess import WHOLE, Region, crop, least_side, resize

_BATCH = 32  # images; with more, one process waits longer for the last batch of another
_WORTH_PROCESSES = 128  # fewer images are read sooner than processes start


@dataclass(frozen=True)
class RawImage:
    """Where one image's bytes are, which part of the photograph it is, and its row in the files decoding fills.

    `photo_sha256`, of the photograph's bytes, is needed where they come from a storage.
    """

    row: int
    shard: str
    photo_id: str
    region: Region = WHOLE
    photo_sha256: str = ""


@dataclass(frozen=True)
class DecodeJob:
    """Where images are, where they go, and what is made of them.

    Left out are whole photographs whose shorter side is below `least_photograph` pixels, boxes below `least_side`
    pixels, and those below the share `least_area` of their photograph. Without `features` there are pixels alone: no
    sha256, no hash, no signature, no measures.
    """

    raw: Path
    arrays: TemporaryArrays
    preprocessing: Preprocessing
    least_side: int = 1
    least_area: float = 0.0
    least_photograph: int = 1
    features: bool = True


class Reading(NamedTuple):
    """What came of one image.

    `rejection` and `reason` are empty for an image that is kept, and the rest is empty for others. `width` and `height`
    are of the original (of the box, for a crop), `content_width` and `content_height` of what is in
    the temporary arrays, and `content_sha256` is the digest of that (empty without `features`).
    """

    row: int
    rejection: Literal["", "unreadable", "too_small"] = ""
    reason: str = ""
    sha256: str = ""
    phash: str = ""
    width: int = 0
    height: int = 0
    content_width: int = 0
    content_height: int = 0
    fill: tuple[int, ...] = (0, 0, 0)
    note: str = ""
    content_sha256: str = ""


def _shared_decoding(image: RawImage) -> tuple[str, str, bool]:
    """Serving gets a crop as a file of full-size pixels, so crops are cut out of full-size pixels here as well."""
    return image.shard, image.photo_id, image.region == WHOLE


class _Photographs:
    """Gives the bytes of photographs."""

    def __init__(self, raw: Path) -> None:
        self._raw = raw
        self._shard = ""

    def __call__(self, image: RawImage) -> bytes:
        if image.shard != self._shard:  # images come shard by shard; the list of a shard's members is not kept longer
            self._shard, self._images = image.shard, RawImages(self._raw)
        return self._images.read(image.shard, image.photo_id)


class Decoder:
    """Reads batches of raw images in one process."""

    def __init__(
        self,
        job: DecodeJob,
        read: Callable[[RawImage], bytes] | None = None,
        write: Callable[[ImageArrays], None] | None = None,
    ) -> None:
        """For a job; `read` gives photographs instead of its raw shards, `write` is given what goes to its arrays."""
        self._job = job
        self._read = read or _Photographs(job.raw)
        self._write = write or job.arrays.write

    def __call__(self, batch: Sequence[RawImage]) -> list[Reading]:
        """Decodes images, those of one photograph one after the other, and stores what comes of them.

        Returns one reading an image, in the same order. Raises a `DataError` where a raw shard lacks an image.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # what matters is in the reading
            return [
                reading
                for _, images in groupby(batch, key=_shared_decoding)
                for reading in self._read_photograph(list(images))
            ]

    def _read_photograph(self, images: list[RawImage]) -> Iterator[Reading]:
        """Reads one photograph whole, for which it may be decoded at a reduced size, or crops of it."""
        whole = images[0].region == WHOLE
        data = self._read(images[0])
        how = self._job.preprocessing
        try:
            decoded = decode(data, how.max_pixels, least_side(how) if whole else None)
        except DataError as error:
            yield from (Reading(image.row, "unreadable", str(error)) for image in images)
            return
        pixels = np.asarray(decoded.image)
        for image in images:
            part = pixels if whole else crop(pixels, image.region)
            size = (decoded.width, decoded.height) if whole else (part.shape[1], part.shape[0])
            reason = self._too_small(image.region, *size)
            if reason:
                yield Reading(image.row, "too_small", reason)
            else:
                yield self._store(image.row, part, decoded, size)

    def _too_small(self, region: Region, width: int, height: int) -> str:
        """Why an image is left out; empty where it is large enough."""
        if region == WHOLE:
            least = self._job.least_photograph
            small = min(width, height) < least
            return f"too small: {width} x {height} pixels, preprocess.minimum_side is {least}" if small else ""
        side, least_area = self._job.least_side, self._job.least_area
        if min(width, height) < side:
            return f"too small: {width} x {height} pixels, preprocess.minimum_box_side is {side}"
        left, top, right, bottom = region
        area = (right - left) * (bottom - top)
        if area < least_area:
            return f"too small: {area:.3g} of the photograph, preprocess.minimum_box_area is {least_area:g}"
        return ""

    def _store(self, row: int, pixels: NDArray[np.uint8], decoded: DecodedImage, size: tuple[int, int]) -> Reading:
        """Puts what is made of the pixels of one box into its row; `size` is width and height at full size."""
        made = resize(pixels, self._job.preprocessing, decoded.profile)
        arrays = ImageArrays(row, made.pixels)
        sha256 = phash = stored = ""
        if self._job.features:
            sha256 = pixels_sha256(pixels, decoded.profile)
            image = to_srgb(Image.fromarray(np.ascontiguousarray(pixels)), decoded.profile)
            phash = f"{perceptual_hash(image):016x}"
            features = signature(image), measure(made.pixels)
            arrays = ImageArrays(row, made.pixels, *features)
            stored = content_sha256(made.pixels, *features)
        self._write(arrays)
        return Reading(
            row=row,
            sha256=sha256,
            phash=phash,
            width=size[0],
            height=size[1],
            content_width=made.pixels.shape[1],
            content_height=made.pixels.shape[0],
            fill=tuple(made.fill.tolist()),
            note=decoded.note,
            content_sha256=stored,
        )


def content_sha256(*parts: NDArray[np.uint8] | NDArray[np.float32]) -> str:
    """sha256 (64 hex digits) of what lies in one row of the arrays: contiguous pixels, signature, measures."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.data)
    return digest.hexdigest()


class _StoredPhotographs:
    """Gives the bytes of photographs out of shards in a storage, of which no more is read than what is asked for."""

    def __init__(self, storage: Storage, shards: Mapping[str, StoredFile]) -> None:
        self._storage, self._shards = storage, shards
        self._shard = ""

    def __call__(self, image: RawImage) -> bytes:
        file, data = self._shards[image.shard], b""
        with self._storage.translate_errors("read"), suppress(KeyError, zipfile.BadZipFile):  # not there, or damaged
            if image.shard != self._shard:
                self._zip, self._shard = zipfile.ZipFile(self._storage.open(file)), image.shard
            data = self._zip.read(image.photo_id)
        if hashlib.sha256(data).hexdigest() != image.photo_sha256:
            raise DataError(
                f"{self._storage.url}/{file.key} does not hold photograph {image.photo_id} with its digest: delete it "
                "there and run the stage again"
            )
        return data


class _Decoded(NamedTuple):
    """What came of a batch, where it cannot be written to the arrays at once."""

    readings: list[Reading]
    arrays: list[ImageArrays]


class _StorageDecoder:
    """Decodes where neither the raw shards nor the arrays are."""

    def __init__(self, job: DecodeJob, storage: Storage, shards: Mapping[str, StoredFile]) -> None:
        self._made: list[ImageArrays] = []
        self._decoder = Decoder(job, _StoredPhotographs(storage, shards), self._keep)

    def __call__(self, batch: Sequence[RawImage]) -> _Decoded:
        self._made.clear()
        readings = self._decoder(batch)
        return _Decoded(readings, list(self._made))

    def _keep(self, arrays: ImageArrays) -> None:
        self._made.append(arrays)


def perceptual_hash(image: Image.Image) -> int:
    """The perceptual hash of a picture: 64 bits, the most significant first."""
    bits = imagehash.phash(image, hash_size=8).hash
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")


def decode_all(
    job: DecodeJob, images: Sequence[RawImage], workers: int, cluster: Cluster | None = None
) -> Iterator[list[Reading]]:
    """Decodes all images.

    Args:
        job: what to do, into arrays that are allocated.
        images: what to read; those of one photograph come one after the other.
        workers: processes; 0 works in this one, and so do few images.
        cluster: where batches are decoded instead.

    Yields:
        Readings in the order of `images`, some at a time.

    Raises:
        DataError: a raw shard lacks an image.
        PodiumError: a process was ended from outside, or the cluster cannot be used.
    """
    if len(images) < _WORTH_PROCESSES:
        workers, cluster = 0, None
    if cluster is not None and cluster.storage is not None:
        yield from _decode_by_storage(job, images, cluster, cluster.storage)
        return
    with open_executor(
        Decoder(job),
        workers,
        cluster=cluster,
        lower="resources.workers or preprocess.max_pixels",
        prepare=_use_one_thread,
    ) as executor:
        yield from executor.map(_batches(images))


def _decode_by_storage(
    job: DecodeJob, images: Sequence[RawImage], cluster: Cluster, storage: Storage
) -> Iterator[list[Reading]]:
    """Nodes read photographs from the storage and send back what they made of them."""
    files = storage.upload([job.raw / shard for shard in sorted({image.shard for image in images})], job.raw)
    decoder = _StorageDecoder(job, storage, {file.name: file for file in files})

    def write(decoded: _Decoded) -> None:
        for arrays in decoded.arrays:
            job.arrays.write(arrays)
        decoded.arrays.clear()  # what ended early waits for its turn

    with open_executor(decoder, 1, cluster=cluster, lower="preprocess.max_pixels", prepare=_use_one_thread) as executor:
        yield from (decoded.readings for decoded in executor.map(_batches(images), write))


def _batches(images: Sequence[RawImage]) -> Iterator[list[RawImage]]:
    """Batches of about `_BATCH` images; those of one photograph are in one batch."""
    batch: list[RawImage] = []
    for _, of_photo in groupby(images, key=attrgetter("shard", "photo_id")):
        batch += of_photo
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _use_one_thread() -> None:
    """In a worker process: images are spread over processes."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
