"""Choosing boxes from a box file of Open Images' size: `python -m benchmarks.openimages_csv [rows]`.

Writes a CSV of 14 million rows with the real 21 columns to a temporary folder (2 GB; not counted, deleted at the end),
then lets the source `openimages` choose boxes of three labels and look at their surroundings, in a process of its own.
The baseline reads the same columns with pandas in chunks and must arrive at the same boxes.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from podium.sources.openimages_tables import FLAGS, choose_boxes, describe_boxes

ROWS = 14_000_000
CLASSES = 600
LIMIT = 50_000
CHUNK = 500_000
MEMORY_MB = 1_000
LABELS = ("animal", "object", "person")
SIDES = ["XMin", "YMin", "XMax", "YMax"]
WANTED = {f"/m/{n:05x}": LABELS[2 if n < 5 else 0 if n < 60 else 1] for n in range(160)}


def write_csv(path: Path, rows: int) -> None:
    """Random boxes, about eight a photograph, photographs one after another, classes by Zipf's law."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, CLASSES + 1)
    cumulative = np.cumsum(weights / weights.sum())
    keys = pa.array([f"/m/{n:05x}" for n in range(CLASSES)])
    writer = None
    with path.open("wb") as stream:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            low = np.round(rng.random((count, 2)) * 0.7, 6)
            high = np.round(low + 0.01 + rng.random((count, 2)) * 0.29, 6)
            clicks = {f"XClick{n}{axis}": np.round(rng.random(count), 6) for axis in "XY" for n in (1, 2, 3, 4)}
            classes = np.minimum(np.searchsorted(cumulative, rng.random(count)), CLASSES - 1)
            columns = {
                "ImageID": _ids(rng, count),
                "Source": pa.array(["xclick"]).take(pa.array(np.zeros(count, np.int8))),
                "LabelName": keys.take(pa.array(classes)),
                "Confidence": np.ones(count, np.int8),
                "XMin": low[:, 0],
                "XMax": high[:, 0],
                "YMin": low[:, 1],
                "YMax": high[:, 1],
                **{name: rng.integers(-1, 2, count, np.int8) for name in FLAGS},
                **clicks,
            }
            table = pa.table(columns)
            if writer is None:
                options = pacsv.WriteOptions(quoting_style="none")
                writer = pacsv.CSVWriter(stream, table.schema, write_options=options)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _ids(rng: np.random.Generator, count: int) -> pa.Array:
    """Hexadecimal ids, each for about eight rows."""
    number = count // 8 + 1
    text = rng.bytes(8 * number).hex().encode()
    offsets = np.arange(0, 16 * (number + 1), 16, dtype=np.int32)
    unique = pa.Array.from_buffers(pa.string(), number, [None, pa.py_buffer(offsets), pa.py_buffer(text)])
    return unique.take(pa.array(np.sort(rng.integers(0, number, count))))


def podium(path: Path) -> NDArray[Any]:
    """The two passes of the source."""
    choice = choose_boxes(path, WANTED, LIMIT)
    describe_boxes(path, choice.boxes, WANTED)
    return np.sort(choice.boxes["hash"].to_numpy(np.uint64))


def pandas_chunks(path: Path) -> NDArray[Any]:
    """The same two passes with pandas, without counting neighbours."""
    types = dict.fromkeys(SIDES, "float64") | dict.fromkeys(FLAGS, "int8")
    first: list[pd.DataFrame] = []
    for chunk in pd.read_csv(path, usecols=["ImageID", "LabelName", *SIDES], dtype=types, chunksize=CHUNK):
        first.append(chunk[chunk["LabelName"].isin(WANTED)])
    kept = pd.concat(first, ignore_index=True)
    ids = kept["ImageID"].to_numpy("S16").view(">u8").reshape(-1, 2).astype(np.uint64)
    hashed = pd.DataFrame({"low": ids[:, 1], "high": ids[:, 0]})
    for number, side in enumerate(SIDES):
        hashed[number] = kept[side]
    kept["hash"] = pd.util.hash_pandas_object(hashed, index=False)
    label = kept["LabelName"].map(WANTED)
    kept = kept.drop_duplicates("hash").groupby(label).apply(lambda rows: rows.nsmallest(LIMIT, "hash"))
    photographs = set(kept["ImageID"])
    columns = ["ImageID", "LabelName", *SIDES, *FLAGS]
    second = [
        chunk[chunk["ImageID"].isin(photographs)]
        for chunk in pd.read_csv(path, usecols=columns, dtype=types, chunksize=CHUNK)
    ]
    pd.concat(second, ignore_index=True)
    return np.sort(kept["hash"].to_numpy(np.uint64))


WAYS: dict[str, Callable[[Path], NDArray[Any]]] = {"podium": podium, "pandas chunks": pandas_chunks}


def measured(way: str, path: Path) -> dict[str, Any]:
    """Seconds, peak memory and result of one way, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.openimages_csv", "--way", way, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def one_way(way: str, path: Path) -> int:
    """Runs one way and prints its figures."""
    began = time.monotonic()
    hashes = WAYS[way](path)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    digest = int(np.bitwise_xor.reduce(hashes)) if len(hashes) else 0
    print(json.dumps({"seconds": round(seconds, 1), "peak_mb": round(peak), "kept": len(hashes), "digest": digest}))
    return 0


def main() -> int:
    """Prints a line for each way and one JSON line."""
    if sys.argv[1:2] == ["--way"]:
        return one_way(sys.argv[2], Path(sys.argv[3]))
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "oidv6-train-annotations-bbox.csv"
        write_csv(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 1e9:.2f} GB, {LIMIT:,} boxes of each of {', '.join(LABELS)}")
        results = {way: measured(way, path) for way in WAYS}
    for way, result in results.items():
        print(f"{way:<16}{result['seconds']:>8.1f} s{result['peak_mb']:>8,} MB{result['kept']:>10,} boxes")
    ours, theirs = results["podium"], results["pandas chunks"]
    same = (ours["kept"], ours["digest"]) == (theirs["kept"], theirs["digest"])
    print(
        json.dumps(
            {
                "claim": f"boxes are chosen from {rows:,} rows, and their neighbours counted, in little memory",
                "baseline": f"pandas chunks of the same columns: {theirs['seconds']} s, {theirs['peak_mb']} MB",
                "figure": {
                    "seconds": ours["seconds"],
                    "peak_mb": ours["peak_mb"],
                    "kept": ours["kept"],
                    "time_ratio": round(ours["seconds"] / theirs["seconds"], 2),
                    "same_boxes": same,
                },
                "target": f"no slower than the baseline, peak at most {MEMORY_MB} MB, the same boxes",
                "holds": same and ours["seconds"] <= theirs["seconds"] and ours["peak_mb"] <= MEMORY_MB,
                "unit": "seconds, MB of resident memory",
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
