"""Prepared splits of a few small images, and a project around them, for tests that fit a network in a second."""

from pathlib import Path

import numpy as np
import pandas as pd

from podium.config.base import Split
from podium.config.models import Head, ModelConfig
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Resources, Runtime
from podium.config.train import Loss, Range, Span, Train, Tune, Value
from podium.core.layout import Layout
from podium.data.shards import finish_split
from tests.cards import a_tuning_result, no_weights

CLASSES = ["apple", "banana", "cherry"]
SIZE = 32
ARCHITECTURE = "test_resnet"  # timm's own for tests: 0.4 M parameters, batch norm and all
RUNTIME = Runtime(threads=1)
RESOURCES = Resources(workers=0)
RECIPE = Train(epochs=3, batch_size=8, learning_rate=2e-3, loss=Loss(label_smoothing=0.1))
TUNE = Tune(trials=3, epochs=2, startup_trials=1, search={})
SEARCH: dict[str, Span] = {"train.learning_rate": Range(low=1e-4, high=1e-2, log=True)}


def write_split(folder: Path, name: Split, count: int, seed: int, per_shard: int = 1000) -> None:
    """Writes noise images whose mean colour tells the class, most of the time."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    codes = np.arange(count) % len(CLASSES)
    images = random.integers(0, 160, (count, SIZE, SIZE, 3))
    images[np.arange(count), :, :, codes] += 60
    for shard, start in enumerate(range(0, count, per_shard)):
        np.save(folder / f"images-{shard:05d}.npy", images[start : start + per_shard].astype(np.uint8))
    labels = [CLASSES[code] for code in codes]
    index = pd.DataFrame(
        {
            "image_id": [f"{seed:08d}{i:08d}" for i in range(count)],
            "photo_sha256": [f"{i:08x}{seed:08x}{0:048x}" for i in range(count)],
            "path": [f"{label}/{i}.png" for i, label in enumerate(labels)],
            "label": labels,
            "group": ["fruit"] * count,
        }
    )
    finish_split(folder, name, CLASSES, Preprocessing(image_size=SIZE, pad_value=114, max_pixels=10**6), index)


def write_prepared(folder: Path, train: int = 30, val: int = 12, per_shard: int = 1000) -> Path:
    """Writes train, val and test."""
    write_split(folder / "train", "train", train, 1, per_shard)
    write_split(folder / "val", "val", val, 2, per_shard)
    write_split(folder / "test", "test", 6, 3, per_shard)
    return folder


def write_project(root: Path, architecture: str = ARCHITECTURE) -> Layout:
    """A project that is ready for tune and train of the model `small`, with a tuning result in place."""
    layout = Layout(root)
    write_prepared(layout.prepared)
    (root / "stages").mkdir()
    for stage in ("tune", "train", "repeat"):  # whose code is part of a fingerprint
        (root / "stages" / f"{stage}.py").write_text(f"from podium.pipeline import {stage}\n", encoding="utf-8")
    no_weights(architecture).write(layout.weights / "small" / "weights.json")
    write_tuned(layout, {"train.learning_rate": 0.003})
    return layout


def write_tuned(layout: Layout, parameters: dict[str, Value]) -> None:
    """Puts a tuning result in place."""
    a_tuning_result(parameters=parameters).write(layout.tuning("small") / "best.json")


def a_config(architecture: str = ARCHITECTURE, recipe: Train = RECIPE, dropout: float = 0.2) -> ModelConfig:
    """The complete section of the model `small`."""
    return ModelConfig(architecture=architecture, head=Head(dropout=dropout), train=recipe)
