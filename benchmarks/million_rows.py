"""Do splitting and validating keep up with millions of images? `python -m benchmarks.million_rows [--rows N ...]`.

Made are manifests (crops of shared photographs, groups of duplicates, sources, licences, measures; no pixels). Then
images that belong together are grouped from given links, split, and held against all expectations that need no
pixels, each in a process of its own. `work` leaves out starting Python and importing libraries (Great Expectations
takes some seconds); `process` is everything. Memory is the peak of the process. Tables are Parquet files of which a few
columns are read at a time; rows are made, and split rows written, up to a million at a time.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from podium.config.preprocess import Preprocess
from podium.config.validate import Validate
from podium.data.manifest import MEASURES
from podium.records.base import ParquetTable

ROWS = (60_000, 1_000_000)
SECONDS, GIBIBYTES = 90.0, 3.0  # of up to a million rows; of more, so many seconds for each million
MOST_GIBIBYTES = 8.0  # of more
SECONDS_SMALL = 5.0  # to validate the smallest, where it is no more than
_SMALL = 60_000  # rows
PARTS = ("make", "split", "validate")
_CLASSES, _SOURCES = 100, 10
_AT_ONCE = 1_000_000  # rows


@dataclass(frozen=True)
class Cost:
    """What one part took; seconds and GiB."""

    rows: int
    part: str
    work: float
    process: float
    peak: float


def make(folder: Path, rows: int) -> None:
    """Writes a manifest as it is before the split, and measures; half of the images share photographs in pairs."""
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for start in range(0, rows, _AT_ONCE):
            for name, frame in zip(("images", "measures"), some(start, min(_AT_ONCE, rows - start)), strict=True):
                table = pa.Table.from_pandas(frame, preserve_index=False)
                if name not in writers:
                    writer = pq.ParquetWriter(folder / f"{name}-before.parquet", table.schema, compression="zstd")
                    writers[name] = stack.enter_context(writer)
                writers[name].write_table(table)


def some(start: int, rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of both, from a number on, in the order of their ids."""
    rng = np.random.default_rng(start)
    numbers = np.arange(rows)
    digits = rng.integers(0, 2**63, size=(rows, 2))
    ids = np.array(
        [f"{start + number:08x}{digit & 0xFFFFFFFF:08x}" for number, digit in zip(numbers, digits[:, 0], strict=True)]
    )
    photo = np.where(numbers % 4 == 3, numbers - 1, numbers)
    first = np.where(rng.random(rows) < 0.02, rng.integers(0, rows, rows), numbers)  # of its duplicates
    first = np.where(first[first] == first, first, numbers)
    label = (rng.power(1.5, rows) * _CLASSES).astype(int)
    images = pd.DataFrame(
        {
            "image_id": ids,
            "photo_id": ids[photo],
            "photo_sha256": [f"{ids[number]}{digits[number, 0]:048x}" for number in photo],
            "path": [f"photos/{part:03d}/{start + number:07d}.jpg" for part, number in zip(label, photo, strict=True)],
            "source": [f"source {number}" for number in rng.integers(0, _SOURCES, rows)],
            "label": [f"class {number:03d}" for number in label],
            "source_label": [f"Class {number}" for number in label],
            "group": [f"group {number % 7}" for number in label],
            "source_split": "",
            "keep_together": "",
            "licence": np.where(rng.random(rows) < 0.001, "", "CC-BY-4.0"),
            "box_left": 0.0,
            "box_top": 0.0,
            "box_right": 1.0,
            "box_bottom": 1.0,
            "sha256": [f"{ids[number]}{digits[number, 1]:048x}" for number in first],
            "prepared_sha256": "",
            "phash": [f"{digit:016x}" for digit in digits[:, 1]],
            "width": rng.integers(60, 4000, rows),
            "height": rng.integers(60, 3000, rows),
            "duplicate_group": ids[first],
            "duplicate_kind": np.where(first == numbers, "", "exact"),
            "note": "",
        }
    )
    measures = {name: rng.normal(size=rows).astype(np.float32) for name in MEASURES}
    return images, pd.DataFrame({"image_id": ids, **measures})


def split(folder: Path) -> float:
    """Groups and splits; returns seconds of work."""
    from podium.curation import splits

    start = time.perf_counter()
    columns = ["image_id", "photo_id", "photo_sha256", "duplicate_group", "source", "keep_together"]
    table = ParquetTable(folder / "images-before.parquet")
    groups = splits.join_split_groups(table[columns])
    columns = ["image_id", "photo_sha256", "source", "source_split", "label", "keep_together"]
    assigned = splits.assign_splits(table[columns].assign(split_group=groups), Preprocess(image_size=224)).split
    extend(folder, "images", split_group=groups, split=assigned)
    extend(folder, "measures", split=assigned)
    return time.perf_counter() - start


