"""Stage evaluate@m: open the test split once and measure one trained model on it.

The only stage that opens the test split.
"""

import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.evaluation import measure
from podium.analysis.predictions import Predictions, sort_predictions, write_predictions
from podium.analysis.slices import describe_images, resolve
from podium.config.judging import Evaluate
from podium.config.runtime import Runtime
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
    MISTAKE_PICTURES,
    MISTAKES,
    PER_CLASS_ACCURACY,
    PREDICTIONS,
    RELIABILITY,
    REPEATS,
    RISK_COVERAGE,
    SLICE_ACCURACY,
    Layout,
)
from podium.data.shards import PreparedSplit, open_for_fitting, open_for_testing
from podium.records.base import read_parquet
from podium.records.evaluation import Metrics, round_floats
from podium.records.training import EPOCH_COLUMNS, ModelCard

if TYPE_CHECKING:
    from podium.models.inference import Classifier

_BATCHES_AT_ONCE = 16  # copied out of the memory maps together
SIDE = 256  # pixels a picture of a mistake is enlarged to, at least
_PART_BYTES = 60  # of each of the three parts of its name, in UTF-8: three parts fit every file system's 255
_KEPT_CATEGORIES = ("L", "M", "N", "So", "Sk")
_KEPT_CHARACTERS = "-_.\u200d"  # the zero-width joiner holds some emoji together


