"""Stage evaluate@m: open the test split once and measure one trained model on it.

Opens the test split and notes it; only `explain` reads it too, for a model that was evaluated.
"""

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.calibration import calibrate
from podium.analysis.evaluation import ClassMoments, measure
from podium.analysis.mistakes import find_mistakes, find_typical, write_mistakes
from podium.analysis.predictions import Predictions, sort_predictions, write_predictions
from podium.analysis.robustness import Perturbed, choose_images, measure_robustness, perturb_every_way
from podium.analysis.slices import describe_images, resolve, slice_masks
from podium.config.judging import Evaluate
from podium.config.runtime import LOCAL, Resources, Runtime
from podium.console.openings import Opening, keep_openings
from podium.core.errors import DataError
from podium.core.files import replacing_folder, sha256_text
from podium.core.layout import (
    CLASSIFICATION_REPORT,
    CONFUSION,
    CONFUSION_MATRIX,
    HISTORY,
    LEARNING_CURVES,
    METRICS,
    MISTAKES,
    PER_CLASS_ACCURACY,
    PREDICTIONS,
    RELIABILITY,
    REPEATS,
    RISK_COVERAGE,
    ROBUSTNESS,
    SLICE_ACCURACY,
    TYPICAL,
    Layout,
)
from podium.data.shards import PreparedSplit, open_for_fitting, open_for_testing
from podium.records.base import read_parquet, round_floats
from podium.records.evaluation import Metrics
from podium.records.robustness import Robustness
from podium.records.training import EPOCH_COLUMNS, ModelCard

if TYPE_CHECKING:
    from podium.models.inference import AskedModel, Classifier

_BATCHES_AT_ONCE = 16  # copied out of the memory maps together
_TYPICAL = 3  # images of each class that is taken for another one
_SIDE, _QUALITY = 256, 90  # of a picture of a mistake: pixels at most, and of its WebP


def evaluate_model(
    layout: Layout,
    model: str,
    evaluate: Evaluate,
    runtime: Runtime,
    seed: int,
    *,
    seeds: Sequence[int] = (),
    experiment: str = "",
    resources: Resources = LOCAL,
) -> None:
    """Writes `reports/evaluation/<m>/` and `artifacts/evaluation/<m>/`, and notes the openings.

    Args:
        layout: the project's paths.
        model: a key of `models` in the params.
        evaluate: that section of the params.
        runtime: how numbers are computed.
        seed: of the bootstrap.
        seeds: that the model was trained with besides; of these metrics and predictions are kept.
        experiment: goes into the ledger of openings.
        resources: where the models are asked.

    Raises:
        DataError: a split, the model's folder or the ledger is missing or damaged, or it was trained on other data.
        ModelError: the weights are not those of the model's card, or its answers are not numbers.
        PodiumError: the cluster cannot be used, or was lost.
    """
    from podium.models.inference import open_models

    validation = _describe(layout, open_for_fitting(layout.prepared, "val"))
    slices = resolve(evaluate.slices, validation.index)  # a mistake in params is told before anything is computed
    with open_models(layout.root, runtime, resources) as models:
        own, repeats = models(layout.model(model)), {}
        test = _describe(layout, open_for_testing(layout.prepared))
        splits, of = (validation, test), f" of {experiment}" if experiment else ""
        predictions, metrics = _test(layout, own, splits, evaluate, seed=seed, name=model, of=of)
        robustness = _perturb(own, test, evaluate, seed)
        for other in seeds:
            repeated, name = models(layout.repeat(model, other)), f"{model} seed {other}"
            repeats[other] = _test(layout, repeated, splits, evaluate, seed=seed, name=name, of=of)
    calibrated, masks = calibrate(predictions, metrics.temperature), slice_masks(slices, predictions.index)
    mistakes, history = find_mistakes(calibrated, own.card.groups, masks), layout.model(model) / HISTORY
    with replacing_folder(layout.evaluation(model)) as folder:
        write_answers(folder, predictions, metrics)
        _write_learning_curves(folder / LEARNING_CURVES, history, own.card)
        write_plots(folder, metrics, predictions, evaluate.calibration_bins)
        if robustness is not None:
            robustness.write(folder / ROBUSTNESS)
        write_mistakes(folder / MISTAKES, mistakes, evaluate.mistakes, _picture_of(test))
        _write_typical(folder / TYPICAL, calibrated, metrics, test, evaluate.mistakes > 0)
        for other, (answers, measured) in repeats.items():
            write_answers(folder / REPEATS / str(other), answers, measured)
    _write_report(layout.evaluation_report(model), predictions, history)


