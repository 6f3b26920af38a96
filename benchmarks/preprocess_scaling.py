"""Decoding on one and on two Ray nodes of one processor each: photographs a second, and whether shards are the same.

Command: python -m benchmarks.preprocess_scaling [--photographs 2000]

The photographs are drawn at 640 x 480 pixels and kept as JPEG; everything that `preprocess` computes of an image is
computed. The nodes are processes of this machine, each on a processor of its own; it needs two free ones. The clock
runs over the last four fifths of the images: until then all processes have started.
"""

import argparse
import io
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from PIL import Image

from podium.config.preprocess import Preprocess
from podium.core.files import sha256_tree
from podium.core.jobs import Cluster
from podium.core.layout import Layout
from podium.curation.decoding import decode_all
from podium.pipeline import preprocess
from tests.raw_images import RawFile, write_raw
from tests.ray_cluster import ray_cluster

LABELS = ("lemon", "orange")
SIDE = 128  # pixels of a prepared image


def photograph(number: int) -> bytes:
    """A JPEG file with as much detail as to be worth decoding; the same for the same number."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    stream = io.BytesIO()
    coarse.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def measured(root: Path, raw: list[RawFile], nodes: int) -> tuple[float, float, str]:
    """Photographs a second, seconds of the whole stage, and the digest of what it wrote."""
    layout = Layout(root)
    write_raw(layout, raw)
    speed = 0.0

    def timed(*arguments: object):  # type: ignore[no-untyped-def]
        nonlocal speed
        begun, done, counted = 0.0, 0, 0
        for batch in decode_all(*arguments):  # type: ignore[arg-type]
            yield batch
            done += len(batch)
            if not begun and done >= len(raw) / 5:
                begun, counted = time.perf_counter(), done
        speed = (done - counted) / (time.perf_counter() - begun)

    with ray_cluster(nodes, bound=True) as cluster, mock.patch.object(preprocess, "decode_all", timed):
        begun = time.perf_counter()
        where = Cluster(cluster.address, layout.root)
        preprocess.preprocess_dataset(layout, Preprocess(image_size=SIDE), 0, 0, where)
        seconds = time.perf_counter() - begun
    return speed, seconds, sha256_tree([layout.prepared], layout.root)


def main() -> int:
    """Prints both and their ratio; exit code 1 where the shards differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=2000)
    count = parser.parse_args().photographs
    labels = [LABELS[number % 2] for number in range(count)]
    raw = [RawFile(f"{label}/{number}.jpg", label, photograph(number)) for number, label in enumerate(labels)]
    found = {}
    with TemporaryDirectory() as folder:
        for nodes in (1, 2):
            found[nodes] = measured(Path(folder) / str(nodes), raw, nodes)
            speed, seconds, _ = found[nodes]
            print(f"{nodes} nodes: {speed:.0f} photographs/s; the whole stage {seconds:.1f} s", flush=True)
    same = found[1][2] == found[2][2]
    print(f"{found[2][0] / found[1][0]:.2f} times as fast; the shards are {'the same' if same else 'NOT the same'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
