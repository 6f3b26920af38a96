"""What evaluation costs beside the forward passes: `python -m benchmarks.evaluate_speed` after `dvc repro`.

The ResNet-18 of the sample answers 10,000 images of 64 px, the test images over and over, each its own row. Then all is
timed that stage evaluate makes of the answers: metrics with the bootstrap, calibration, slices and their search,
mistakes with pictures, plots. Perturbed photographs are left out: how many are asked about is a setting of its own.
"""

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.scratch import restart_with
from podium.analysis.calibration import calibrate
from podium.analysis.evaluation import measure
from podium.analysis.mistakes import find_mistakes, write_mistakes
from podium.analysis.slices import resolve, slice_masks
from podium.config.params import load
from podium.core.layout import MISTAKES, Layout
from podium.data.shards import PreparedSplit, open_for_fitting, open_for_testing
from podium.models.inference import open_models
from podium.pipeline import evaluate as stage

IMAGES, MODEL, TARGET = 10_000, "resnet18", 1.3


def main() -> int:
    """Prints seconds by part, and one JSON line."""
    layout = Layout(Path.cwd())
    params = load(layout.params)
    restart_with(params.runtime)
    settings = params.evaluate
    validation = stage._describe(layout, open_for_fitting(layout.prepared, "val"))
    test = _repeat(stage._describe(layout, open_for_testing(layout.prepared)), IMAGES)
    seconds = {}
    with open_models(layout.root, params.runtime) as models:
        model = models(layout.model(MODEL))
        known, distances = stage._predict(model, validation, settings.batch_size)
        begun = time.perf_counter()
        answers, _ = stage._predict(model, test, settings.batch_size)
        seconds["forward passes"] = time.perf_counter() - begun
    begun = time.perf_counter()
    card, digest = model.card, test.digest
    metrics = measure(
        card,
        test=answers,
        validation=known,
        test_digest=digest,
        settings=settings,
        seed=params.seed,
        distances=distances,
    )
    seconds["metrics, calibration, slices"] = time.perf_counter() - begun
    begun = time.perf_counter()
    masks = slice_masks(resolve(settings.slices, validation.index), answers.index)
    mistakes = find_mistakes(calibrate(answers, metrics.temperature), card.groups, masks)
    with tempfile.TemporaryDirectory() as folder:
        write_mistakes(Path(folder) / MISTAKES, mistakes, settings.mistakes, stage._picture_of(test))
        seconds["mistakes with pictures"] = time.perf_counter() - begun
        begun = time.perf_counter()
        stage.write_plots(Path(folder), metrics, answers, settings.calibration_bins)
        seconds["plots"] = time.perf_counter() - begun
    for part, spent in seconds.items():
        print(f"{part} | {spent:.1f} s")
    ratio = sum(seconds.values()) / seconds["forward passes"]
    claim = {"claim": f"{IMAGES:,} images are evaluated in at most {TARGET} x the forward passes", "unit": "ratio"}
    print(json.dumps(claim | {"figure": round(ratio, 3), "target": TARGET, "holds": ratio <= TARGET}))
    return 0


def _repeat(split: PreparedSplit, images: int) -> PreparedSplit:
    """A split over and over until it has so many images, each with a name of its own."""
    longer = split.subset(np.resize(np.arange(len(split)), images).astype(np.int64))
    return replace(longer, index=longer.index.assign(image_id=[f"{number:06d}" for number in range(images)]))


if __name__ == "__main__":
    raise SystemExit(main())
