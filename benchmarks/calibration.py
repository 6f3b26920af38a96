"""Does the temperature calibrate, and does the abstain threshold keep its risk? `python -m benchmarks.calibration`.

This project's own experiment, as its stages left it (`dvc repro` first), on its test split and on 6,000 fresh pictures
of the sample's generator, which no split has; CIFAR-10 and the flower photographs of $PODIUM_REAL_DATA. What is missing
is skipped with a line. The sample's models learn with label smoothing; the others, trained here by Podium's engine,
without it and on unchanged images: the plain network on CIFAR-10, and on the flowers the head of EfficientNet-Lite0
over its ImageNet features, its own and one of average pooling and a linear layer.
Temperature and threshold are chosen on validation, all numbers are of the test images.

Beside the error after calibration stand three others: what a model that is calibrated shows on so many images (answers
drawn as right with their own confidence: mean, and 95th percentile), and the error at the temperature that is best on
the test images themselves, which is about the most that a temperature could bring. How many validation images it takes
to choose a good one is tried on the fresh pictures: some are drawn to choose it on, the others measure it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.photographs import CIFAR, FLOWERS, given, prepare
from benchmarks.scratch import ROOT
from podium.analysis.calibration import (
    calibrate,
    choose_threshold,
    fit_temperature,
    measure_abstention,
    reliability,
    reliability_by_mass,
)
from podium.analysis.predictions import Predictions, sort_predictions
from podium.config.judging import Evaluate
from podium.config.models import Head, ModelConfig
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.config.train import Augment, Loss, Train
from podium.core.layout import Layout
from podium.data.augment.batch import normalise
from podium.data.preprocess import read_image
from podium.data.shards import PreparedSplit, open_for_fitting, open_for_testing
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.engine import fit
from podium.models.inference import load_classifier
from podium.models.job import ActivationCache, Job
from podium.records.base import Triple
from podium.records.evaluation import Abstention

WEIGHTS = "tf_efficientnet_lite0.safetensors"
HALF: Triple = (0.5, 0.5, 0.5)  # mean and deviation that EfficientNet-Lite0 was trained with
TARGET, DRAWS = 0.03, 1000
_SETTINGS = Evaluate()
_RUNTIME = Runtime(threads=1)
_BATCH = 64
FRESH, UNUSED = 500, 10_000  # fresh pictures a class; from this number on the sample has none
CHOSEN_ON, TRIES = (250, 500, 1000, 2000), 50  # validation images, and how often so many are drawn


@dataclass(frozen=True)
class Judged:
    """One model: errors of calibration on test images before and after, and what abstaining does there."""

    name: str
    counts: tuple[int, int]
    accuracy: float
    temperature: float
    before: float
    after: float
    best: float
    best_temperature: float
    chance: float
    chance_high: float
    debiased: tuple[float | None, float | None]
    abstention: Abstention

    @property
    def calibrated(self) -> bool:
        """Whether the error was halved, or is below `TARGET`."""
        return self.after <= max(self.before / 2, TARGET)

    @property
    def images_needed(self) -> int:
        """Test images on which a calibrated model of this kind shows `TARGET`: its error falls with their root."""
        return round(self.counts[1] * (self.chance / TARGET) ** 2)

    @property
    def keeps_risk(self) -> bool:
        """Whether the risk asked for is not below the interval of the risk on the test split."""
        risk = self.abstention.risk
        return risk is None or risk.low <= (_SETTINGS.abstain.risk or 0.0)


def judge(name: str, validation: Predictions, test: Predictions) -> Judged:
    """Chooses temperature and threshold on the validation split and measures them on test images."""
    temperature, best = fit_temperature(validation), fit_temperature(test)
    known, calibrated = calibrate(validation, temperature), calibrate(test, temperature)
    random = np.random.default_rng(0)
    drawn = [_error(calibrated, random.random(len(calibrated.labels)) < calibrated.confidence) for _ in range(DRAWS)]
    by_mass = [
        reliability_by_mass(some.confidence, some.correct, _SETTINGS.calibration_bins).debiased_error
        for some in (test, calibrated)
    ]
    return Judged(
        name=name,
        counts=(len(validation.labels), len(test.labels)),
        accuracy=float(test.correct.mean()),
        temperature=temperature,
        before=_error(test, test.correct),
        after=_error(calibrated, test.correct),
        best=_error(calibrate(test, best), test.correct),
        best_temperature=best,
        chance=float(np.mean(drawn)),
        chance_high=float(np.quantile(drawn, 0.95)),
        debiased=(by_mass[0], by_mass[1]),
        abstention=measure_abstention(calibrated, choose_threshold(known, _SETTINGS.abstain), _SETTINGS.abstain),
    )


def _error(predictions: Predictions, correct: np.ndarray) -> float:
    """The expected calibration error."""
    return reliability(predictions.confidence, correct, _SETTINGS.calibration_bins).expected_calibration_error


def sample(project: Path) -> Iterator[Judged]:
    """The models of a project whose stages have run."""
    layout = Layout(project)
    folders = sorted(folder.parent for folder in (project / "artifacts/models").glob("*/model.json"))
    if not folders or not (layout.prepared / "test").is_dir():
        print(f"skipped: {project} has no trained models: run `dvc repro` there")
        return
    splits = open_for_fitting(layout.prepared, "val"), open_for_testing(layout.prepared)
    shown = [(split.index, split.labels, split.images(np.arange(len(split)))) for split in splits]
    shown.append(fresh_pictures(splits[0].classes, splits[0].preprocessing, FRESH))
    for folder in folders:
        classifier = load_classifier(folder, _RUNTIME)
        validation, test, fresh = (
            sort_predictions(splits[0].classes, index, labels, classifier.probabilities(images, _BATCH))
            for index, labels, images in shown
        )
        yield judge(f"sample, {folder.name}", validation, test)
        yield judge(f"{len(fresh.labels):,} fresh pictures, {folder.name}", validation, fresh)
        shares = ", ".join(f"{meets_target(fresh, images):.2f} of {images:,}" for images in CHOSEN_ON)
        print(f"{folder.name}: share of temperatures that meet the target, by validation images: {shares}")


def meets_target(predictions: Predictions, images: int, tries: int = TRIES) -> float:
    """How often a temperature that is chosen on so many of the images meets the target on the others."""
    met = 0
    for seed in range(tries):
        order = np.random.default_rng(seed).permutation(len(predictions.labels))
        known, others = (_part(predictions, rows) for rows in np.split(order, [images]))
        after = calibrate(others, fit_temperature(known))
        met += _error(after, others.correct) <= max(_error(others, others.correct) / 2, TARGET)
    return met / tries


def _part(predictions: Predictions, rows: NDArray[np.int64]) -> Predictions:
    """Some of the images."""
    index, labels, probabilities = (
        predictions.index.iloc[rows].reset_index(drop=True),
        predictions.labels[rows],
        predictions.probabilities[rows],
    )
    return Predictions(predictions.classes, index, labels, probabilities)


def fresh_pictures(
    classes: tuple[str, ...], preprocessing: Preprocessing, per_class: int
) -> tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.uint8]]:
    """Pictures of the sample's generator, seed and style under numbers that the sample does not have, prepared alike.

    Returns:
        Their names, the numbers of their classes, shape (N,), and pixels, shape (N, S, S, 3).
    """
    sys.path.append(str(ROOT / "tools"))
    from draw_sample import SEED, draw_member
    from sample_kinds import produce_kinds

    kinds = {kind.name: kind for kind in produce_kinds()}
    members = [draw_member(SEED, kinds[name], UNUSED + number) for name in classes for number in range(per_class)]
    index = pd.DataFrame({"image_id": [member.path for member in members]})
    pixels = np.stack([read_image(member.data, preprocessing).pixels for member in members])
    return index, np.repeat(np.arange(len(classes), dtype=np.int64), per_class), pixels


def trained(name: str, prepared: Path, config: ModelConfig, weights: Path | None = None) -> Judged:
    """Trains a model with Podium's engine and judges it at the epoch that Podium keeps."""
    train, val = (open_for_fitting(prepared, split) for split in ("train", "val"))
    module = zoo.create(config, len(train.classes), 0, train.preprocessing.image_size)
    if weights is not None:
        zoo.load_pretrained(module, weights)
    with tempfile.TemporaryDirectory() as folder:
        cache = ActivationCache(Path(folder), 8.0, {})
        fitted = fit(Job(name, train, val, config, HALF, HALF, Compute.of(_RUNTIME), 0, cache), module)
    module = zoo.create(config, len(train.classes), 0, train.preprocessing.image_size)
    module.load_state_dict(fitted.best)
    return judge(name, *(_answers(module.eval(), split) for split in (val, open_for_testing(prepared))))


