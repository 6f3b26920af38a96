"""Plots: deterministic bytes, any number of classes, no global state."""

import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.analysis.calibration import reliability, risk_coverage
from podium.records.evaluation import ClassMetrics, Interval
from podium.report import plots
from podium.report.labels import make_labels
from tests.measurements import a_slice, some_metrics

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "train_loss": [2.0, 1.0, 0.5],
        "val_loss": [2.1, 1.2, 0.9],
        "train_accuracy": [0.3, 0.6, 0.8],
        "val_accuracy": [0.3, 0.5, 0.7],
    }
)


def metrics_of(names):
    rate = Interval(value=0.8, low=0.7, high=0.9)
    told = {"precision": 1, "recall_low": 0, "recall_high": 1, "f1": 0.5, "support": 9}
    per_class = {n: ClassMetrics(recall=i / len(names), **told) for i, n in enumerate(names)}
    parts = {name: a_slice(accuracy=rate, adjusted_p=p) for name, p in (("clean", 1), ("source: 사과", 0.001))}
    return some_metrics(accuracy=rate, per_class=per_class, slices=parts)


def draw_all(folder, names):
    folder.mkdir()
    rng, labels = np.random.default_rng(0), make_labels(names)
    counts = rng.integers(0, 5, (len(names), len(names)))
    plots.confusion_matrix(folder / "confusion.png", counts, labels, "m: confusion")
    plots.per_class_accuracy(folder / "classes.png", metrics_of(names), labels)
    plots.learning_curves(folder / "curves.png", HISTORY, 2, "m")
    confidence, correct = rng.uniform(0.3, 1, 50), rng.random(50) < 0.8
    found = reliability(confidence, correct, 15)
    plots.reliability_diagram(folder / "reliability.png", found, found, metrics_of(names))
    plots.risk_coverage(folder / "risk.png", *risk_coverage(confidence, correct), metrics_of(names))
    plots.slice_accuracy(folder / "slices.png", metrics_of(names))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_numbers_give_the_same_bytes_whatever_the_users_settings(tmp_path, monkeypatch):
    names = ["사과", "lemon", "🍎"]
    first = draw_all(tmp_path / "1", names)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)
    before = dict(matplotlib.rcParams)
    assert draw_all(tmp_path / "2", names) == first
    assert dict(matplotlib.rcParams) == before
    assert len(first) == 6


def test_nothing_about_the_machine_is_written_into_the_file(tmp_path):
    draw_all(tmp_path / "1", ["a", "b"])
    with Image.open(tmp_path / "1" / "slices.png") as image:
        assert set(image.info) == {"dpi"}


@pytest.mark.parametrize("classes", [2, 12, 40, 70])
def test_confusion_matrix_grows_with_the_classes(tmp_path, classes):
    names = [f"class {i}" for i in range(classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion_matrix(tmp_path / "c.png", np.eye(classes, dtype=np.int64), make_labels(names), "title")
    with Image.open(tmp_path / "c.png") as image:
        assert min(200, 14 * classes) < image.width < 2600


def test_no_glyph_is_missing_in_any_script(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of every glyph it cannot draw
        draw_all(tmp_path / "1", ["사과", "🍎", "تفاح", "苹果", "हिन्दी", "яблоко", "$x_1$", "a" * 300, "ระ"])


def test_one_epoch_and_empty_classes_can_be_drawn(tmp_path):
    plots.learning_curves(tmp_path / "1.png", HISTORY[:1], 1, "m")
    plots.confusion_matrix(tmp_path / "2.png", np.array([[3, 0], [0, 0]]), make_labels(["a", "b"]), "m")
    assert (tmp_path / "2.png").stat().st_size > 1000
