"""Near duplicates among more pictures than can all be compared: `python -m benchmarks.approximate_duplicates`.

`recall`: candidates by vector of 100,000 real pictures (CIFAR-10's 60,000 in $PODIUM_REAL_DATA/cifar10-jpeg.zip and
40,000 changed copies), as the index finds them against the search of all pairs. `million`: 1,000,000 drawn signatures
are grouped, 1,000 of them copies. A drawn picture has waves with amplitudes that fall as those of photographs do, a
thumbnail made of these waves, and keypoints with numbers drawn as those of SIFT are spread. The signatures lie in a
memory-mapped file of 14 GB below --folder, as in `preprocess`.
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
from scipy.fft import idctn

from benchmarks.copies import CHANGES, LARGE_CHANGES, pictures
from podium.curation.near_duplicates import grouping
from podium.curation.near_duplicates.approximate import approximate_neighbours
from podium.curation.near_duplicates.candidates import Pairs, nearest_neighbours
from podium.curation.near_duplicates.signature import RECORD, SIGNATURE_BYTES, VECTOR_TURNS, signature

COPIES, PLANTED = 40_000, 1000
TARGET_RECALL, TARGET_FOUND, TARGET_SECONDS, TARGET_GB = 0.999, 0.99, 1200, 6
_AT_ONCE = 4000
_GRID, _KEYPOINTS = 16, 120
_DETAIL = 25.0  # grey levels: about half of the pairs have thumbnails that are alike, as of CIFAR-10's pictures


def main() -> int:
    """Prints what was measured and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("recall", "million"))
    parser.add_argument("--images", type=int, default=1_000_000, help="of `million`")
    parser.add_argument("--folder", type=Path, help="for large files; by default the system's")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.part == "million":
        return _group(given.images, given.folder)
    data = os.environ.get("PODIUM_REAL_DATA")
    if not data:
        print("skipped: PODIUM_REAL_DATA does not name a folder with the archives", file=sys.stderr)
        return 0
    return _compare(_vectors(Path(data) / "cifar10-jpeg.zip"))


def _vectors(archive: Path) -> NDArray[np.int16]:
    """Those of all pictures and of the copies."""
    _, images = pictures(archive)
    rng, changes = np.random.default_rng(1), list({**CHANGES, **LARGE_CHANGES}.values())
    originals = rng.choice(len(images), COPIES, replace=False)
    copies = (changes[number % len(changes)](images[at]) for number, at in enumerate(originals))
    vectors = np.empty((len(images) + COPIES, *RECORD["vector"].shape), np.int16)
    for row, image in enumerate((*images, *copies)):
        vectors[row] = signature(image).view(RECORD)[0]["vector"]
    return vectors


def _compare(vectors: NDArray[np.int16]) -> int:
    """Searches the same vectors both ways."""
    few = np.zeros(len(vectors), np.bool_)
    limits = (few, grouping.NEIGHBOURS, grouping.LEAST_PRODUCT)
    began = time.process_time()
    exact = nearest_neighbours(vectors, VECTOR_TURNS, *limits)
    exact_seconds, began = time.process_time() - began, time.process_time()
    found = approximate_neighbours(vectors, VECTOR_TURNS, *limits)
    seconds = time.process_time() - began
    wanted, have = (_codes(pairs, len(vectors)) for pairs in (exact, found))
    hit = np.isin(wanted, have)
    for cosine in (0.75, 0.8, 0.85, 0.9, 0.95):
        some = exact.likeness >= cosine * 2040**2
        print(f"cosine of {cosine} and more: {hit[some].mean():.5f} of {np.count_nonzero(some)} pairs")
    recall = round(float(hit.mean()), 5)
    _say(
        f"candidates of {len(vectors)} real pictures and copies, as all pairs compared give them",
        f"all pairs compared: {exact_seconds:.0f} s of CPU, {len(wanted)} pairs",
        {"recall": recall, "cpu_s": round(seconds)},
        f"recall >= {TARGET_RECALL}",
        recall >= TARGET_RECALL,
    )
    return 0


def _codes(pairs: Pairs, count: int) -> NDArray[np.int64]:
    """A number for each pair and symmetry."""
    return (pairs.first * count + pairs.second) * len(VECTOR_TURNS) + pairs.symmetry