def _answers(module: nn.Module, split: PreparedSplit) -> Predictions:
    """A network's probabilities on a split."""
    parts = []
    for start in range(0, len(split), _BATCH):
        images = split.images(np.arange(start, min(start + _BATCH, len(split)), dtype=np.int64))
        with torch.inference_mode():
            parts.append(torch.softmax(module(normalise(images, HALF, HALF)).double(), dim=1).float().numpy())
    return sort_predictions(split.classes, split.index, split.labels, np.concatenate(parts))


def photographs(folder: Path) -> Iterator[Judged]:
    """CIFAR-10 with a plain network of its own, flowers with two heads on a pretrained one."""
    still = Augment(flip=False, shift=0.0, brightness=0.0, contrast=0.0)
    smooth = Loss(label_smoothing=0.0)
    with tempfile.TemporaryDirectory() as scratch:
        made = prepare(Path(scratch), folder / CIFAR, 32, {"train": 600, "test": 200})
        plain = Train(epochs=12, batch_size=64, learning_rate=2e-3, loss=smooth, augment=still, early_stopping=None)
        yield trained("CIFAR-10, cnn", made.prepared, ModelConfig(architecture="cnn", train=plain))
    if not (folder / WEIGHTS).is_file():
        print(f"skipped: {folder} has no {WEIGHTS}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        made = prepare(Path(scratch), folder / FLOWERS, 160)
        short = Train(epochs=30, batch_size=32, learning_rate=1e-3, loss=smooth, augment=still, views=1)
        for told, head in (("own head", Head()), ("pooled head", Head(pooling="avg"))):
            config = ModelConfig(architecture="tf_efficientnet_lite0", head=head, trainable="head", train=short)
            yield trained(f"flowers, EfficientNet-Lite0, {told}", made.prepared, config, folder / WEIGHTS)


def main() -> int:
    """Prints the table of `docs/results.md`, and one JSON line for each claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=Path(__file__).parents[1])
    found = list(sample(parser.parse_args().project.resolve()))
    folder = given()
    found += list(photographs(folder)) if folder else []
    columns = "model|val, test images|accuracy|T (best on test)|ECE before|after|at the best T|calibrated model's, 95 %"
    columns += f"|images for {TARGET}|debiased before, after|answers|of these wrong"
    print(f"| {columns.replace('|', ' | ')} |\n{'|---' * (columns.count('|') + 1)}|")
    for o in found:
        risk = o.abstention.risk
        told = f"{risk.value:.3f} [{risk.low:.3f}, {risk.high:.3f}]" if risk else "none given"
        debiased = ", ".join("none" if value is None else f"{value:.3f}" for value in o.debiased)
        print(
            f"| {o.name} | {o.counts[0]:,}, {o.counts[1]:,} | {o.accuracy:.3f} | {o.temperature:.2f} "
            f"({o.best_temperature:.2f}) | {o.before:.3f} | {o.after:.3f} | {o.best:.3f} | {o.chance:.3f}, "
            f"{o.chance_high:.3f} | {o.images_needed:,} | {debiased} | {o.abstention.coverage.value:.3f} | {told} |"
        )
    for claim, held in (
        (f"the temperature halves the calibration error or brings it below {TARGET}", [o.calibrated for o in found]),
        ("the calibrated error is within what a calibrated model shows", [o.after <= o.chance_high for o in found]),
        ("the abstain threshold keeps its risk within the interval", [o.keeps_risk for o in found]),
    ):
        line = {"claim": claim, "figure": sum(held), "target": len(held), "holds": all(held), "unit": "models"}
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
