"""Fine-tuned against from-scratch at equal epochs on the embedded sample: `python -m benchmarks.from_scratch`.

The fine-tuned side is the leaderboard of the default experiment in this checkout (`make repro` first); the other side
runs the same experiment with `weights: none` in a throw-away copy, with its own tuned learning rates.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.scratch import ROOT, commit, copy_project

BOARD = Path("reports/comparison/leaderboard.json")


def accuracies(board: Path) -> dict[str, float]:
    """Test accuracy as a fraction, by model name, of one `leaderboard.json`."""
    rows = json.loads(board.read_text(encoding="utf-8"))["rows"]
    return {row["model"]: round(row["accuracy"]["value"], 4) for row in rows}


def from_random_weights(folder: Path) -> dict[str, float]:
    """Runs the default experiment with `weights: none` in a throw-away copy; test accuracy by model name."""
    scratch = copy_project(folder)
    shutil.copytree(ROOT / "data", scratch.root / "data", dirs_exist_ok=True)
    shutil.copy2(ROOT / "experiments" / "sample.yaml", scratch.root / "params.yaml")
    models = yaml.safe_load(scratch.read("params.yaml"))["models"]
    scratch.change_params(models={name: _without_weights(section) for name, section in models.items()})
    commit(scratch)
    scratch.check("dvc", "repro", "compare", timeout=3600)
    return accuracies(scratch.root / BOARD)


def _without_weights(section: dict[str, object]) -> dict[str, object]:
    """A model's section that starts from random weights."""
    return {key: value for key, value in section.items() if not key.startswith("weights")}


def main() -> int:
    """Prints both accuracies per model and one JSON line."""
    fine_tuned = accuracies(ROOT / BOARD)
    with tempfile.TemporaryDirectory() as folder:
        scratch = from_random_weights(Path(folder) / "scratch")
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
