"""Decoding, resizing to 224 pixels, padding and writing, against a plain OpenCV loop.

`PODIUM_REAL_DATA=folder python -m benchmarks.preprocess_speed`

Three ways over the same photographs (`$PODIUM_REAL_DATA/flowers-photos.zip`), each with two processes, in turns:

- floor: JPEG decoding alone (Pillow, what Podium decodes with), nothing kept;
- baseline: `cv2.imread`, `cv2.resize` with INTER_AREA, padding, in a `multiprocessing.Pool`, results in one `.npy`;
- Podium: `decode_all` without features, then `write_shards`; also once with everything that `preprocess` computes.

- `--again`, alone: what another run of `preprocess` costs with what the first kept (`resources.decoded_gib`): images
  decoded and seconds of the processor, for a first run, one with the same images, and one with 1 % more.

The time to start processes and import libraries is left out for all of them: it is paid once a stage (and printed).
Each way has the median of its rounds. Then comes a profile: CPU time of each part in one process, the least of its
rounds, for Podium and for the plain loop.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import BytesIO
from multiprocessing.pool import Pool
from pathlib import Path
from typing import TypeVar
from unittest import mock

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from podium.config.preprocess import Preprocess, Preprocessing
from podium.core.files import sha256_tree
from podium.core.layout import WORK, Layout
from podium.curation import decoding
from podium.curation.decode_cache import DecodeCache
from podium.curation.decoding import DecodeJob, Decoder, RawImage, Reading, decode_all
from podium.curation.temporary_arrays import TemporaryArrays, write_shards
from podium.data.colour import to_srgb
from podium.data.decode import decode
from podium.data.manifest import RawImages, RawWriter
from podium.data.preprocess import least_side, resize
from podium.pipeline import preprocess
from podium.records.base import read_parquet
from tests.raw_images import RawFile, write_raw

SIDE = 224
WORKERS = 2
ROUNDS = 5
CHUNK = 32
TIMES_OVER = 2  # the photographs, so that the start and the last batches weigh less
T = TypeVar("T")
R = TypeVar("R")
HOW = Preprocessing(image_size=SIDE, pad_value=114, max_pixels=50_000_000)


def decode_only(path: str) -> int:
    """The floor: one JPEG to pixels."""
    return pillow(Path(path).read_bytes())


def pillow(data: bytes) -> int:
    """Decodes with Pillow."""
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image.width


def imread(path: str) -> NDArray[np.uint8]:
    """Reads and decodes with OpenCV."""
    image = cv2.imread(path)
    if image is None:
        raise ValueError(path)
    return np.asarray(image, np.uint8)


def resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fits the square, with OpenCV's filter for shrinking."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def padded(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """In the middle of the square."""
    height, width = small.shape[:2]
    square = np.full((SIDE, SIDE, 3), HOW.pad_value, np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    square[top : top + height, left : left + width] = small
    return square


def load(path: str) -> NDArray[np.uint8]:
    """The baseline: one photograph as a padded square."""
    return padded(resized(imread(path)))


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


def podium(raw: Path, images: list[RawImage], work: Path, features: bool) -> tuple[float, float]:
    """Seconds of Podium once its processes work, and seconds until the first of them does.

    The second process may come later, so the first fifth of the images is not timed but reckoned at the speed of the
    others; so is a batch that the other process may have been at.
    """
    for path in work.glob("*.bin"):
        path.unlink()  # rows that are there would not have to be made
    arrays = TemporaryArrays(work, len(images), SIDE)
    arrays.allocate()
    start = time.perf_counter()
    readings: list[Reading] = []
    first, began, untimed = 0.0, start, 0
    for batch in decode_all(DecodeJob(raw, arrays, HOW, features=features), images, WORKERS):
        readings += batch
        first = first or time.perf_counter() - start
        if not untimed and len(readings) >= len(images) / 5:
            began, untimed = time.perf_counter(), len(readings) + len(batch)
    decoding = (time.perf_counter() - began) * len(images) / (len(images) - untimed)
    began = time.perf_counter()
    write_shards(work, pd.DataFrame(readings).assign(image_id="", label=""), arrays, None)
    writing = time.perf_counter() - began
    for path in work.glob("images-*.npy"):
        path.unlink()
    return decoding + writing, first


def profile(raw: Path, images: list[RawImage], paths: list[str], work: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU time an image in one process, part by part: what Podium does and what the plain loop does."""
    import torch  # here, because the processes of the plain loop are copies of this one

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chosen = images[:: 4 * TIMES_OVER]
    arrays = TemporaryArrays(work, len(images), SIDE)
    arrays.allocate()
    store = RawImages(raw)
    least: dict[str, float] = {}

    def timed(part: str, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Results for all items; notes milliseconds of the processor a photograph, the least of all rounds."""
        taken = list(items)
        began = time.process_time()
        made = [function(item) for item in taken]
        spent = (time.process_time() - began) * 1000 / len(chosen)
        least[part] = min(spent, least.get(part, spent))
        return made

    for _ in range(ROUNDS):
        files = timed("read from the shard", lambda image: store.read(image.shard, image.photo_id), chosen)
        timed("JPEG decoding", pillow, files)
        # memory is let go at once, as in the stage; new memory has a price of its own
        timed("decode", lambda data: decode(data, HOW.max_pixels, least_side(HOW)).width, files)
        decoded = [decode(data, HOW.max_pixels, least_side(HOW)) for data in files]
        timed("pixels to NumPy", lambda one: np.asarray(one.image).size, decoded)
        decoded_pixels = [np.asarray(one.image) for one in decoded]
        contents = timed("resizing", lambda pixels: resize(pixels, HOW), decoded_pixels)
        coloured = [(Image.fromarray(c.pixels), d.profile) for c, d in zip(contents, decoded, strict=True) if d.profile]
        timed("colour profile to sRGB", lambda both: np.array(to_srgb(*both)), coloured)
        timed("store", lambda piece: arrays.pixels.write(*piece), enumerate(one.pixels for one in contents))
        shapes = [(n, *c.pixels.shape[:2], tuple(c.fill.tolist())) for n, c in enumerate(contents)]
        readings = [Reading(n, content_height=h, content_width=w, fill=fill) for n, h, w, fill in shapes]
        tables = [pd.DataFrame(readings).assign(image_id="", label="")]
        timed("place and write", lambda table: write_shards(work, table, arrays, None), tables)
        timed("imread", lambda path: imread(path).size, paths[:: 4 * TIMES_OVER])
        small = timed("INTER_AREA", resized, map(imread, paths[:: 4 * TIMES_OVER]))
        timed("pad", padded, small)
    least["headers, orientation, kind of profile"] = least.pop("decode") - least["JPEG decoding"]
    rounded = {part: round(spent, 3) for part, spent in least.items()}
    loop = {part: rounded.pop(part) for part in ("imread", "INTER_AREA", "pad")}
    return {"podium": rounded, "plain loop": loop}


def started() -> Pool:
    """A pool whose processes have begun to work."""
    pool = multiprocessing.get_context("fork").Pool(WORKERS, cv2.setNumThreads, (1,))
    pool.map(abs, range(WORKERS * 8), 1)
    return pool


def measured(photographs: list[bytes], work: Path) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Seconds of each way, round by round, and the profile."""
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
    images = [replace(image, row=number) for number, image in enumerate(images * TIMES_OVER)]
    paths *= TIMES_OVER
    seconds: dict[str, list[float]] = {"floor": [], "baseline": [], "podium": [], "podium in full": [], "start": []}
    for turn in range(ROUNDS):
        with started() as pool:
            seconds["floor"].append(floor(pool, paths))
            seconds["baseline"].append(baseline(pool, paths, work / "baseline.npy"))
        one, start = podium(raw, images, work, features=False)
        seconds["podium"].append(one)
        seconds["start"].append(start)
        if turn == 0:
            seconds["podium in full"].append(podium(raw, images, work, features=True)[0])
        print(", ".join(f"{name} {values[-1]:.2f} s" for name, values in seconds.items()), flush=True)
    return seconds, profile(raw, images, paths, work)


def again(archive: Path) -> int:
    """Runs `preprocess` in this process: cold, unchanged, with 1 % more images, and these without what was kept."""
    with zipfile.ZipFile(archive) as packed:
        names = sorted(name for name in packed.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        files = [RawFile(name, Path(name).parent.name, packed.read(name)) for name in names]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, count, kept in (
            ("cold", len(files) * 100 // 101, ""),
            ("unchanged", len(files) * 100 // 101, "cold"),
            ("1 % more", len(files), "unchanged"),
            ("all, cold", len(files), ""),
        ):
            layout = Layout(Path(folder) / name)
            write_raw(layout, files[-count:])
            if kept:
                (Path(folder) / kept / WORK).rename(layout.work)
            rows[name] = _spent(layout)
            print(f"{name:<10} {json.dumps(rows[name])}", flush=True)
    same = rows["1 % more"]["sha256"] == rows["all, cold"]["sha256"]
    share = rows["1 % more"]["decoding"] / rows["all, cold"]["decoding"]  # type: ignore[operator]
    print(f"1 % more: {share:.1%} of the decoding of a cold run, {'the same' if same else 'NOT the same'} files")
    return 0 if same else 1


def _spent(layout: Layout) -> dict[str, object]:
    """Images decoded, seconds of the processor in all, for decoding, and for keeping it; bytes kept an image."""
    taken = {"keeping": 0.0, "decoding": 0.0, "decoded": 0}

    def clocked(key: str, function: Callable[..., R]) -> Callable[..., R]:
        def timed(*arguments: object) -> R:
            began = time.process_time()
            try:
                return function(*arguments)
            finally:
                taken[key] += time.process_time() - began

        return timed

    def read(decoder: Decoder, batch: list[RawImage]) -> list[Reading]:
        taken["decoded"] += len(batch)
        return reading(decoder, batch)

    reading = clocked("decoding", Decoder.__call__)
    began = time.process_time()
    with (
        mock.patch.object(Decoder, "__call__", read),
        mock.patch.object(DecodeCache, "__init__", clocked("keeping", DecodeCache.__init__)),
        mock.patch.object(DecodeCache, "add", clocked("keeping", DecodeCache.add)),
        mock.patch.object(DecodeCache, "finish", clocked("keeping", DecodeCache.finish)),
        mock.patch.object(decoding, "content_sha256", clocked("keeping", decoding.content_sha256)),
    ):
        preprocess.preprocess_dataset(layout, Preprocess(image_size=SIDE), seed=0, workers=0, decoded_gib=64)
    seconds = {"cpu_seconds": time.process_time() - began, **taken}
    blocks = sum(file.stat().st_blocks for file in layout.decoded.rglob("*") if file.is_file())
    images = len(read_parquet(layout.manifest, ["image_id"]))
    return {
        "images": images,
        **{key: round(value, 2) for key, value in seconds.items()},
        "kB_an_image": round(blocks * 512 / images / 1000, 1),
        "sha256": sha256_tree([layout.prepared], layout.prepared)[:16],
    }


def main() -> int:
    """Measures and prints one line of JSON."""
    archive = Path(os.environ["PODIUM_REAL_DATA"]) / "flowers-photos.zip"
    if sys.argv[1:] == ["--again"]:
        return again(archive)
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        photographs = [packed.read(name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        seconds, parts = measured(photographs, Path(folder))
    for name, spent in parts.items():
        print(f"{name}, ms of CPU an image: {sum(spent.values()):.2f} = {json.dumps(spent)}")
    middle: dict[str, float] = {name: statistics.median(values) for name, values in seconds.items()}

    def rate(name: str) -> float:
        return round(len(photographs) * TIMES_OVER / middle[name], 1)

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
