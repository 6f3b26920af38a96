"""Peak memory of `preprocess` over ten times the images: `python -m benchmarks.preprocess_memory [SMALL LARGE]`.

Images are tiny generated JPEGs of two classes at 32 pixels; the whole verb runs (decoding in two processes, measures,
duplicates, splits, shards). The peak is the sum of the proportional set sizes (PSS, pages shared by processes count
once) of the stage and all its processes, sampled ten times a second.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from podium.config.dataset import Fetch, FolderDataset
from podium.core.layout import Layout
from podium.pipeline.fetch import fetch_dataset

SIDE = 32
CLASSES = ("lemon", "orange")
TARGET = 1.3
STAGE = """
import sys
from pathlib import Path
from podium.config.preprocess import Preprocess
from podium.core.layout import Layout
from podium.pipeline import preprocess

if __name__ == "__main__":
    preprocess.preprocess_dataset(Layout(Path(sys.argv[1])), Preprocess(image_size=32), seed=0, workers=2)
"""


def write_raw(root: Path, count: int) -> None:
    """A raw dataset as `fetch` leaves it, of a folder of generated images."""
    photos = root / "data" / "photos"
    for label in CLASSES:
        (photos / label).mkdir(parents=True)
    for number in range(count):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image.save(photos / CLASSES[number % 2] / f"{number:07d}.jpg")
    fetch_dataset(Layout(root), FolderDataset(location="data/photos", licence="CC0-1.0"), Fetch(), {})


def peak(count: int) -> tuple[int, float]:
    """Bytes at the peak and seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_raw(root, count)
        script = root / "stage.py"
        script.write_text(STAGE, encoding="utf-8")
        began, most = time.perf_counter(), 0
        with subprocess.Popen([sys.executable, str(script), folder], stdout=subprocess.DEVNULL) as stage:
            while stage.poll() is None:
                most = max(most, sum(map(proportional, tree(stage.pid))))
                time.sleep(0.1)
        if stage.returncode:
            raise SystemExit(f"preprocess of {count} images failed")
        return most, time.perf_counter() - began


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(below for child in children for below in tree(int(child)))]


def proportional(pid: int) -> int:
    """Bytes of anonymous and mapped memory, shared pages divided by their users; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def main() -> int:
    """Measures and prints one line of JSON."""
    small, large = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (10_000, 100_000)
    (before, seconds), (after, longer) = peak(small), peak(large)
    ratio = after / before
    print(
        f"{small} images: {before / 2**20:.0f} MiB, {seconds:.0f} s; {large}: {after / 2**20:.0f} MiB, {longer:.0f} s"
    )
    print(
        json.dumps(
            {
                "claim": f"preprocessing {large} images takes at most {TARGET} times the peak memory of {small}",
                "baseline": f"{before / 2**20:.0f} MiB with {small} images",
                "figure": round(ratio, 3),
                "target": TARGET,
                "holds": ratio <= TARGET,
                "unit": "ratio of peak memory of all processes",
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