def measure_on_validation(layout: Layout, model: str, evaluate: Evaluate, runtime: Runtime, seed: int) -> None:
    """Prints the same of the validation split, opens no other and writes nothing.

    Temperature and epoch were chosen on these images, so loss and calibration look better than they are.

    Raises:
        DataError: the split or the model's folder is missing, or the model was trained on other data.
        ModelError: the weights are not those of the model's card, or its answers are not numbers.
    """
    from podium.models.inference import open_models

    split = _describe(layout, open_for_fitting(layout.prepared, "val"))
    with open_models(layout.root, runtime) as models:
        own = models(layout.model(model))
        _check_data(own.card, split)
        answers, distances = _predict(own, split, evaluate.batch_size)
    measured = measure(
        own.card,
        test=answers,
        validation=answers,
        test_digest=split.digest,
        settings=evaluate,
        seed=seed,
        distances=distances,
    )
    print_summary(measured, "validation")


def classification_report(predictions: Predictions) -> str:
    """scikit-learn's table of precision, recall and F1 by class with both means, as the literature prints it."""
    from sklearn.metrics import classification_report as report

    text: str = report(
        predictions.labels,
        predictions.predicted,
        labels=np.arange(len(predictions.classes)),
        target_names=predictions.classes,
        digits=3,
        zero_division=0,
    )
    return text


def _test(
    layout: Layout,
    model: "AskedModel",
    splits: tuple[PreparedSplit, PreparedSplit],
    settings: Evaluate,
    *,
    seed: int,
    name: str,
    of: str,
) -> tuple[Predictions, Metrics]:
    """Opens val and test for a model, which the ledger tells: its answers on test, and their measures."""
    (validation, test), card = splits, model.card
    _check_data(card, validation)
    known, distances = _predict(model, validation, settings.batch_size)
    _check_data(card, test)
    digest = test.digest
    images = sha256_text("\n".join(sorted(test.index["image_id"])))
    purpose = f"evaluate {name}{of}"
    keep_openings(layout, Opening(purpose=purpose, fingerprint=card.fingerprint, test_digest=digest, images=images))
    predictions, _ = _predict(model, test, settings.batch_size)
    found = measure(
        card,
        test=predictions,
        validation=known,
        test_digest=digest,
        settings=settings,
        seed=seed,
        distances=distances,
    )
    metrics = round_floats(found)
    print_summary(metrics, "test", name)
    return predictions, metrics


def _check_data(card: ModelCard, split: PreparedSplit) -> None:
    """Refuses a split of other classes, other preprocessing or another digest than the model was trained with."""
    if tuple(card.classes) != split.classes or card.preprocessing != split.preprocessing:
        raise DataError(
            f"{card.model} was trained with other classes or another image size than the {split.name} split has: "
            "run `dvc repro` to train it on the present data"
        )
    if card.data_digests.get(split.name, split.digest) != split.digest:
        raise DataError(
            f"{card.model} was trained with another {split.name} split ({card.data_digests[split.name][:12]}, now "
            f"{split.digest[:12]}): run `dvc repro` to train it on the present data"
        )


def _describe(layout: Layout, split: PreparedSplit) -> PreparedSplit:
    """The same split with all that is known of its images."""
    manifest, measures = (read_parquet(path) for path in (layout.manifest, layout.measures))
    return replace(split, index=describe_images(split.index, manifest, measures))


def _predict(model: "AskedModel", split: PreparedSplit, batch_size: int) -> tuple[Predictions, NDArray[np.float64]]:
    """Predictions on a whole split, and the distances of its classes in the network's features."""
    step = batch_size * _BATCHES_AT_ONCE
    starts = range(0, len(split), step)
    rows = [np.arange(start, min(start + step, len(split)), dtype=np.int64) for start in starts]
    asks = (partial(_answer, split=split.subset(some), batch_size=batch_size) for some in rows)
    parts, moments = [np.empty((0, len(split.classes)), np.float32)], ClassMoments(len(split.classes))
    for some, (probabilities, features) in zip(rows, model.map(asks), strict=True):
        moments.add(features, split.labels[some])
        parts.append(probabilities)
    predictions = sort_predictions(split.classes, split.index, split.labels, np.concatenate(parts))
    return predictions, moments.distances()


