"""Images as the source gave them, packed in a few uncompressed zip shards, so that DVC sees tens of files.

A member's name is the `photo_id`; the raw manifest says which shard holds it. Bytes are never changed.
"""

import zipfile
from pathlib import Path

from podium.core.errors import DataError

SHARD_IMAGES = 20_000
SHARD_BYTES = 2**30
_EPOCH = (1980, 1, 1, 0, 0, 0)


class RawWriter:
    """Packs images into `images-00000.zip`, ... in the order they come; the same order gives the same bytes."""

    def __init__(self, folder: Path, shard_images: int = SHARD_IMAGES, shard_bytes: int = SHARD_BYTES) -> None:
        """Opens no file yet; `shard_images` and `shard_bytes` are the most one shard holds."""
        self._folder = folder
        self._limits = (shard_images, shard_bytes)
        self._count = 0
        self._images = 0
        self._bytes = 0
        self._zip: zipfile.ZipFile | None = None

    def add(self, photo_id: str, data: bytes) -> str:
        """Stores one image.

        Args:
            photo_id: of the photograph, not stored before.
            data: the file's bytes.

        Returns:
            Name of the shard it went into.
        """
        full = self._images >= self._limits[0] or self._bytes + len(data) > self._limits[1]
        if self._zip is None or (full and self._images):
            self.close()
            self._zip = zipfile.ZipFile(self._folder / f"images-{self._count:05d}.zip", "w", zipfile.ZIP_STORED)
            self._count, self._images, self._bytes = self._count + 1, 0, 0
        self._zip.writestr(zipfile.ZipInfo(photo_id, _EPOCH), data)
        self._images, self._bytes = self._images + 1, self._bytes + len(data)
        return f"images-{self._count - 1:05d}.zip"

    def close(self) -> None:
        """Finishes the open shard."""
        if self._zip is not None:
            self._zip.close()
            self._zip = None


class RawImages:
    """Reads raw images; one instance per process (open files are not shared)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, zipfile.ZipFile] = {}

    def read(self, shard: str, photo_id: str) -> bytes:
        """The bytes of one image.

        Args:
            shard: the raw manifest's `shard`.
            photo_id: of the photograph.

        Returns:
            The file's bytes.

        Raises:
            DataError: the shard or the image is not there.
        """
        try:
            if shard not in self._open:
                self._open[shard] = zipfile.ZipFile(self._folder / shard)
            return self._open[shard].read(photo_id)
        except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self._folder / shard} does not hold photograph {photo_id}: run `dvc repro -f fetch`"
            ) from error
