"""The plots of an evaluation as PNG, made without pyplot: same numbers and fonts (`report.labels`), same bytes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from podium.analysis.calibration import Reliability
from podium.analysis.slices import is_worse, worst_first
from podium.analysis.statistics import percent
from podium.records.evaluation import Interval, Metrics
from podium.records.explanation import Interventions
from podium.records.training import LearningCurve
from podium.report.labels import BASE_FAMILY, Labels, make_labels

_MOST_SLICES = 16
_MOST_COUNTED = 40  # classes up to which counts are written into the cells
_DPI = 130
_STRENGTH = 0.8  # of the colour over an image, at most
_DASHES = ("-", "--", ":")  # of the fills
_BLUE, _ORANGE, _GREY, _LIGHT = "#2563a8", "#d9772b", "#5f6b76", "#c9d6e6"
_STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 11.5,
    "figure.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.axisbelow": True,
    "grid.color": "#e3e7eb",
    "legend.frameon": False,
    "text.parse_math": False,
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
    """Draws the share of each class's images that was named rightly (its recall, with interval), best class on top."""
    names = sorted(metrics.per_class, key=lambda name: (-metrics.per_class[name].recall, name))[::-1]
    recalls = [metrics.per_class[name].recall for name in names]
    bounds = [(c.recall_low, c.recall_high) for c in (metrics.per_class[name] for name in names)]
    spread = np.array([[r - (low or 0), (high or 0) - r] for r, (low, high) in zip(recalls, bounds, strict=True)])
    with figure_at(path, (7.6, 0.27 * len(names) + 1.6), labels) as figure:
        axes = figure.subplots()
        axes.barh(range(len(names)), recalls, xerr=spread.T, color=_BLUE, height=0.72, ecolor=_GREY, capsize=2)
        axes.axvline(metrics.accuracy.value, color=_ORANGE, linewidth=1.5)
        for row, name in enumerate(names):
            told = f"{recalls[row]:.1%} of {metrics.per_class[name].support:,}"
            axes.text(1.03, row, told, va="center", fontsize=8.5, color=_GREY)
        axes.set_yticks(range(len(names)), [labels.label(name) for name in names], fontsize=9)
        axes.set(xlim=(0, 1.2), ylim=(-0.7, len(names) - 0.3), xlabel="named rightly")
        _scale_rates(axes)
        axes.set_title(f"{metrics.model}: accuracy by class, {percent(metrics.accuracy)} over all images (line)")


def learning_curves(path: Path, history: pd.DataFrame, best_epoch: int, model: str) -> None:
    """Draws loss and accuracy on train and validation by epoch.

    Args:
        path: the PNG to write.
        history: `epoch train_loss val_loss train_accuracy val_accuracy`, one row an epoch; `val_objective` is drawn
            where there is one.
        best_epoch: the epoch whose weights were kept.
        model: name for the title.
    """
    with figure_at(path, (9.6, 3.8)) as figure:
        for axes, quantity, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("nats", ""), strict=True):
            for part, name, colour in (("train", "training", _GREY), ("val", "validation", _BLUE)):
                axes.plot(history["epoch"], history[f"{part}_{quantity}"], "o-", color=colour, markersize=4, label=name)
            if quantity == "loss" and "val_objective" in history:
                axes.plot(
                    history["epoch"], history["val_objective"], ":", color=_BLUE, label="validation, as minimised"
                )
            axes.axvline(best_epoch, color=_ORANGE, linestyle="--", linewidth=1.2, label="weights kept")
            axes.set(xlabel="epoch", ylabel=f"{quantity} ({unit})" if unit else quantity)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(axis="y")
            if quantity == "accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
        figure.suptitle(f"{model}: learning curves", x=0.01, ha="left")


def training_sizes(
    path: Path,
    points: Sequence[tuple[int, float]],
    images: NDArray[np.float64],
    fitted: Sequence[Interval],
    *,
    ticks: Sequence[int],
    curve: LearningCurve,
) -> None:
    """Draws the error on the validation images against the number of training images, and the curve with its interval.

    Args:
        path: the PNG to write.
        points: training images and accuracy of each training.
        images: where the curve is drawn, ascending, up to more than there are.
        fitted: accuracies there.
        ticks: numbers of images to write.
        curve: for the title, and for how many images there are.
    """
    with figure_at(path, (7.6, 3.9)) as figure:
        axes = figure.subplots()
        low, high = ([1 - bound for bound in some] for some in zip(*((r.high, r.low) for r in fitted), strict=True))
        axes.fill_between(images, low, high, color=_LIGHT, linewidth=0, label="95% interval of the curve")
        there = images <= curve.images
        errors = np.array([1 - rate.value for rate in fitted])
        axes.plot(images[there], errors[there], color=_BLUE, linewidth=1.6, label="power law")
        axes.plot(images[~there], errors[~there], "--", color=_BLUE, linewidth=1.6, label="where it leads")
        sizes, accuracies = zip(*points, strict=True)
        axes.plot(sizes, 1 - np.array(accuracies), "o", color=_ORANGE, markersize=5, label="one training")
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axes.minorticks_off()
        axes.set(ylim=(0, None), xlabel="training images (each step to the right doubles them)", ylabel="wrong answers")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="y")
        axes.set_title(f"{curve.model}: error on {curve.val_images:,} validation images")
        figure.legend(loc="outside lower center", ncols=4, fontsize=9)


