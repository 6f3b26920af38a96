"""Decoding, resizing to 224 pixels, padding and writing, against a plain OpenCV loop.

`PODIUM_REAL_DATA=folder python -m benchmarks.preprocess_speed`

Three ways over the same photographs (`$PODIUM_REAL_DATA/flowers-photos.zip`), each with two processes, in turns:

- floor: JPEG decoding alone (Pillow, what Podium decodes with), nothing kept;
- baseline: `cv2.imread`, `cv2.resize` with INTER_AREA, padding, in a `multiprocessing.Pool`, results in one `.npy`;
- Podium: `decode_all` without features, then `write_shards`; also once with everything that `preprocess` computes.

The time to start processes and import libraries is left out for all of them: it is paid once a stage (and printed).
Each way has the median of its rounds.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from podium.core.records.preprocess import Preprocessing
from podium.curation.decoding import FEATURES, Feature, Job, RawImage, decode_all
from podium.curation.placing import Packed, write_shards
from podium.curation.scratch import Scratch
from podium.data.raw import RawWriter

SIDE = 224
WORKERS = 2
ROUNDS = 5
CHUNK = 64
HOW = Preprocessing(image_size=SIDE, pad_value=114, max_pixels=50_000_000)


def decode_only(path: str) -> int:
    """The floor: one JPEG to pixels."""
    with Image.open(BytesIO(Path(path).read_bytes())) as image:
        image.load()
        return image.width


def load(path: str) -> NDArray[np.uint8]:
    """The baseline: one photograph as a padded square."""
    image = cv2.imread(path)
    if image is None:
        raise ValueError(path)
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    square = np.full((SIDE, SIDE, 3), 114, np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def floor(pool: Pool, paths: list[str]) -> float:
    """Seconds of decoding alone."""
    began = time.perf_counter()
    for _ in pool.imap(decode_only, paths, CHUNK):
        pass
    return time.perf_counter() - began


def baseline(pool: Pool, paths: list[str], target: Path) -> float:
    """Seconds of the plain loop."""
    began = time.perf_counter()
    images = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    for number, image in enumerate(pool.imap(load, paths, CHUNK)):
        images[number] = image
    np.save(target, images)
    return time.perf_counter() - began


def podium(raw: Path, images: list[RawImage], work: Path, features: frozenset[Feature]) -> tuple[float, float]:
    """Seconds of Podium once its processes work, and seconds until then.

    The first batches come when both processes have started; their images are not counted.
    """
    scratch = Scratch(work, len(images), SIDE)
    scratch.allocate()
    start = time.perf_counter()
    readings = []
    began = start
    for number, batch in enumerate(decode_all(Job(raw, scratch, HOW, features=features), images, WORKERS)):
        readings += batch
        if number == 0:
            began, uncounted = time.perf_counter(), len(batch) * WORKERS
    packed = Packed(
        pixels=scratch.pixels(),
        side=SIDE,
        row=np.array([r.row for r in readings]),
        height=np.array([r.content_height for r in readings]),
        width=np.array([r.content_width for r in readings]),
        fill=np.array([r.fill for r in readings], np.uint8),
    )
    write_shards(work, packed, [], None)
    seconds = time.perf_counter() - began
    for path in work.glob("images-*.npy"):
        path.unlink()
    return seconds * len(images) / (len(images) - uncounted), began - start


def started() -> Pool:
    """A pool whose processes have begun to work."""
    pool = multiprocessing.get_context("fork").Pool(WORKERS, cv2.setNumThreads, (1,))
    pool.map(abs, range(WORKERS * 8), 1)
    return pool


def measured(photographs: list[bytes], work: Path) -> dict[str, list[float]]:
    """Seconds of each way, round by round."""
    paths = []
    raw = work / "raw"
    raw.mkdir()
    writer = RawWriter(raw)
    images = []
    for number, data in enumerate(photographs):
        path = work / f"{number:06d}.jpg"
        path.write_bytes(data)
        paths.append(str(path))
        images.append(RawImage(number, writer.add(f"{number:016x}", data), f"{number:016x}"))
    writer.close()
    seconds: dict[str, list[float]] = {"floor": [], "baseline": [], "podium": [], "podium in full": [], "start": []}
    for turn in range(ROUNDS):
        with started() as pool:
            seconds["floor"].append(floor(pool, paths))
            seconds["baseline"].append(baseline(pool, paths, work / "baseline.npy"))
        one, start = podium(raw, images, work, frozenset())
        seconds["podium"].append(one)
        seconds["start"].append(start)
        if turn == 0:
            seconds["podium in full"].append(podium(raw, images, work, FEATURES)[0])
        print(", ".join(f"{name} {values[-1]:.2f} s" for name, values in seconds.items()), flush=True)
    return seconds


def main() -> int:
    """Measures and prints one line of JSON."""
    archive = Path(os.environ["PODIUM_REAL_DATA"]) / "flowers-photos.zip"
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        photographs = [packed.read(name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        seconds = measured(photographs, Path(folder))
    middle: dict[str, float] = {name: statistics.median(values) for name, values in seconds.items()}

    def rate(name: str) -> float:
        return round(len(photographs) / middle[name], 1)

    against, of_floor = middle["baseline"] / middle["podium"], middle["floor"] / middle["podium"]
    print(
        json.dumps(
            {
                "claim": f"{len(photographs)} photographs decoded, padded to {SIDE} px and written faster than by a "
                "plain OpenCV loop with the same two processes",
                "baseline": f"{rate('baseline')} images a second (decoding alone: {rate('floor')})",
                "figure": {
                    "times_baseline": round(against, 3),
                    "share_of_floor": round(of_floor, 3),
                    "images_per_second": rate("podium"),
                    "images_per_second_with_all_features": rate("podium in full"),
                    "seconds_to_start": round(middle["start"], 2),
                },
                "target": {"times_baseline": 1.5, "share_of_floor": 0.7},
                "holds": against >= 1.5 and of_floor >= 0.7,
                "unit": "ratio of throughputs",
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
