"""Prepared images of one split on disk: decoded `uint8` N x H x W x 3 in shards, memory-mapped.

A split is a folder: `images-00000.npy` ... (at most 256 MiB each), `index.parquet` (a row an image, in the order of
the arrays) and `split.json` (classes, counts, digest). Opening one reads no pixels.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from podium.config.base import Split
from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.core.files import sha256_file, sha256_text
from podium.core.layout import SPLIT, SPLIT_INDEX
from podium.records.base import Record, read_parquet, write_parquet

if TYPE_CHECKING:
    import pandas as pd

SHARD_BYTES = 256 * 2**20


class SplitRecord(Record):
    """`split.json`: what is in a split's folder."""

    split: Split
    classes: list[str]
    count: int
    preprocessing: Preprocessing
    shards: list[str]
    digest: str


@dataclass(frozen=True)
class PreparedSplit:
    """One split. Row i of `index` is image i: `image_id photo_sha256 path label group`, what the source knew."""

    name: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    digest: str
    index: "pd.DataFrame"
    labels: NDArray[np.int64]
    shards: tuple[NDArray[np.uint8], ...]
    places: NDArray[np.int64] | None = None  # where image i lies in the shards, shape (N,); None: at i

    def __getstate__(self) -> dict[str, object]:
        """Shards travel by name: another process maps their files itself."""
        return {**vars(self), "shards": [getattr(shard, "filename", shard) for shard in self.shards]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What `__getstate__` gave."""
        shards = (_mapped(shard) if isinstance(shard, Path) else shard for shard in state["shards"])
        vars(self).update(state, shards=tuple(shards))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies some images out of the memory maps.

        Args:
            rows: int64 row numbers, shape (B,), any order.

        Returns:
            uint8, shape (B, H, W, 3), in the order of `rows`.
        """
        per_shard = self.shards[0].shape[0]
        size = self.preprocessing.image_size
        out = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        shard_of, within = np.divmod(rows if self.places is None else self.places[rows], per_shard)
        for shard in np.unique(shard_of):
            here = shard_of == shard
            out[here] = self.shards[shard][within[here]]
        return out

    def subset(self, rows: NDArray[np.int64]) -> Self:
        """Some of its images, in the order of `rows` (int64, shape (B,)), as a split of its own; copies no pixels."""
        named = "\n".join([self.digest, *map(str, rows.tolist())])
        return replace(
            self,
            digest=sha256_text(named),
            index=self.index.iloc[rows].reset_index(drop=True),
            labels=self.labels[rows],
            places=rows if self.places is None else self.places[rows],
        )


def images_per_shard(image_size: int) -> int:
    """How many images of `image_size` pixels a side fit in one shard (at least 1)."""
    return max(1, SHARD_BYTES // (image_size * image_size * 3))


def finish_split(
    folder: Path, name: Split, classes: list[str], preprocessing: Preprocessing, index: "pd.DataFrame"
) -> None:
    """Writes `index.parquet` and `split.json` beside the shards that are already in the folder.

    Args:
        folder: the split's folder with `images-*.npy`.
        name: train, val or test.
        classes: all classes, sorted, the same for every split.
        preprocessing: how the pixels were made.
        index: one row an image in the order of the shards; at least `image_id photo_sha256 path label group`.
    """
    write_parquet(folder / SPLIT_INDEX, index)
    shards = sorted(p.name for p in folder.glob("images-*.npy"))
    digests = {n: sha256_file(folder / n) for n in [*shards, SPLIT_INDEX]}
    text = "\n".join([*classes, preprocessing.model_dump_json(), *(f"{n} {d}" for n, d in sorted(digests.items()))])
    SplitRecord(
        split=name,
        classes=classes,
        count=len(index),
        preprocessing=preprocessing,
        shards=shards,
        digest=sha256_text(text),
    ).write(folder / SPLIT)


def open_for_fitting(prepared: Path, name: str) -> PreparedSplit:
    """Opens a split for tuning or training, `train` or `val`; the test split is refused. No pixels are read yet.

    Raises:
        DataError: `name` is `test`, or the split is missing or damaged.
    """
    match name:
        case "train" | "val":
            return _open(prepared, name)
        case _:
            raise DataError(f"split {name!r} is not open to tuning and training: only `train` and `val` are")


def open_for_testing(prepared: Path) -> PreparedSplit:
    """Opens the test split; `evaluate` is the only stage that calls this.

    Raises:
        DataError: the split is missing or damaged.
    """
    return _open(prepared, "test")


def _open(prepared: Path, name: Split) -> PreparedSplit:
    """Opens a split and checks that its files belong together."""
    folder = prepared / name
    description = folder / SPLIT
    if not description.is_file():
        raise DataError(f"{folder} holds no prepared split: run `dvc repro preprocess`")
    said = SplitRecord.read(description)
    if said.split != name:
        raise DataError(
            f"{folder} holds the split {said.split!r}, not {name!r}: delete artifacts/prepared and run `dvc repro`"
        )
    index = read_parquet(folder / SPLIT_INDEX)
    shards = tuple(_mapped(folder / shard) for shard in said.shards)
    if sum(len(s) for s in shards) != len(index) or len(index) != said.count:
        raise DataError(
            f"{folder} is damaged: {said.count} images are listed, {len(index)} rows are there: "
            "delete it and run `dvc repro`"
        )
    code = {label: i for i, label in enumerate(said.classes)}
    try:
        labels = np.array([code[label] for label in index["label"]], dtype=np.int64)
    except KeyError as error:  # the column is missing, or one of its labels is no class
        raise DataError(f"{folder} is damaged: no column or class {error}: delete it and run `dvc repro`") from error
    return PreparedSplit(name, tuple(said.classes), said.preprocessing, said.digest, index, labels, shards)


def _mapped(shard: Path) -> NDArray[np.uint8]:
    """A shard's pixels, uint8, shape (N, H, W, 3), read from the file as they are used."""
    try:
        pixels: NDArray[np.uint8] = np.lib.format.open_memmap(shard, mode="r")
    except PermissionError:
        raise
    except (OSError, EOFError, ValueError) as error:  # missing; cut off; not an array
        raise DataError(f"{shard} is missing or damaged: delete {shard.parent} and run `dvc repro`") from error
    return pixels