def reliability_diagram(path: Path, raw: Reliability, calibrated: Reliability, metrics: Metrics) -> None:
    """Draws accuracy against confidence by bin, before and after the temperature, and the images of each bin."""
    filled, before = calibrated.counts > 0, raw.counts > 0
    accuracy, counts = calibrated.accuracy[filled], calibrated.counts[filled]
    middles, width = ((calibrated.edges[:-1] + calibrated.edges[1:]) / 2)[filled], 1 / len(calibrated.counts)
    with figure_at(path, (5.6, 5.8)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middles, accuracy, width * 0.92, color=_BLUE, label="accuracy of the bin")
        upper.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1.2, label="perfectly calibrated")
        told = f"calibrated (temperature {metrics.temperature:.2f}), error {metrics.ece:.1%}"
        upper.plot(calibrated.confidence[filled], accuracy, "o", color=_ORANGE, markersize=4, label=told)
        error = f"as the model gives it, error {raw.expected_calibration_error:.1%}"
        upper.plot(raw.confidence[before], raw.accuracy[before], "x", color=_GREY, markersize=5, label=error)
        upper.set(ylim=(0, 1.02), ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        lower.bar(middles, counts, width * 0.92, color=_LIGHT)
        lower.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
        lower.xaxis.set_major_formatter(PercentFormatter(1.0))
        lower.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        upper.set_title(f"{metrics.model}: calibration")
        figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)


def risk_coverage(path: Path, coverage: NDArray[np.float64], risk: NDArray[np.float64], metrics: Metrics) -> None:
    """Draws the share of wrong answers against the share of images answered, the surest first, and the threshold."""
    found = metrics.abstention
    with figure_at(path, (5.6, 4.2)) as figure:
        axes = figure.subplots()
        axes.plot(coverage, risk, color=_BLUE, linewidth=1.6, drawstyle="steps-post")
        if found.target_risk is not None:
            axes.axhline(found.target_risk, color=_GREY, linestyle="--", linewidth=1.2, label="risk asked for")
        if found.risk is not None:
            spread = [[found.risk.value - found.risk.low], [found.risk.high - found.risk.value]]
            told = f"answers from {found.threshold:.0%} confidence on, with 95% interval"
            axes.errorbar(
                found.coverage.value,
                found.risk.value,
                spread,
                fmt="o",
                color=_ORANGE,
                capsize=3,
                markersize=5,
                label=told,
            )
        axes.set(xlim=(0, 1.02), ylim=(0, None), xlabel="share of images answered", ylabel="wrong among them")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="y")
        axes.set_title(f"{metrics.model}: wrong answers among the surest")
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=1, fontsize=9)


def slice_accuracy(path: Path, metrics: Metrics) -> None:
    """Draws accuracy with its interval on the worst slices, and that of the rest; orange where it is surely lower."""
    names = worst_first(metrics.slices)[:_MOST_SLICES][::-1]
    parts = [metrics.slices[name] for name in names]
    labels = make_labels([name.replace("_", " ") for name in names])
    values = np.array([part.accuracy.value for part in parts])
    spread = np.array([[p.accuracy.value - p.accuracy.low, p.accuracy.high - p.accuracy.value] for p in parts])
    with figure_at(path, (7.6, 0.48 * len(parts) + 1.9), labels) as figure:
        axes = figure.subplots()
        colours = [_ORANGE if is_worse(part) else _BLUE for part in parts]
        axes.barh(range(len(parts)), values, xerr=spread.T, color=colours, height=0.66, ecolor=_GREY, capsize=3)
        rest = [part.rest.value if part.rest else np.nan for part in parts]
        axes.scatter(rest, range(len(parts)), marker="|", s=260, color="black", zorder=3, label="all other images")
        shown = [f"{name}\n{part.images:,} images" for name, part in zip(labels.shown, parts, strict=True)]
        axes.set_yticks(range(len(parts)), shown, fontsize=9)
        for row, part in enumerate(parts):
            axes.text(1.03, row, percent(part.accuracy), va="center", fontsize=9, color=_GREY)
        axes.set(xlim=(0, 1.38), xlabel="accuracy, with 95% interval; orange: lower by more than chance")
        _scale_rates(axes)
        axes.set_title(f"{metrics.model}: accuracy on parts of the images, the worst first")
        figure.legend(loc="outside lower center", fontsize=9)


