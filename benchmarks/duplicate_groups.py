"""Seconds and memory to group 100,000 pictures beyond feature extraction: `python -m benchmarks.duplicate_groups`.

Signatures: real ones of the photographs in $PODIUM_REAL_DATA/flowers-photos.zip, whole and in four tiles, and of copies
planted of some; the rest is made from those. A made picture has a vector between those of two real pictures, with noise
(so that the share of pairs worth a look is printed and can be compared with that of the real ones), the thumbnail of
one of them in another brightness, and keypoints drawn from ten real pictures with the lower bits of the descriptors
flipped,
so that verifying costs what it costs for real ones. The signatures lie in a memory-mapped file, as in `preprocess`.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.copies import CHANGES, pictures
from podium.curation.near_duplicates import candidates, grouping
from podium.curation.near_duplicates.signature import RECORD, SIGNATURE_BYTES, VECTOR_TURNS, signature

PLANTED = 1000
TARGET_SECONDS, TARGET_GB = 300, 3


def main() -> int:
    """Prints the seconds of each part and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    folder = os.environ.get("PODIUM_REAL_DATA")
    if not folder:
        print("skipped: PODIUM_REAL_DATA does not name a folder with the archives", file=sys.stderr)
        return 0
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "signatures.bin"
        originals = _write(file, Path(folder) / "flowers-photos.zip", count)
        signatures = np.memmap(file, np.uint8, "r", shape=(count, SIGNATURE_BYTES))
        rate, pairs = _search(signatures)
        began = time.monotonic()
        found = grouping.group_duplicates([f"{row:016x}" for row in _shuffled(count)], signatures)
        seconds = time.monotonic() - began
    planted = found.first[count - len(originals) :] == found.first[originals]
    sizes = np.bincount(found.first)
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    search = rate * count**2
    verify = max(seconds - search, 0.0)
    print(
        f"find: {seconds:.0f} s (search {search:.0f} s, verification {verify:.0f} s of {pairs} pairs), "
        f"peak {gigabytes:.2f} GB of which the mapped file has {count * SIGNATURE_BYTES / 1e9:.2f}"
    )
    print(
        f"planted copies found: {planted.mean():.4f} of {len(planted)}; largest group {sizes.max()}, "
        f"{np.count_nonzero(sizes > 1)} groups"
    )
    for size in (1_000_000, 100_000_000):
        print(
            f"{size:>11,} pictures, from these parts: exact search {rate * size**2 / 3600:,.1f} h, verification "
            f"{verify * size / count / 3600:,.1f} h, file {size * SIGNATURE_BYTES / 1e9:,.0f} GB"
        )
    figure = {
        "seconds": round(seconds, 1),
        "peak_gb": round(gigabytes, 2),
        "planted_found": round(float(planted.mean()), 4),
    }
    print(
        json.dumps(
            {
                "claim": f"{count} photographs are grouped beyond feature extraction",
                "baseline": f"exact search of all pairs alone, {search:.0f} s",
                "figure": figure,
                "target": f"seconds <= {TARGET_SECONDS}, peak_gb <= {TARGET_GB}",
                "holds": seconds <= TARGET_SECONDS and gigabytes <= TARGET_GB,
                "unit": "s, GB (10^9 bytes)",
            }
        )
    )
    return 0


def _shuffled(count: int) -> NDArray[np.int64]:
    """Different numbers in a fixed disorder: digests do not follow the rows."""
    return np.random.default_rng(5).permutation(count)


def _search(signatures: NDArray[np.uint8]) -> tuple[float, int]:
    """Seconds per pair^2 of the candidate search, at half and at full size, and the pairs found at full size."""
    rate, pairs = 0.0, 0
    for count in (len(signatures) // 2, len(signatures)):
        vectors = signatures[:count].view(RECORD)[:, 0]["vector"].copy()
        began = time.monotonic()
        pairs = len(_neighbours(vectors).first)
        seconds = time.monotonic() - began
        rate = seconds / count**2
        print(f"search of {count:,}: {seconds:.1f} s, {rate * 1e9:.2f} ns per n^2, {pairs / count:.2f} pairs a picture")
    return rate, pairs


def _neighbours(vectors: NDArray[np.int16]) -> candidates.Pairs:
    """The search by vectors, of pictures that have keypoints enough."""
    none = np.zeros(len(vectors), np.bool_)
    return candidates.nearest_neighbours(vectors, VECTOR_TURNS, none, grouping.NEIGHBOURS, grouping.LEAST_PRODUCT)


def _write(file: Path, archive: Path, count: int) -> NDArray[np.int64]:
    """Fills the file; returns the rows of the originals of the planted copies, which come last in it."""
    rng = np.random.default_rng(0)
    _, images = pictures(archive)
    whole = len(images)
    for image in images[:whole]:
        x, y = image.width // 2, image.height // 2
        images += [image.crop((a, b, a + x, b + y)) for a in (0, x) for b in (0, y)]
    began = time.monotonic()
    real = np.stack([signature(image) for image in images]).view(RECORD)[:, 0]
    print(f"{len(real)} real signatures, {(time.monotonic() - began) / len(real) * 1e3:.1f} ms each")
    vectors = real["vector"].copy()
    found = _neighbours(vectors)
    print(f"search of the real {len(real):,}: {len(found.first) / len(real):.2f} pairs a picture")
    originals = rng.choice(whole, min(PLANTED, whole), replace=False)
    changes = list(CHANGES.values())
    copies = np.stack([signature(changes[n % len(changes)](images[at])) for n, at in enumerate(originals)])
    with file.open("wb") as stream:
        stream.write(real.tobytes())
        left = count - len(real) - len(copies)
        while left > 0:
            made = _made(real, min(left, 2000), rng)
            stream.write(made.tobytes())
            left -= len(made)
        stream.write(copies.tobytes())
    return originals


def _made(real: NDArray[np.void], count: int, rng: np.random.Generator) -> NDArray[np.void]:
    """Signatures of pictures that do not exist."""
    one, other = rng.integers(0, len(real), (2, count))
    made: NDArray[np.void] = real[one].copy()
    weight = rng.uniform(0.3, 0.7, (count, 1))
    vector = weight * real["vector"][one] + (1 - weight) * real["vector"][other]
    spread = np.abs(real["vector"].astype(np.float64)).mean(0)  # low frequencies vary most
    vector += rng.normal(0, 0.6, vector.shape) * spread
    made["vector"] = np.round(vector * (2040 / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1)))
    made["thumbnail"] = np.clip(real["thumbnail"][other] * rng.uniform(0.5, 1.2, (count, 1, 1, 1)), 0, 255)
    mine, theirs = made["keypoints"], real["keypoints"]
    places = mine["at"].shape[1]
    pools = rng.integers(0, len(real), (count, 10))
    source = np.take_along_axis(pools, rng.integers(0, 10, (count, places)), axis=1)
    keypoint = (rng.random((count, places)) * np.maximum(theirs["count"][source], 1)).astype(np.int64)
    mine["count"], mine["at"] = places, theirs["at"][source, keypoint]
    descriptors = theirs["descriptors"][source, keypoint]
    low = rng.random((*descriptors.shape, 8), dtype=np.float32) < np.array([0, 0, 0.05, 0.2] * 2)
    mine["descriptors"] = descriptors ^ np.packbits(low, axis=-1)[..., 0]
    return made


if __name__ == "__main__":
    sys.exit(main())
