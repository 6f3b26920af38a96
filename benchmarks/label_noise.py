"""How well the share of wrong labels is estimated, and which are found: `python -m benchmarks.label_noise [PROJECT]`.

PROJECT is a folder in which `dvc repro validate` has run on the sample (this checkout by default); 5,000 images of
CIFAR-10 and 1,250 photographs of flowers are added where `PODIUM_REAL_DATA` names their folder. Labels are replaced by
others at random, or by that of the next class (`pairs`); two seeds each. The baseline is cleanlab's confident learning
with the same probabilities.

`--zip FILE...` measures photographs of your own instead, in folders of classes at 64 pixels; what lies below `test/` is
left out.
"""

import argparse
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from PIL import Image, ImageOps

from podium.core.layout import Layout
from podium.curation import linear_probe
from podium.curation.label_noise import true_labels
from podium.data.shards import open_for_fitting
from podium.records.base import read_parquet

SHARES, SEEDS, CIFAR_IMAGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3), 2, 5000
TARGET = 0.05

Set = tuple[str, NDArray[np.float32], NDArray[np.float32], pd.Series, pd.Series]
"""Name, features, features of the mirrored images, labels, groups of copies."""


def sets(project: Path, zips: list[Path]) -> Iterator[Set]:
    """The zips, or the sample, and real images where there are any."""
    for zipped in zips:
        yield zipped.stem, *_from_archive(zipped, 64)
    if zips:
        return
    layout = Layout(project)
    splits = [open_for_fitting(layout.prepared, split) for split in ("train", "val")]
    drawn = linear_probe.draw_images(splits, read_parquet(layout.manifest), read_parquet(layout.measures))
    yield "sample", drawn.appearance, drawn.mirrored, drawn.rows["label"], drawn.rows["split_group"]
    real = os.environ.get("PODIUM_REAL_DATA")
    for name, file, side in (("cifar-10", "cifar10-jpeg.zip", 32), ("flowers", "flowers-photos.zip", 64)):
        if real:
            yield name, *_from_archive(Path(real) / file, side)


def _from_archive(archive: Path, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32], pd.Series, pd.Series]:
    """Features of a draw of images, shrunk to `side` pixels and padded with grey."""
    with zipfile.ZipFile(archive) as packed:
        names = sorted(
            name for name in packed.namelist() if name.lower().endswith(".jpg") and "test" not in name.split("/")
        )
        chosen = sorted(np.random.default_rng(0).permutation(names)[:CIFAR_IMAGES].tolist())
        appearance, mirrored = [], []
        for name in chosen:
            with Image.open(io.BytesIO(packed.read(name))) as image:
                picture = np.asarray(ImageOps.pad(image.convert("RGB"), (side, side), color=(114, 114, 114)))
            appearance.append(linear_probe.describe(picture))
            mirrored.append(linear_probe.describe(np.ascontiguousarray(picture[:, ::-1])))
    labels = pd.Series([name.split("/")[-2] for name in chosen])
    return np.stack(appearance), np.stack(mirrored), labels, pd.Series(chosen)


def planted(labels: pd.Series, kind: str, share: float, seed: int) -> pd.Series:
    """The labels with a share of them replaced."""
    random, names, out = np.random.default_rng(seed), sorted(labels.unique()), labels.to_numpy(copy=True)
    for at in random.choice(len(out), int(share * len(out)), replace=False):
        step = 1 if kind == "pairs" else int(random.integers(1, len(names)))
        out[at] = names[(names.index(out[at]) + step) % len(names)]
    return pd.Series(out)


def scores(found: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """Recall and precision."""
    right = int((found & wrong).sum())
    return right / max(1, int(wrong.sum())), right / max(1, int(found.sum()))


def measure(one: Set, kind: str, share: float) -> list[float]:
    """Estimate, candidates, recall, precision, then cleanlab's candidates, recall, precision; means of the seeds."""
    _, features, mirrored, labels, groups = one
    rows = []
    for seed in range(SEEDS):
        given = planted(labels, kind, share, seed)
        judged = linear_probe.cross_validate(features, given, groups, folds=5, seed=0, mirrored=mirrored)
        if judged is None:
            raise RuntimeError("too few images")
        wrong = (given != labels.to_numpy()).to_numpy()[judged.rows]
        doubt = 1 - true_labels(judged.probabilities, judged.codes)[np.arange(len(wrong)), judged.codes]
        issues = find_label_issues(judged.codes, judged.probabilities, filter_by="both", n_jobs=1)
        named = doubt > 0.5
        rows.append(
            [doubt.mean(), named.mean(), *scores(named, wrong), issues.mean(), *scores(issues, wrong), wrong.mean()]
        )
    return [float(value) for value in np.mean(rows, axis=0)]


def main() -> int:
    """Prints a line for each set, kind and share, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path, nargs="?", default=Path.cwd())
    parser.add_argument("--zip", type=Path, nargs="+", default=[], help="folders of classes, instead of the sample")
    given = parser.parse_args()
    print(f"{'set':<10}{'kind':<8}{'planted':>8}{'estimate':>10}{'named':>7}{'recall':>8}{'precision':>10}   cleanlab")
    off = {"random": 0.0, "pairs": 0.0}
    for one in sets(given.project, given.zip):
        for kind, share in [("random", share) for share in SHARES] + [("pairs", share) for share in SHARES[1:]]:
            estimate, named, recall, precision, *baseline, truth = measure(one, kind, share)
            off[kind] = max(off[kind], abs(estimate - truth))
            print(
                f"{one[0]:<10}{kind:<8}{truth:>8.3f}{estimate:>10.3f}{named:>7.3f}{recall:>8.2f}{precision:>10.2f}"
                f"{baseline[0]:>9.3f}{baseline[1]:>6.2f}{baseline[2]:>6.2f}",
                flush=True,
            )
    claim = {
        "claim": "the estimated share of wrong labels rises with those replaced at random",
        "figure": {"largest distance to the truth": round(off["random"], 3), "in pairs": round(off["pairs"], 3)},
        "target": TARGET,
        "holds": off["random"] <= TARGET,
        "unit": f"share of the labels, mean of {SEEDS} seeds",
    }
    print(json.dumps(claim))
    return 0


if __name__ == "__main__":
    sys.exit(main())
