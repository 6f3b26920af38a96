"""A small project for tests: this repository's own files, its own store, about 60 generated images in three classes.

One class has a Korean name, one an emoji, so that every file, plot and page is made with them.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.scratch import Scratch, commit, copy_project

CLASSES = {"사과": (200, 40, 40), "lemon": (230, 210, 40), "melon 🍈": (60, 160, 70)}
IMAGES_PER_CLASS = 20
SPLIT_SEED = 4  # gives every class at least three images in every split
GATES: dict[str, object] = {
    "promote": {"minimum_accuracy": 0.0, "minimum_macro_f1": 0.0, "maximum_latency_ratio": None},
    "validate": {
        "minimum_rows": {"severity": "critical", "minimum": 2, "because": "a small project"},
        "share_rejected": {"severity": "warning", "maximum": 0.02, "because": "one broken file is planted"},
    },
}
"""Sections whose bounds a few images and a model of a few steps keep."""


@dataclass(frozen=True)
class SmallProject(Scratch):
    """A throw-away project after its first `dvc repro`."""

    first_run: subprocess.CompletedProcess[str]
    path: str
    """The PATH with the `python` that is warm."""


def build(root: Path) -> Scratch:
    """A copy of this repository with a small experiment in force, committed, not run yet."""
    project = copy_project(root)
    draw_images(root / "data" / "photos")
    project.change_params(
        experiment="small",
        dataset={"source": "folder", "location": "data/photos", "licence": "CC0-1.0"},
        preprocess={"image_size": 32, "split_seed": SPLIT_SEED},
        models={"small_resnet": {"architecture": "resnet10t"}, "small_convnext": {"architecture": "convnext_atto"}},
        tune={"trials": 2, "epochs": 1},
        train={"epochs": 3, "batch_size": 8},
        evaluate={"bootstrap_samples": 200},
        explain={
            "checks": {"images": 6, "deletion": 3, "randomised": 2},
            "interventions": {"images": 6, "shares": [0.3]},
        },
        publish={"registered_model": "small", "export": []},
        **GATES,
    )
    commit(project)
    return project


def draw_images(folder: Path) -> None:
    """Discs, squares and triangles in noisy colours; one broken file and one exact copy among them."""
    for c, (name, colour) in enumerate(CLASSES.items()):
        (folder / name).mkdir(parents=True)
        for i in range(IMAGES_PER_CLASS):
            rng = np.random.default_rng([c, i])
            base = rng.integers(60, 200, size=3)
            pixels = np.clip(base + rng.normal(0, 25, (48, 56, 3)), 0, 255).astype(np.uint8)
            image = Image.fromarray(pixels)
            x, y, r = (int(v) for v in (rng.integers(15, 40), rng.integers(15, 33), rng.integers(9, 14)))
            fill = tuple(int(v) for v in np.clip(np.array(colour) + rng.integers(-25, 26, 3), 0, 255))
            draw = ImageDraw.Draw(image)
            if c == 0:
                draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
            elif c == 1:
                draw.rectangle((x - r, y - r, x + r, y + r), fill=fill)
            else:
                draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)
            image.save(folder / name / f"{i:02d}.png")
    shutil.copy2(folder / "lemon" / "03.png", folder / "lemon" / "copy of 03.png")
    (folder / "lemon" / "broken.jpg").write_bytes(b"<html>not found</html>")