def extend(folder: Path, name: str, **columns: pd.Series) -> None:
    """Writes a table with further columns, some rows at a time."""
    source, done, writer = pq.ParquetFile(folder / f"{name}-before.parquet"), 0, None
    for batch in source.iter_batches(_AT_ONCE // 4):
        part = pa.Table.from_batches([batch])
        for key, values in columns.items():
            part = part.append_column(key, pa.array(values.iloc[done : done + len(part)], pa.large_string()))
        writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", part.schema, compression="zstd")
        writer.write_table(part)
        done += len(part)
    if writer:
        writer.close()


def validate(folder: Path) -> float:
    """Holds the split manifest against everything that needs no pixels; returns seconds of work."""
    from podium.curation import findings
    from podium.curation.expectations import validator
    from podium.curation.expectations.expectation import DatasetFacts
    from podium.curation.shard_check import ShardCheck

    start = time.perf_counter()
    params = Validate()
    manifest, measures = ParquetTable(folder / "images.parquet"), ParquetTable(folder / "measures.parquet")
    facts = DatasetFacts(
        manifest=manifest,
        rejected=pd.DataFrame({"path": [], "kind": []}),
        image_size=224,
        measures=measures,
        drift=findings.compare_splits(measures, 0.1, 0.01),
        quality=findings.flag_images(measures, manifest, dark=0.08, blurred=15.0, uniform=0.03, aspect=4.0),
        shards=ShardCheck(),
    )
    results = {result.id: result for result in validator.check(facts, params)}
    seconds = time.perf_counter() - start
    leaks = [id for id, result in results.items() if result.suite == "leakage" and not result.success]
    if not results["columns"].success or leaks or results["licence_known"].success:
        raise RuntimeError(f"the made-up manifest should have no leak and some images without a licence: {results}")
    return seconds


def run(folder: Path, part: str, rows: int) -> Cost:
    """Runs one part in a process of its own."""
    start = time.perf_counter()
    command = (
        sys.executable,
        "-m",
        "benchmarks.million_rows",
        "--part",
        part,
        "--rows",
        str(rows),
        "--folder",
        str(folder),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part} of {rows} rows failed:\n{done.stderr}")
    said = json.loads(done.stdout.splitlines()[-1])
    return Cost(rows, part, said["work"], time.perf_counter() - start, said["peak"])


def child(folder: Path, part: str, rows: int) -> None:
    """Does one part and prints what it took."""
    start = time.perf_counter()
    match part:
        case "make":
            make(folder, rows)
            work = time.perf_counter() - start
        case "split":
            work = split(folder)
        case _:
            work = validate(folder)
    print(json.dumps({"work": work, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def main() -> None:
    """Prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        child(given.folder, given.part, given.rows[0])
        return
    costs = []
    print(f"{'rows':>9}  {'part':<8}  {'work s':>7}  {'process s':>9}  {'peak GiB':>8}")
    for rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="podium-million-") as folder:
            for part in PARTS:
                cost = run(Path(folder), part, rows)
                print(f"{rows:>9,}  {part:<8}  {cost.work:>7.1f}  {cost.process:>9.1f}  {cost.peak:>8.2f}", flush=True)
                costs.append(cost)
    counted = [cost for cost in costs if cost.part != "make"]
    largest = [cost for cost in counted if cost.rows == max(given.rows)]
    seconds, peak = sum(cost.process for cost in largest), max(cost.peak for cost in largest)
    target = SECONDS * max(1.0, max(given.rows) / _AT_ONCE)
    gibibytes = GIBIBYTES if max(given.rows) <= _AT_ONCE else MOST_GIBIBYTES
    least = min(given.rows)
    small = next(cost.work for cost in counted if cost.part == "validate" and cost.rows == least)
    of_small = f", {least:,} are validated in {SECONDS_SMALL:g} s" if least <= _SMALL else ""
    print(
        json.dumps(
            {
                "claim": f"{max(given.rows):,} rows are grouped, split and validated in {target:g} s and "
                f"{gibibytes:g} GiB{of_small}",
                "baseline": "none: absolute targets",
                "figure": round(seconds, 1),
                "target": target,
                "holds": seconds < target and peak < gibibytes and (least > _SMALL or small < SECONDS_SMALL),
                "unit": "seconds",
                "peak_gib": round(peak, 2),
                "validate_small_seconds": round(small, 2),
                "parts": [asdict(cost) for cost in counted],
            }
        )
    )


if __name__ == "__main__":
    main()
