"""Fine-tuned against from-scratch at equal epochs on the embedded sample: `python -m benchmarks.from_scratch`.

Runs the default experiment twice in throw-away copies, once with the pinned checkpoints and once with `weights: none`,
each with its own tuned learning rate. Needs `dvc pull data.dvc`.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.scratch import ROOT, commit, copy_project


def test_accuracies(folder: Path, pretrained: bool) -> dict[str, float]:
    """Test accuracy of each model of the default experiment, as a fraction, by model name."""
    scratch = copy_project(folder)
    shutil.copytree(ROOT / "data", scratch.root / "data", dirs_exist_ok=True)
    shutil.copy2(ROOT / "experiments" / "sample.yaml", scratch.root / "params.yaml")
    if not pretrained:
        models = yaml.safe_load(scratch.read("params.yaml"))["models"]
        scratch.change_params(models={m: {"architecture": v["architecture"]} for m, v in models.items()})
    commit(scratch)
    scratch.check("dvc", "repro", "compare", timeout=3600)
    board = json.loads(scratch.read("reports/comparison/leaderboard.json"))
    return {row["model"]: round(row["accuracy"]["value"], 4) for row in board["rows"]}


def main() -> int:
    """Prints both accuracies per model and one JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        fine_tuned = test_accuracies(Path(folder) / "fine_tuned", pretrained=True)
        scratch = test_accuracies(Path(folder) / "scratch", pretrained=False)
    print(f"{'model':<16}{'fine-tuned':>12}{'from scratch':>14}{'gain':>8}")
    for model, accuracy in fine_tuned.items():
        print(f"{model:<16}{accuracy:>12.3f}{scratch[model]:>14.3f}{accuracy - scratch[model]:>+8.3f}")
    gains = {model: round(accuracy - scratch[model], 4) for model, accuracy in fine_tuned.items()}
    print(
        json.dumps(
            {
                "claim": "fine-tuning from the embedded checkpoints beats training from scratch at equal epochs",
                "baseline": "weights: none, the same study and recipe",
                "figure": gains,
                "target": "> 0 for every model",
                "holds": min(gains.values()) > 0,
                "unit": "test accuracy gained, fraction",
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