def _group(count: int, folder: Path | None) -> int:
    """Groups drawn signatures."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        file = Path(scratch) / "signatures.bin"
        began = time.monotonic()
        originals = _write(file, count)
        print(f"drawn in {time.monotonic() - began:.0f} s", flush=True)
        signatures = np.memmap(file, np.uint8, "r", shape=(count, SIGNATURE_BYTES))
        sha256 = [f"{row:016x}" for row in np.random.default_rng(5).permutation(count)]  # not in the order of rows
        before, began = time.process_time(), time.monotonic()
        found = grouping.group_duplicates(sha256, signatures, folder=Path(scratch))
        seconds, cpu = time.monotonic() - began, time.process_time() - before
    planted = float((found.first[count - len(originals) :] == found.first[originals]).mean())
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sizes = np.bincount(found.first)
    print(f"{np.count_nonzero(sizes > 1)} groups, the largest of {sizes.max()}, {len(found.links.first)} links")
    _say(
        f"{count} signatures are grouped",
        "100,000 whose pairs are all compared: `benchmarks.duplicate_groups`",
        {"seconds": round(seconds), "cpu_s": round(cpu), "peak_gb": round(gigabytes, 2), "planted_found": planted},
        f"seconds <= {TARGET_SECONDS}, peak_gb <= {TARGET_GB}, planted_found >= {TARGET_FOUND}",
        seconds <= TARGET_SECONDS and gigabytes <= TARGET_GB and planted >= TARGET_FOUND,
    )
    return 0


def _say(claim: str, baseline: str, figure: dict[str, float], target: str, holds: bool) -> None:
    """Prints the JSON line."""
    unit = "fraction; s; GB (10^9 bytes)"
    line = {"claim": claim, "baseline": baseline, "figure": figure, "target": target, "holds": holds, "unit": unit}
    print(json.dumps(line))


def _write(file: Path, count: int) -> NDArray[np.int64]:
    """Fills the file; returns the rows of the originals of the copies, which come last in it."""
    rng = np.random.default_rng(0)
    masks = np.packbits(rng.random((2**16, 64, 8)) < np.array([0, 0, 0.02, 0.05] * 2), axis=-1)[..., 0]
    originals = np.sort(rng.choice(count - PLANTED, PLANTED, replace=False))
    with file.open("wb") as stream:
        for start in range(0, count - PLANTED, _AT_ONCE):
            _drawn(min(_AT_ONCE, count - PLANTED - start), rng).tofile(stream)
    records = np.memmap(file, np.uint8, "r", shape=(count - PLANTED, SIGNATURE_BYTES)).view(RECORD)[:, 0]
    copies = records[originals]
    copies["vector"] += np.round(rng.normal(0, 12, copies["vector"].shape)).astype(np.int16)
    chosen = masks[rng.integers(0, len(masks), copies["keypoints"]["descriptors"].shape[:2])]
    copies["keypoints"]["descriptors"] ^= chosen
    with file.open("ab") as stream:
        copies.tofile(stream)
    return originals


_down, _across = np.mgrid[0:_GRID, 0:_GRID]
_FALL = 1 / np.maximum(np.hypot(_down, _across), 1) ** 1.3
_ORDERS = [np.argwhere((_down + _across > 0) & (_down + _across < limit)) for limit in (8, 5, 5)]


def _drawn(count: int, rng: np.random.Generator) -> NDArray[np.void]:
    """Signatures of pictures that do not exist."""
    made = np.zeros(count, RECORD)
    waves = np.zeros((count, _GRID, _GRID, 3), np.float32)
    parts = []
    for channel, places in enumerate(_ORDERS):
        down, across = places.T
        strength = (1.0, 0.4, 0.4)[channel] * _FALL[down, across]
        part = rng.standard_normal((count, len(places)), np.float32) * strength
        waves[:, down, across, channel] = part
        parts.append(part)
    vectors = np.concatenate(parts, axis=1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    made["vector"] = np.round(vectors * (2040 / length))
    # ten times as strong as a vector of length 1, and lightness from 35 to 65 on the whole
    lab = idctn(waves / length[..., None, None] * np.float32(300), axes=(1, 2), norm="ortho")
    lab[..., 0] += rng.uniform(35, 65, (count, 1, 1))
    rgb = cv2.cvtColor(lab.reshape(count * _GRID, _GRID, 3).astype(np.float32), cv2.COLOR_LAB2RGB)
    small = (np.clip(rgb, 0, 1) * 255).reshape(count, _GRID, _GRID, 3).astype(np.int16)
    small += np.round(_DETAIL * rng.standard_normal((count, _GRID, _GRID, 1), np.float32)).astype(np.int16)
    made["thumbnail"] = np.clip(small, 0, 255).repeat(2, axis=1).repeat(2, axis=2)
    made["keypoints"]["count"] = _KEYPOINTS
    made["keypoints"]["at"][:, :_KEYPOINTS] = rng.integers(8, 248, (count, _KEYPOINTS, 2), np.uint8)
    # SIFT's numbers, rooted and in 4 bits: many near 0, few large ones
    levels = np.minimum(rng.standard_exponential((2**16, 64, 2), np.float32) * 3.2, 15).astype(np.uint8)
    pool = levels[..., 0] << 4 | levels[..., 1]
    one, other = pool[rng.integers(0, len(pool), (2, count, _KEYPOINTS))]
    made["keypoints"]["descriptors"][:, :_KEYPOINTS, :32] = one[..., :32]
    made["keypoints"]["descriptors"][:, :_KEYPOINTS, 32:] = other[..., 32:]
    return made


if __name__ == "__main__":
    sys.exit(main())