def _answer(
    classifier: "Classifier", split: PreparedSplit, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities and features of all images of a part of a split."""
    return classifier.answers(split.images(np.arange(len(split))), batch_size)


def write_answers(folder: Path, predictions: Predictions, metrics: Metrics) -> None:
    """What a model answered and how it fared, as tables and as scikit-learn's text."""
    write_predictions(folder / PREDICTIONS, predictions)
    (folder / CLASSIFICATION_REPORT).write_text(classification_report(predictions), encoding="utf-8")
    metrics.write(folder / METRICS)


def _perturb(model: "AskedModel", test: PreparedSplit, settings: Evaluate, seed: int) -> Robustness | None:
    """What the model answers when something happened to the photographs; None where none is to be asked about."""
    if not settings.perturbations.images:
        return None
    some = test.subset(choose_images(len(test), settings.perturbations.images, seed))
    every_way = perturb_every_way(settings.perturbations.severities, seed)
    classify = partial(_classify, split=some, batch_size=settings.batch_size)
    clean, *perturbed = model.map(partial(classify, perturbed=one) for one in (None, *every_way))
    answered = zip(every_way, perturbed, strict=True)
    card = model.card
    found = measure_robustness(clean, answered, some.labels, model=card.model, fingerprint=card.fingerprint)
    return round_floats(found)


def _classify(
    classifier: "Classifier", split: PreparedSplit, batch_size: int, perturbed: Perturbed | None
) -> NDArray[np.int64]:
    """The most probable class of each image of a part of a split, as it is or perturbed."""
    images = split.images(np.arange(len(split)))
    parts = [images] if perturbed is None else perturbed.parts(images)
    return np.concatenate([classifier.probabilities(part, batch_size).argmax(axis=1) for part in parts])


def _write_typical(path: Path, calibrated: Predictions, metrics: Metrics, test: PreparedSplit, pictured: bool) -> None:
    """The surest right images of each class that is taken for another one, to stand beside the mistakes."""
    confused = {label for pair in metrics.confused for label in (pair.actual, pair.predicted)}
    typical = find_typical(calibrated, confused, _TYPICAL)
    write_mistakes(path, typical, len(typical) if pictured else 0, _picture_of(test))


def write_plots(folder: Path, metrics: Metrics, predictions: Predictions, bins: int) -> None:
    """Confusion matrix, accuracy by class, calibration; by slice too where there is any."""
    from podium.analysis.calibration import reliability, risk_coverage
    from podium.analysis.statistics import confusion, percent
    from podium.report import plots
    from podium.report.labels import make_labels

    labels = make_labels(predictions.classes)
    counts = confusion(predictions.labels, predictions.predicted, len(predictions.classes))
    title = f"{metrics.model}: confusion, accuracy {percent(metrics.accuracy)}"
    plots.confusion_matrix(folder / CONFUSION_MATRIX, counts, labels, title)
    plots.per_class_accuracy(folder / PER_CLASS_ACCURACY, metrics, labels)
    calibrated = calibrate(predictions, metrics.temperature)
    raw, found = (reliability(some.confidence, some.correct, bins) for some in (predictions, calibrated))
    plots.reliability_diagram(folder / RELIABILITY, raw, found, metrics)
    plots.risk_coverage(folder / RISK_COVERAGE, *risk_coverage(calibrated.confidence, calibrated.correct), metrics)
    if metrics.slices:
        plots.slice_accuracy(folder / SLICE_ACCURACY, metrics)


def _write_learning_curves(path: Path, history: Path, card: ModelCard) -> None:
    """Draws the training run's `history.csv`."""
    from podium.report.plots import learning_curves

    try:
        rows = pd.read_csv(history)
        rows[list(EPOCH_COLUMNS)]
    except (FileNotFoundError, KeyError, ValueError) as error:
        needed = ", ".join(EPOCH_COLUMNS)
        raise DataError(f"{history} is missing or lacks one of {needed}: run `dvc repro` again") from error
    learning_curves(path, rows, card.best_epoch, card.model)


def _picture_of(split: PreparedSplit) -> Callable[[str], bytes]:
    """What gives the picture of an image as the model saw it, smaller where it is large, as a WebP file."""
    place = {image_id: row for row, image_id in enumerate(split.index["image_id"])}

    def picture(image_id: str) -> bytes:
        """The picture of one image."""
        return as_picture(split.images(np.array([place[image_id]], dtype=np.int64))[0])

    return picture


def as_picture(pixels: NDArray[np.uint8]) -> bytes:
    """An image, uint8, shape (H, W, 3), smaller where it is large, as a WebP file."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()


def _write_report(folder: Path, predictions: Predictions, history: Path) -> None:
    """What `dvc plots` draws, tracked by git: answers and the course of the training."""
    with replacing_folder(folder) as out:
        answers = pd.DataFrame({"actual": predictions.index["label"], "predicted": predictions.predicted_names})
        answers.to_csv(out / CONFUSION, index=False, lineterminator="\n")
        shutil.copyfile(history, out / HISTORY)


def print_summary(metrics: Metrics, split: str, name: str = "") -> None:
    """One line with what a person wants to know at once; `split` says which images."""
    from podium.analysis.statistics import percent

    print(
        f"{name or metrics.model}: {metrics.images:,} {split} images, accuracy {percent(metrics.accuracy)}, "
        f"macro F1 {percent(metrics.macro_f1)}, loss {metrics.loss:.3f}, calibration error {metrics.ece:.1%}"
    )
