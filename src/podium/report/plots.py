"""The plots of an evaluation as PNG: the same numbers and fonts give the same bytes.

Sizes grow with the number of classes, so that 2 and 40 classes are both legible.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from podium.analysis.statistics import Reliability
from podium.records.evaluation import Interval, Metrics, SliceMetrics
from podium.report.figure import BLUE, GREY, LIGHT, ORANGE, Labels, figure_at

_MOST_COUNTED = 40  # classes up to which counts are written into the cells
SLICE_TITLES = {
    "clean": "clean",
    "occluded": "occluded",
    "busy_background": "busy background",
    "several_objects": "several objects",
    "rotated_view": "rotated view",
    "hard": "any of these",
}


def confusion_matrix(path: Path, counts: NDArray[np.int64], labels: Labels, title: str) -> None:
    """Draws counts by true (rows) and predicted class (columns), coloured by the share of the true class.

    Args:
        path: the PNG to write.
        counts: shape (C, C).
        labels: of the C classes.
        title: one line.
    """
    classes = len(counts)
    cell = float(np.clip(7.2 / classes, 0.3, 0.9)) if classes <= _MOST_COUNTED else max(0.12, 12 / classes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    font = float(np.clip(cell * 22, 5.0, 10.0))
    with figure_at(path, (cell * classes + 2.6, cell * classes + 2.2), labels) as figure:
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(classes), labels.shown, fontsize=font)
        axes.set_yticks(range(classes), labels.shown, fontsize=font)
        turned = classes > 3
        axes.tick_params(axis="x", rotation=90 if classes > 16 else 45 if turned else 0, length=2)
        axes.tick_params(axis="y", length=2)
        if turned and classes <= 16:
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
        axes.set_title(title)
        beside = axes.inset_axes((1 + 0.12 / (cell * classes), 0, 0.16 / (cell * classes), 1))
        bar = figure.colorbar(image, cax=beside, format=PercentFormatter(1.0))
        bar.set_label("of the images of the true class")
        bar.outline.set_visible(False)
        if classes <= _MOST_COUNTED:
            for row, column in zip(*np.nonzero(counts), strict=True):
                shade = "white" if shares[row, column] > 0.55 else "black"
                text = str(counts[row, column])
                size = min(font, cell * 72 / (0.75 * max(len(text), 2)))
                axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=size)


def per_class_accuracy(path: Path, metrics: Metrics, labels: Labels) -> None:
    """Draws the share of each class's images that was named rightly (its recall), best class on top."""
    names = sorted(metrics.per_class, key=lambda name: (-metrics.per_class[name].recall, name))[::-1]
    recalls = [metrics.per_class[name].recall for name in names]
    with figure_at(path, (7.6, 0.27 * len(names) + 1.6), labels) as figure:
        axes = figure.subplots()
        axes.barh(range(len(names)), recalls, color=BLUE, height=0.72)
        axes.axvline(metrics.accuracy.value, color=ORANGE, linewidth=1.5)
        for row, name in enumerate(names):
            told = f"{recalls[row]:.1%} of {metrics.per_class[name].support:,}"
            axes.text(1.03, row, told, va="center", fontsize=8.5, color=GREY)
        axes.set_yticks(range(len(names)), [labels.label(name) for name in names], fontsize=9)
        axes.set(xlim=(0, 1.2), ylim=(-0.7, len(names) - 0.3), xlabel="named rightly")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_title(f"{metrics.model}: accuracy by class, {percent(metrics.accuracy)} over all images (line)")


def learning_curves(path: Path, history: pd.DataFrame, best_epoch: int, model: str) -> None:
    """Draws loss and accuracy on train and validation by epoch.

    Args:
        path: the PNG to write.
        history: `epoch train_loss val_loss train_accuracy val_accuracy`, one row an epoch.
        best_epoch: the epoch whose weights were kept.
        model: name for the title.
    """
    with figure_at(path, (9.6, 3.8), None) as figure:
        for axes, quantity, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("nats", ""), strict=True):
            for part, name, colour in (("train", "training", GREY), ("val", "validation", BLUE)):
                axes.plot(history["epoch"], history[f"{part}_{quantity}"], "o-", color=colour, markersize=4, label=name)
            axes.axvline(best_epoch, color=ORANGE, linestyle="--", linewidth=1.2, label="weights kept")
            axes.set(xlabel="epoch", ylabel=f"{quantity} ({unit})" if unit else quantity)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(axis="y")
            if quantity == "accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        figure.suptitle(f"{model}: learning curves", x=0.01, ha="left")


def reliability_diagram(path: Path, found: Reliability, model: str) -> None:
    """Draws accuracy against confidence by bin, and how many images each bin holds."""
    filled = found.counts > 0
    middles, width = (found.edges[:-1] + found.edges[1:])[filled] / 2, 1 / len(found.counts)
    with figure_at(path, (5.6, 5.8), None) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middles, found.accuracy[filled], width * 0.92, color=BLUE, label="accuracy of the bin")
        upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1.2, label="perfectly calibrated")
        upper.plot(
            found.confidence[filled],
            found.accuracy[filled],
            "o",
            color=ORANGE,
            markersize=4,
            label="its mean confidence",
        )
        upper.set(ylim=(0, 1.02), ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        lower.bar(middles, found.counts[filled], width * 0.92, color=LIGHT)
        lower.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
        lower.xaxis.set_major_formatter(PercentFormatter(1.0))
        lower.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        upper.set_title(f"{model}: calibration, expected error {found.expected_calibration_error:.1%}")
        figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)


def slice_accuracy(path: Path, metrics: Metrics) -> None:
    """Draws accuracy with its interval on each slice of known difficulty."""
    parts: dict[str, SliceMetrics] = {n: metrics.slices[n] for n in reversed(SLICE_TITLES) if n in metrics.slices}
    values = np.array([part.accuracy.value for part in parts.values()])
    spread = np.array([[p.accuracy.value - p.accuracy.low, p.accuracy.high - p.accuracy.value] for p in parts.values()])
    with figure_at(path, (7.6, 0.48 * len(parts) + 1.5), None) as figure:
        axes = figure.subplots()
        colours = [LIGHT if name == "clean" else BLUE for name in parts]
        axes.barh(range(len(parts)), values, xerr=spread.T, color=colours, height=0.66, ecolor=GREY, capsize=3)
        names = [f"{SLICE_TITLES[name]}\n{part.images:,} images" for name, part in parts.items()]
        axes.set_yticks(range(len(parts)), names, fontsize=9)
        for row, part in enumerate(parts.values()):
            axes.text(1.03, row, percent(part.accuracy), va="center", fontsize=9, color=GREY)
        axes.set(xlim=(0, 1.38), xlabel="accuracy, with 95 % interval")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_title(f"{metrics.model}: accuracy where images are hard")


def percent(interval: Interval) -> str:
    """A rate and its interval for people: `91.2% [88.0–94.1]`."""
    return f"{interval.value:.1%} [{100 * interval.low:.1f}–{100 * interval.high:.1f}]"
