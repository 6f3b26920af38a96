"""The full DAG on real photographs: `python -m benchmarks.real_photographs cifar10|flowers|weights`.

Needs the folder $PODIUM_REAL_DATA with `cifar10-jpeg.zip` (32 px, train/test) and `flowers-photos.zip` (no split), and
the pretrained checkpoints in `data/` (`dvc pull data.dvc`). `weights` asks what real ImageNet weights are worth on the
flowers: it needs `tf_efficientnet_lite0.safetensors` there too; `--models` says which are trained (`full` takes long).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scratch import ROOT, Scratch, commit, copy_project
from benchmarks.sides import used_cpu_seconds
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
    "weights": {
        "dataset": {"location": "flowers-photos.zip"},
        "runtime": {"threads": 1},  # two would wait for each other where other work runs, and that time counts
        "preprocess": {"image_size": 160},
        "tune": {"trials": 2, "epochs": 1},
        "train": {"epochs": 5},
        "evaluate": {"perturbations": {"images": 64, "severities": [3]}},
        "explain": {"checks": {"images": 64, "deletion": 8, "randomised": 4}},
        "compare": {
            "accept": {
                "pretraining": "what the weights are worth is the question",
                "undecided": "each model's accuracy is the result, not which is ahead",
            }
        },
    },
}
WEIGHTS = "tf_efficientnet_lite0.safetensors"
EFFICIENTNET: dict[str, object] = {
    "architecture": "tf_efficientnet_lite0",
    "weights_licence": "apache-2.0",
    "weights_pretraining": "in1k",
}
MODELS: dict[str, dict[str, dict[str, object]]] = {
    "probes": {
        "logistic": {**EFFICIENTNET, "classifier": "logistic_regression"},
        "neighbours": {**EFFICIENTNET, "classifier": "nearest_neighbours"},
    },
    "last_stage": {"last_stage": {**EFFICIENTNET, "trainable": "last_stage"}},
    "full": {"full": EFFICIENTNET, "resnet18": {}, "convnext_atto": {}},
}
STAGES = ("fetch", "preprocess", "validate", "tune", "train", "repeat", "evaluate", "explain", "compare", "publish")


def main() -> int:
    """Runs one study in a throw-away copy and prints its leaderboard, the time of every step and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="of `weights`")
    parser.add_argument("--side", type=int, help="pixels")
    parser.add_argument("--epochs", type=int, help="of each training")
    parser.add_argument("--trials", type=int, help="of each study")
    parser.add_argument("--fast-device", action="store_true", help="CUDA or MPS where there is one, in bfloat16")
    parser.add_argument("--keep", type=Path, help="a new folder that holds the project afterwards")
    asked = parser.parse_args()
    given = os.environ.get("PODIUM_REAL_DATA")
    if not given:
        print("skipped: PODIUM_REAL_DATA does not name a folder with the archives", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = _project(asked.keep or Path(folder), asked.study, Path(given).resolve(), asked)
        if asked.study == "weights":
            models = _models(Path(given).resolve() / WEIGHTS, asked.models, scratch)
            scratch.change_params(models=models)
            steps = [*STAGES[:3], *(f"train@{name}" for name in models), *STAGES[5:]]
        else:
            steps = list(STAGES)
        commit(scratch)
        start = time.monotonic()
        minutes = {step: _run(scratch, step) for step in steps}
        total = time.monotonic() - start
        print(scratch.check("podium", "status"))
        board = json.loads(scratch.read("reports/comparison/leaderboard.json"))
    if asked.study == "weights":
        _print_table(board, minutes)
    else:
        _print_claim(asked.study, board, total)
    return 0


def _project(folder: Path, study: str, archives: Path, asked: argparse.Namespace) -> Scratch:
    """A copy of this repository with a study in force."""
    scratch = copy_project(folder / study)
    for weights in (ROOT / "data").glob("*.safetensors"):
        shutil.copy2(weights, scratch.root / "data" / weights.name)
    sections = {name: dict(values) for name, values in STUDIES[study].items() if isinstance(values, dict)}
    archive = archives / str(sections["dataset"]["location"])
    sections["dataset"] |= {
        "source": "archive",
        "location": str(archive),
        "sha256": sha256_file(archive),
        "licence": "see the archive's source",
    }
    if asked.fast_device:
        sections["runtime"] = {"device": "auto", "dtype": "bfloat16", "channels_last": True}
    changes = (
        ("preprocess", "image_size", asked.side),
        ("train", "epochs", asked.epochs),
        ("tune", "trials", asked.trials),
    )
    for section, key, value in changes:
        if value is not None:
            sections[section][key] = value
    scratch.change_params(
        **sections,
        experiment=study,
        validate={"image_side": {"severity": "warning", "minimum": 32}},
        publish={"registered_model": f"podium-{study}"},
    )
    return scratch


def _models(weights: Path, kinds: list[str], scratch: Scratch) -> dict[str, dict[str, object]]:
    """The chosen models of `weights`: those of EfficientNet from a file, the others as in the default experiment."""
    import yaml

    usual = yaml.safe_load(scratch.read("params.yaml"))["models"]
    pinned = {"weights": f"file:{weights}", "weights_sha256": sha256_file(weights)}
    chosen = {name: model for kind in kinds for name, model in MODELS[kind].items()}
    return {name: {**model, **pinned} if model else usual[name] for name, model in chosen.items()}


def _run(scratch: Scratch, step: str) -> float:
    """Minutes of processor time that a step took, DVC and MLflow with it; printed with its seconds."""
    began, used = time.monotonic(), used_cpu_seconds()
    scratch.check("dvc", "repro", step, timeout=4 * 3600)
    spent = (used_cpu_seconds() - used) / 60
    print(f"{step:<20}{time.monotonic() - began:8.1f} s{spent:8.2f} CPU-minutes", flush=True)
    return spent


def _print_table(board: dict[str, Any], minutes: dict[str, float]) -> None:
    """Accuracy, CPU-minutes of tuning and training, and calibration error, as a Markdown table, and the claim."""
    print("| model | accuracy | CPU-minutes to tune and train | ECE |\n|---|---|---|---|")
    figure: dict[str, list[float]] = {}
    for row in board["rows"]:
        name, rate = str(row["model"]), row["accuracy"]
        spent = minutes[f"train@{name}"]
        figure[name] = [round(rate["value"], 4), round(spent, 2)]
        print(
            f"| {name} | {rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}] | {spent:.1f} | {row['ece']:.3f} |"
        )
    claim = {
        "claim": f"a probe of real ImageNet weights on {board['images']} test flowers",
        "baseline": "the other models of the table",
        "figure": figure,
        "target": "logistic regression above 0.85 within 3 CPU-minutes",
        "holds": "logistic" in figure and figure["logistic"][0] > 0.85 and figure["logistic"][1] < 3,
        "unit": "test accuracy as a fraction, CPU-minutes",
    }
    print(json.dumps(claim))


def _print_claim(study: str, board: dict[str, Any], seconds: float) -> None:
    """That the whole road carries these photographs."""
    chance = 1 / (10 if study == "cifar10" else 5)
    figure = {str(row["model"]): round(row["accuracy"]["value"], 4) for row in board["rows"]}
    claim = {
        "claim": f"the full DAG runs on {study} ({board['images']} test images) in {seconds:.0f} s",
        "baseline": f"chance, {chance:.2f}",
        "figure": figure,
        "target": "every model above twice chance",
        "holds": min(figure.values()) > 2 * chance,
        "unit": "test accuracy, fraction",
    }
    print(json.dumps(claim))


if __name__ == "__main__":
    sys.exit(main())
