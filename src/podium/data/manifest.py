"""The manifest, one row an image (primary key `image_id`), and the photographs it points to, as the source gave them.

Photographs are packed in a few uncompressed zip shards, so that DVC sees tens of files; their bytes are never changed.
The manifest is the spine every later stage reads: `fetch` writes the raw one (what the source says), `preprocess` the
prepared one (what was found in the pixels). Columns beyond the required ones are what the source knows (a box,
occlusion, ...) and are carried along untouched; none may have the name of what is measured of every image.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from podium.core.errors import DataError
from podium.records.base import read_parquet, write_parquet

if TYPE_CHECKING:
    import pandas as pd

SPECTRUM_BANDS = 8
MEASURES: dict[str, str] = {
    "aspect": "width / height of the content",
    "brightness": "mean grey value, 0 black to 1 white",
    "contrast": "standard deviation of the grey values, 0 to 0.5",
    "red_mean": "mean of the red channel, 0 to 1",
    "green_mean": "mean of the green channel, 0 to 1",
    "blue_mean": "mean of the blue channel, 0 to 1",
    "red_std": "standard deviation of the red channel, 0 to 0.5",
    "green_std": "standard deviation of the green channel, 0 to 0.5",
    "blue_std": "standard deviation of the blue channel, 0 to 0.5",
    "saturation": "mean saturation (HSV), 0 grey to 1",
    "hue_spread": "circular variance of the hue, weighted by saturation: 0 one hue to 1 all hues",
    "colourfulness": "Hasler & Süsstrunk's measure: 0 grey, 33 moderately, 109 extremely colourful",
    "sharpness": "variance of the Laplacian of the grey values (0..255); low is blurred or flat",
    "entropy": "of the grey values, 0 to 8 bits",
    "edge_density": "share of pixels on an edge (Canny)",
    "glcm_contrast": "co-occurrence of grey levels: contrast, in squared steps of 32 levels",
    "glcm_homogeneity": "co-occurrence of grey levels: homogeneity, 0 to 1",
    "glcm_energy": "co-occurrence of grey levels: energy, 0 to 1",
    **{
        f"lbp_{number}": f"local binary patterns: share of pixels with pattern {number} of 10"
        + (" (no uniform pattern)" if number == 9 else "")
        for number in range(10)
    },
    "spectrum_ratio": "log10 of power in low over power in high spatial frequencies (below / above 1/8 cycle a pixel)",
    **{
        f"spectrum_{number}": f"log10 of the share of the power in frequencies "
        f"{number / 16:g} to {(number + 1) / 16:g} cycles a pixel"
        for number in range(SPECTRUM_BANDS)
    },
}
"""What is measured of every image's content (at the prepared size, without padding), in order, and what it means."""
RAW_COLUMNS: dict[str, str] = {
    "image_id": "16 hex digits: hash of source, path and box",
    "photo_id": "16 hex digits: hash of source and path; the crops of one photograph share it",
    "photo_sha256": "of the photograph's bytes, 64 hex digits; copies of a file, also in other sources, share it",
    "path": "path inside the source, with forward slashes",
    "source": "name of the source",
    "label": "class",
    "source_label": "what the source calls the class, before any label map or correction; in a merge `source/class`",
    "group": "coarse class (fruit, vegetable, ...); empty where the source knows none",
    "split": "train, val or test as the source gave it; empty where it gave none",
    "keep_together": "what it must not be separated from (a patient, a video), within its source; empty for nothing",
    "licence": "of the photograph",
    "box_left": "the part of the photograph that is the image, as fractions of its upright width and height: 0",
    "box_top": "0 for a whole photograph",
    "box_right": "1 for a whole photograph",
    "box_bottom": "1 for a whole photograph",
    "shard": "file of artifacts/raw that holds the photograph's bytes, under the name photo_id",
}
PREPARED_COLUMNS: dict[str, str] = {
    **dict.fromkeys(list(RAW_COLUMNS)[: list(RAW_COLUMNS).index("split")], "as in the raw manifest"),
    "split": "train, val or test; never empty",
    "source_split": "the split the source gave; empty where it gave none",
    **dict.fromkeys(
        ("keep_together", "licence", "box_left", "box_top", "box_right", "box_bottom"), "as in the raw manifest"
    ),
    "sha256": "of the decoded RGB pixels (of a large JPEG, at the reduced size it is decoded at), 64 hex digits",
    "prepared_sha256": "of the prepared pixels as they lie in the shard of the split, 64 hex digits",
    "phash": "64-bit perceptual hash, 16 hex digits",
    "width": "pixels of the original after EXIF orientation; of the box, for a crop",
    "height": "pixels of the original after EXIF orientation; of the box, for a crop",
    "duplicate_group": "image_id of the first of its exact or near duplicates; its own where it has none",
    "duplicate_kind": "exact, near, or empty for the first of a group and for images without duplicates",
    "split_group": "image_id of the first image that must stay on one side with it: its duplicates, the other crops of "
    "their photographs, also of copies of the same file, and what keep_together joins",
    "note": "what was done to read it (`first of 12 frames`, `alpha on white`, ...); empty for a plain image",
}
WORKING_COLUMNS = ("row", "content_width", "content_height", "fill", "content_sha256")
"""What `preprocess` knows of an image while it works: row, size, fill and digest of what is in the temporary arrays."""
REJECTED_COLUMNS = ("path", "label", "reason", "kind", "image_id")
"""Of `rejected.csv`. `kind` is `unreadable`, `too_small` (a box below the least size: a choice), `duplicate` (of a
held-out image, `preprocess.duplicates`) or `skipped` (a file of the source that is no image). What the source itself
could not use has no label and no image_id; where it is an image by its name (a broken link, a failed download) it is
`unreadable` too."""
RESERVED_COLUMNS = frozenset({*RAW_COLUMNS, *PREPARED_COLUMNS, *WORKING_COLUMNS, *MEASURES, "naive_split"})
"""Names that a further column of a source may not have, since the tables made of the manifest have them already."""
SHARD_IMAGES = 20_000
SHARD_BYTES = 2**30
_EPOCH = (1980, 1, 1, 0, 0, 0)