def evaluate_model(
    layout: Layout,
    model: str,
    evaluate: Evaluate,
    runtime: Runtime,
    seed: int,
    *,
    seeds: Sequence[int] = (),
    experiment: str = "",
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

    Raises:
        DataError: a split or the model's folder is missing, the model was trained on other data, or the ledger of
            openings is damaged.
        ModelError: the weights are not those of the model's card, or its answers are not numbers.
    """
    from podium.models.inference import load_classifier

    validation = _describe(layout, open_for_fitting(layout.prepared, "val"))
    resolve(evaluate.slices, validation.index)  # a mistake in params is told before anything is computed
    classifier = load_classifier(layout.model(model), runtime)
    _check_data(classifier, validation)
    test = _describe(layout, open_for_testing(layout.prepared))
    of = f" of {experiment}" if experiment else ""
    purpose = f"evaluate {model}{of}"
    predictions, metrics = _test(layout, classifier, (validation, test), evaluate, seed=seed, purpose=purpose)
    repeats = {}
    for other in seeds:
        repeated, purpose = load_classifier(layout.repeat(model, other), runtime), f"evaluate {model} seed {other}{of}"
        _check_data(repeated, validation)
        repeats[other] = _test(layout, repeated, (validation, test), evaluate, seed=seed, purpose=purpose)
    history = layout.model(model) / HISTORY
    with replacing_folder(layout.evaluation(model)) as folder:
        write_predictions(folder / PREDICTIONS, predictions)
        (folder / CLASSIFICATION_REPORT).write_text(classification_report(predictions), encoding="utf-8")
        _write_learning_curves(folder / LEARNING_CURVES, history, classifier.card)
        metrics.write(folder / METRICS)
        _write_plots(folder, metrics, predictions, evaluate.calibration_bins)
        _write_mistakes(folder, predictions, test, evaluate.mistakes)
        for other, (answers, measured) in repeats.items():
            write_predictions(folder / REPEATS / str(other) / PREDICTIONS, answers)
            measured.write(folder / REPEATS / str(other) / METRICS)
    _write_report(layout.evaluation_report(model), predictions, history)
    _print_summary(metrics, "test")
    for other, (_, measured) in repeats.items():
        _print_summary(measured, "test", f"{model} seed {other}")


def measure_on_validation(layout: Layout, model: str, evaluate: Evaluate, runtime: Runtime, seed: int) -> None:
    """Prints the same of the validation split, opens no other and writes nothing.

    Temperature and epoch were chosen on these images, so loss and calibration look better than they are.

    Raises:
        DataError: the split or the model's folder is missing, or the model was trained on other data.
        ModelError: the weights are not those of the model's card, or its answers are not numbers.
    """
    from podium.models.inference import load_classifier

    split = _describe(layout, open_for_fitting(layout.prepared, "val"))
    classifier = load_classifier(layout.model(model), runtime)
    _check_data(classifier, split)
    answers = _predict(classifier, split, evaluate.batch_size)
    card, digest = classifier.card, split.digest
    measured = measure(card, test=answers, validation=answers, test_digest=digest, settings=evaluate, seed=seed)
    _print_summary(measured, "validation")


def worst_mistakes(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """Rows of at most `count` wrongly named images, shape (M,): the surest first, equals in the order of `image_id`."""
    wrong = np.flatnonzero(~predictions.correct)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    return wrong[order][:count].astype(np.int64)


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


def mistake_table(predictions: Predictions, rows: NDArray[np.int64]) -> pd.DataFrame:
    """`mistakes.csv`: `path label predicted confidence file`, the last one unique also where case is ignored."""
    index = predictions.index.iloc[rows].reset_index(drop=True)
    table = index[["path", "label"]].assign(
        predicted=[predictions.classes[number] for number in predictions.predicted[rows]],
        confidence=[float(f"{c:.6g}") for c in predictions.confidence[rows]],
    )
    taken: set[str] = set()
    files = []
    for image_id, truth, predicted, path in zip(
        index["image_id"], table["label"], table["predicted"], table["path"], strict=True
    ):
        name = mistake_name(truth, predicted, path)
        if name.casefold() in taken:
            name = f"{name.removesuffix('.png')}_{image_id}.png"
        taken.add(name.casefold())
        files.append(name)
    return table.assign(file=files)


def mistake_name(truth: str, predicted: str, path: str) -> str:
    """A readable file name for one mistake: `<true>_to_<predicted>_<file>.png`, at most 192 bytes of UTF-8.

    Letters, digits and pictograms of any script stay, everything else becomes `_`. `path` has forward slashes.
    """
    return f"{_part(truth)}_to_{_part(predicted)}_{_part(PurePosixPath(path).stem)}.png"


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Writes an image (uint8, shape (H, W, 3)) as PNG, enlarged by a whole factor to at least `SIDE` pixels."""
    from PIL import Image

    factor = max(1, -(-SIDE // min(pixels.shape[:2])))
    image = Image.fromarray(pixels)
    image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS).save(path, format="PNG")


def _test(
    layout: Layout,
    classifier: "Classifier",
    splits: tuple[PreparedSplit, PreparedSplit],
    settings: Evaluate,
    *,
    seed: int,
    purpose: str,
) -> tuple[Predictions, Metrics]:
    """Opens val and test for a model, for a purpose that the ledger tells: its answers on test, and their measures."""
    validation, test = splits
    on_validation = _predict(classifier, validation, settings.batch_size)
    _check_data(classifier, test)
    card, digest = classifier.card, test.digest
    images = sha256_text("\n".join(sorted(test.index["image_id"])))
    keep_openings(layout, Opening(purpose=purpose, fingerprint=card.fingerprint, test_digest=digest, images=images))
    predictions = _predict(classifier, test, settings.batch_size)
    known = measure(card, test=predictions, validation=on_validation, test_digest=digest, settings=settings, seed=seed)
    return predictions, round_floats(known)


def _check_data(classifier: "Classifier", split: PreparedSplit) -> None:
    """Refuses a split of other classes, other preprocessing or another digest than the model was trained with."""
    card = classifier.card
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


def _predict(classifier: "Classifier", split: PreparedSplit, batch_size: int) -> Predictions:
    """Predictions on a whole split."""
    step = batch_size * _BATCHES_AT_ONCE
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(split), step):
        images = split.images(np.arange(start, min(start + step, len(split)), dtype=np.int64))
        parts.append(classifier.probabilities(images, batch_size))
    probabilities = np.concatenate(parts) if parts else np.empty((0, len(split.classes)), np.float32)
    return sort_predictions(split.classes, split.index, split.labels, probabilities)


def _write_plots(folder: Path, metrics: Metrics, predictions: Predictions, bins: int) -> None:
    """Confusion matrix, accuracy by class, calibration; by slice too where there is any."""
    from podium.analysis.calibration import calibrate, reliability, risk_coverage
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


def _write_mistakes(folder: Path, predictions: Predictions, split: PreparedSplit, count: int) -> None:
    """The `count` most confident mistakes: a table, and a picture of each as the model saw it."""
    rows = worst_mistakes(predictions, count)
    table = mistake_table(predictions, rows)
    table.to_csv(folder / MISTAKES, index=False, lineterminator="\n")
    pictures = folder / MISTAKE_PICTURES
    pictures.mkdir()
    place = {image_id: row for row, image_id in enumerate(split.index["image_id"])}
    for row, name in zip(rows, table["file"], strict=True):
        stored = np.array([place[predictions.index["image_id"].iloc[int(row)]]], dtype=np.int64)
        write_picture(pictures / name, split.images(stored)[0])


def _write_report(folder: Path, predictions: Predictions, history: Path) -> None:
    """What `dvc plots` draws, tracked by git: answers and the course of the training."""
    with replacing_folder(folder) as out:
        answers = pd.DataFrame({"actual": predictions.index["label"], "predicted": predictions.predicted_names})
        answers.to_csv(out / CONFUSION, index=False, lineterminator="\n")
        shutil.copyfile(history, out / HISTORY)


def _print_summary(metrics: Metrics, split: str, name: str = "") -> None:
    """One line with what a person wants to know at once."""
    from podium.analysis.statistics import percent

    print(
        f"{name or metrics.model}: {metrics.images:,} {split} images, accuracy {percent(metrics.accuracy)}, "
        f"macro F1 {percent(metrics.macro_f1)}, loss {metrics.loss:.3f}, calibration error {metrics.ece:.1%}"
    )


def _part(text: str) -> str:
    """A text as a part of a file name, at most `_PART_BYTES` long in UTF-8, never empty."""
    composed = unicodedata.normalize("NFC", text)
    stays = [c in _KEPT_CHARACTERS or unicodedata.category(c).startswith(_KEPT_CATEGORIES) for c in composed]
    kept = "".join(c if stay else "_" for c, stay in zip(composed, stays, strict=True)).strip("._")
    while len(kept.encode()) > _PART_BYTES:
        kept = kept[:-1]
    return kept or "unnamed"
