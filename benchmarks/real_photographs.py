"""The full DAG on real photographs: `python -m benchmarks.real_photographs cifar10|flowers`.

Needs the folder $PODIUM_REAL_DATA with `cifar10-jpeg.zip` (32 px, train/test) and `flowers-photos.zip` (no split),
and the pretrained checkpoints in `data/` (`dvc pull data.dvc`).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scratch import ROOT, commit, copy_project
from podium.core.files import sha256_file

STUDIES: dict[str, dict[str, object]] = {
    "cifar10": {
        "dataset": {"location": "cifar10-jpeg.zip", "limit_per_class": {"train": 1000, "test": 200}},
        "preprocess": {"image_size": 32},
        "tune": {"trials": 2, "epochs": 1},
        "train": {"epochs": 4, "batch_size": 64},
    },
    "flowers": {
        "dataset": {"location": "flowers-photos.zip"},
        "preprocess": {"image_size": 96},
        "tune": {"trials": 2, "epochs": 1},
        "train": {"epochs": 5},
    },
}


def main() -> int:
    """Runs one study in a throw-away copy and prints its leaderboard, the seconds of every stage and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    study = parser.parse_args().study
    given = os.environ.get("PODIUM_REAL_DATA")
    if not given:
        print("skipped: PODIUM_REAL_DATA does not name a folder with the archives", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = copy_project(Path(folder) / study)
        for weights in (ROOT / "data").glob("*.safetensors"):
            shutil.copy2(weights, scratch.root / "data" / weights.name)
        sections = {name: dict(values) for name, values in STUDIES[study].items() if isinstance(values, dict)}
        archive = Path(given).resolve() / str(sections["dataset"]["location"])
        sections["dataset"] |= {
            "source": "archive",
            "location": str(archive),
            "sha256": sha256_file(archive),
            "licence": "see the archive's source",
        }
        scratch.change_params(
            **sections,
            experiment=study,
            validate={"image_side": {"severity": "warning", "minimum": 32}},
            publish={"registered_model": f"podium-{study}"},
        )
        commit(scratch)
        start = time.monotonic()
        for stage in ("fetch", "preprocess", "validate", "tune", "train", "repeat", "evaluate", "compare", "publish"):
            began = time.monotonic()
            scratch.check("dvc", "repro", stage, timeout=3600)
            print(f"{stage:<12}{time.monotonic() - began:8.1f} s", flush=True)
        total = time.monotonic() - start
        print(scratch.check("podium", "status"))
        board = json.loads(scratch.read("reports/comparison/leaderboard.json"))
    figure = {row["model"]: round(row["accuracy"]["value"], 4) for row in board["rows"]}
    print(
        json.dumps(
            {
                "claim": f"the full DAG runs on {study} ({board['images']} test images) in {total:.0f} s",
                "baseline": f"chance, {1 / (10 if study == 'cifar10' else 5):.2f}",
                "figure": figure,
                "target": "every model above twice chance",
                "holds": min(figure.values()) > 2 / (10 if study == "cifar10" else 5),
                "unit": "test accuracy, fraction",
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