def image_id(source: str, path: str, box: str = "") -> str:
    """The primary key of an image: 16 hex digits (64 bits of sha256).

    `path` is inside the source, with forward slashes; `box` the text form of a crop box, empty for a whole image.
    """
    return hashlib.sha256(f"{source}\0{path}\0{box}".encode()).hexdigest()[:16]


def write_manifest(path: Path, frame: "pd.DataFrame", columns: dict[str, str]) -> None:
    """Writes a manifest sorted by `image_id`, the same bytes for the same rows.

    Args:
        path: a `.parquet` file.
        frame: one row an image; at least `columns`, any others after them.
        columns: `RAW_COLUMNS` or `PREPARED_COLUMNS`.

    Raises:
        DataError: a column is missing, or an `image_id` stands twice.
    """
    _check(path, list(frame.columns), columns)
    if frame["image_id"].duplicated().any():
        twice = frame.loc[frame["image_id"].duplicated(), "path"].iloc[0]
        raise DataError(f"{path.name}: image {twice!r} stands twice: each path of a source may occur once")
    ordered = [*columns, *sorted(c for c in frame.columns if c not in columns)]
    write_parquet(path, frame.sort_values("image_id").loc[:, ordered])


def read_manifest(path: Path, columns: dict[str, str], *only: str) -> "pd.DataFrame":
    """Reads a manifest that must have `columns`: one row an image, sorted by `image_id`, index 0..N-1.

    Args:
        path: of the file.
        columns: `RAW_COLUMNS` or `PREPARED_COLUMNS`.
        only: those of `columns` that are read; by default all that the file has, also others.

    Raises:
        DataError: the file is missing, is not Parquet, or lacks a column.
    """
    frame = read_parquet(path, list(only) or None)
    _check(path, list(frame.columns), {name: columns[name] for name in only or columns})
    return frame


def _check(path: Path, found: list[str], required: dict[str, str]) -> None:
    """Refuses a table that lacks a column."""
    missing = [c for c in required if c not in found]
    if missing:
        raise DataError(
            f"{path.name} lacks the column {missing[0]!r} ({required[missing[0]]}): delete it and run `dvc repro`"
        )


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
        """Stores the bytes of a photograph not stored before; returns the name of the shard it went into."""
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
        """The bytes of one image, from the `shard` that the raw manifest names.

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
