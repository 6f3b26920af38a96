"""What it costs that files are on the disk before they take their names: small records, and a folder of shards.

Command: python -m benchmarks.fsync
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np

from podium.core import files

RECORDS = 100
SHARDS, SHARD_BYTES = 4, 64 * 2**20
ROUNDS = 3


def main() -> None:
    """Prints the seconds with and without `fsync`, the median of a few rounds in turn, in the working directory."""
    with TemporaryDirectory(dir=Path.cwd()) as name:
        for what, write in (
            (f"{RECORDS} records of 1 KiB", _records),
            (f"a folder of {SHARDS} x {SHARD_BYTES // 2**20} MiB", _folder),
        ):
            seconds = [[_timed(write, Path(name), synced) for synced in (True, False)] for _ in range(ROUNDS)]
            synced, loose = (statistics.median(column) for column in zip(*seconds, strict=True))
            print(f"{what}: {synced:.2f} s with fsync, {loose:.2f} s without")


def _timed(write: Callable[[Path], None], folder: Path, synced: bool) -> float:
    """Seconds of one round."""
    begun = time.perf_counter()
    if synced:
        write(folder)
    else:
        with mock.patch.object(files, "sync", lambda path: None):
            write(folder)
    return time.perf_counter() - begun


def _records(folder: Path) -> None:
    """Small JSON files, as trials and checkpoints of studies are."""
    for number in range(RECORDS):
        files.write_json(folder / f"{number}.json", {"text": "x" * 1000})


def _folder(folder: Path) -> None:
    """A folder of shards, as preprocess writes."""
    shard = np.random.default_rng(0).integers(0, 256, SHARD_BYTES, dtype=np.uint8)
    with files.replacing_folder(folder / "split") as out:
        for number in range(SHARDS):
            np.save(out / f"images-{number:05d}.npy", shard)


if __name__ == "__main__":
    main()
