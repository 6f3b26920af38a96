"""Real photographs for the benchmarks of training: prepared as the stages do it, and as folders for everybody else.

Podium's side reads the shards; the others read the same images of the same splits as files, one folder a class.
"""

import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from podium.config.base import Split
from podium.config.dataset import ArchiveDataset, Fetch
from podium.config.preprocess import Preprocess
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.pipeline import preprocess
from podium.pipeline.fetch import fetch_dataset

FLOWERS = "flowers-photos.zip"
CIFAR = "cifar10-jpeg.zip"


@dataclass(frozen=True)
class Photographs:
    """One dataset in both forms.

    Attributes:
        prepared: folder with the splits as `preprocess` writes them.
        files: folder with `train/<class>/` and `val/<class>/`, links to the same images as files.
        cpu_seconds: of the processor that `preprocess` took, once and for all.
        images: that it prepared, in all splits.
    """

    prepared: Path
    files: Path
    cpu_seconds: float
    images: int


def given() -> Path | None:
    """The folder that $PODIUM_REAL_DATA names; None, with a line that says so, where it names none."""
    named = os.environ.get("PODIUM_REAL_DATA")
    if not named:
        print("skipped: PODIUM_REAL_DATA does not name a folder with the archives")
        return None
    return Path(named).resolve()


def prepare(root: Path, archive: Path, image_size: int, limit: int | dict[Split, int] | None = None) -> Photographs:
    """Runs `fetch` and `preprocess`, and unpacks the archive beside them.

    Args:
        root: an empty folder.
        archive: a zip file with one folder a class.
        image_size: pixels a side.
        limit: images of each class, at most, or by split where the archive has splits; None = all.
    """
    layout = Layout(root)
    source = ArchiveDataset(
        location=str(archive),
        sha256=sha256_file(archive),
        licence="see the archive's source",
        limit_per_class=limit,
    )
    fetch_dataset(layout, source, Fetch(), {})
    before = time.process_time()
    preprocess.preprocess_dataset(
        layout, Preprocess(image_size=image_size), seed=0, workers=0
    )  # here, so that it can be measured
    cpu_seconds = time.process_time() - before
    originals = root / "originals"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(originals)
    counts = [_link(layout.prepared, split, originals, root / "files") for split in ("train", "val")]
    print(f"{archive.name}: {counts[0]} training and {counts[1]} validation images of {image_size} px")
    total = len(pd.read_parquet(layout.manifest, columns=["image_id"]))
    return Photographs(layout.prepared, root / "files", cpu_seconds, total)


def _link(prepared: Path, split: str, originals: Path, files: Path) -> int:
    """Links the images of a split into one folder a class; returns how many there are."""
    index = pd.read_parquet(prepared / split / "index.parquet", columns=["image_id", "path", "label"])
    for row in index.itertuples():
        folder = files / split / str(row.label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row.image_id}{Path(str(row.path)).suffix}").symlink_to(originals / str(row.path))
    return len(index)