def interventions(path: Path, found: Interventions, model: str) -> None:
    """Draws accuracy against the share of a picture that is covered, and that a second object takes."""
    panels: dict[str, tuple[str, str, str]] = {
        "salient": ("share of the picture covered", "what speaks most", "as much elsewhere"),
        "second_object": ("size of a second object", "of another class", "of its own class"),
    }
    there = [kind for kind in panels if any(one.kind == kind for one in found.results)]
    with figure_at(path, (4.8 * len(there) + 0.2, 4.0)) as figure:
        for axes, kind in zip(figure.subplots(1, len(there), squeeze=False, sharey=True)[0], there, strict=True):
            some = [one for one in found.results if one.kind == kind]
            for how, dashes in zip(dict.fromkeys(one.how for one in some), _DASHES, strict=False):
                mine = sorted((one for one in some if one.how == how), key=lambda one: one.asked or 0)
                shares = [0.0, *(one.asked or 0.0 for one in mine)]
                for name, colour, field in zip(
                    panels[kind][1:], (_ORANGE, _BLUE), ("accuracy", "control"), strict=True
                ):
                    rates = [found.clean, *(getattr(one, field) for one in mine)]
                    values = [rate.value for rate in rates]
                    spread = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
                    look = {"linestyle": dashes, "color": colour, "capsize": 3, "marker": "o", "markersize": 4}
                    axes.errorbar(shares, values, spread, label=f"{name}, {how}" if kind == "salient" else name, **look)
            axes.set(xlabel=panels[kind][0], ylim=(0, 1.02))
            axes.grid(axis="y")
            axes.legend(loc="lower left", fontsize=9)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.axes[0].set_ylabel("accuracy, with 95 % interval")
        figure.suptitle(f"{model}: what matters in {found.images:,} pictures", x=0.01, ha="left")


def overlay(pixels: NDArray[np.uint8], found: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image in grey with what speaks for a class in colour.

    Args:
        pixels: uint8, shape (H, W, 3).
        found: the map, shape (H, W); only what is above 0 is drawn, the highest value in full colour.

    Returns:
        uint8, shape (H, W, 3).
    """
    heat = np.clip(found, 0, None).astype(np.float64)
    heat /= heat.max() or 1.0
    colour = 255 * matplotlib.colormaps["inferno"](heat)[..., :3]
    strength = _STRENGTH * np.sqrt(heat)[..., None]
    mixed: NDArray[np.uint8] = (
        ((1 - strength) * pixels.mean(axis=2, keepdims=True) + strength * colour).round().astype(np.uint8)
    )
    return mixed


def explanation(path: Path, pixels: NDArray[np.uint8], found: NDArray[np.float32], label: str, said: str) -> None:
    """Draws an image beside its overlay.

    Args:
        path: the PNG to write.
        pixels: uint8, shape (H, W, 3), as the model saw it.
        found: the map, shape (H, W).
        label: the class it speaks for.
        said: one line below the class.
    """
    labels = make_labels([label])
    with figure_at(path, (7.2, 4.3), labels) as figure:
        for axes, shown, title in zip(
            figure.subplots(1, 2),
            (pixels, overlay(pixels, found)),
            ("as the model saw it", "what speaks for it"),
            strict=True,
        ):
            axes.imshow(shown)
            axes.set_axis_off()
            axes.set_title(title)
        figure.suptitle(f"{labels.shown[0]}\n{said}", x=0.02, ha="left")


@contextmanager
def figure_at(path: Path | io.BytesIO, size: tuple[float, float], labels: Labels | None = None) -> Iterator[Figure]:
    """A figure of a size in inches, less white edges, that is written as PNG when the block ends."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        families = list(labels.families) if labels else [BASE_FAMILY]
        matplotlib.rcParams.update({**_STYLE, "font.family": families})
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        # The library's version, which matplotlib would write into the file, is left out.
        figure.savefig(path, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.15)


def _scale_rates(axes: Axes) -> None:
    """Lines and percentages for bars that lie beside each other and are at most 1 long."""
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
