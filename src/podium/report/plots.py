"""The plots of an evaluation as PNG, with labels that fonts can draw: same numbers and fonts, same bytes.

Figures are made without pyplot. DejaVu Sans, which comes with matplotlib, is the first font; for what it lacks,
installed fonts stand behind it, and what no font has is transliterated (`sagwa`, `:apple:`).
"""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from podium.analysis.statistics import Reliability, percent
from podium.records.evaluation import Metrics, SliceMetrics
from podium.report.pages import latin

BASE_FAMILY = "DejaVu Sans"
LONGEST = 28  # characters of a label; the middle of a longer one is left out
SLICE_TITLES = {
    "clean": "clean",
    "occluded": "occluded",
    "busy_background": "busy background",
    "several_objects": "several objects",
    "rotated_view": "rotated view",
    "hard": "any of these",
}
_MOST_COUNTED = 40  # classes up to which counts are written into the cells
_DPI = 130
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


@dataclass(frozen=True)
class Labels:
    """How class names are written in plots.

    Attributes:
        names: class names, in order.
        shown: one label a class, all different, each of them covered by `families`.
        families: font families, the first one first.
    """

    names: tuple[str, ...]
    shown: tuple[str, ...]
    families: tuple[str, ...]

    def label(self, name: str) -> str:
        """How one class is written."""
        return self.shown[self.names.index(name)]


def make_labels(names: Sequence[str]) -> Labels:
    """Chooses fonts and labels for class names.

    Returns:
        Labels of at most `LONGEST` characters (plus a number where two would look the same) and the families to use.
    """
    fonts = _Fonts()
    shown = _number_equals([_draw(_shorten(name), fonts) for name in names])
    return Labels(names=tuple(names), shown=shown, families=tuple(fonts.families))


class _Fonts:
    """The families matplotlib falls back on, one after the other; those that a text needs are added as it is met."""

    def __init__(self) -> None:
        self.families = [BASE_FAMILY]
        self._has = {BASE_FAMILY: _coverage(BASE_FAMILY)}
        self._others: list[str] | None = None

    def cover(self, text: str) -> bool:
        """Whether each of these characters is drawn by some family."""
        return all(self._find(character) for character in text)

    def _find(self, character: str) -> bool:
        """Whether a family draws a character; it is then among `families`."""
        if any(self._has[family](character) for family in self.families):
            return True
        if self._others is None:
            self._others = _installed_families()
        for family in self._others:
            self._has[family] = self._has.get(family) or _coverage(family)
            if self._has[family](character):
                self.families.append(family)
                return True
        return False


def _draw(name: str, fonts: _Fonts) -> str:
    """The label of a name: runs of letters are kept or transliterated as a whole, other characters one by one."""
    parts: list[str] = []
    for kind, characters in itertools.groupby(name, key=_kind):
        text = "".join(characters)
        parts.extend(_draw_run(run, fonts) for run in (text if kind == "other" else [text]))
    return "".join(parts).strip() or "?"


def _kind(character: str) -> str:
    """Which characters make a run: Latin letters, other letters and marks, or anything else."""
    if unicodedata.category(character)[0] not in "LM":
        return "other"
    return "latin" if character < "\u0250" else "letters"


def _draw_run(text: str, fonts: _Fonts) -> str:
    """A run of one kind as it is where the fonts can show it, else transliterated."""
    printable = unicodedata.category(text[0])[0] not in "CZ"
    if text.isascii() and text.isprintable():
        return text
    if printable and (_can_shape() or not any(map(_needs_shaping, text))) and fonts.cover(text):
        return text
    return latin(text)


def _can_shape() -> bool:
    """Whether this matplotlib joins and reorders letters (it does where it is built with libraqm, from 3.11 on)."""
    return hasattr(ft2font, "__libraqm_version__")


def _needs_shaping(character: str) -> bool:
    """Right-to-left letters, and marks that must be placed on or around a letter."""
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character)[0] == "M"


def _coverage(family: str) -> Callable[[str], bool]:
    """A test of whether the regular face of a family draws something for a character."""
    font = ft2font.FT2Font(font_manager.findfont(font_manager.FontProperties(family=[family])))
    if ft2font.FaceFlags.SCALABLE not in font.face_flags:
        return lambda _: False  # coloured bitmaps, which matplotlib cannot draw

    def has(character: str) -> bool:
        """Whether the font draws a character: some map one to an empty glyph."""
        if not font.get_char_index(ord(character)):
            return False
        font.load_char(ord(character), flags=ft2font.LoadFlags.NO_SCALE)
        return bool(len(font.get_path()[0])) or unicodedata.category(character) in ("Mn", "Cf", "Zs")

    return has


def _installed_families() -> list[str]:
    """Families with a regular face, sans-serif before others, then by name; fonts installed since are found too."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            manager.addfont(path)
        except (OSError, RuntimeError):
            continue  # matplotlib leaves out fonts it cannot read as well
    own = str(Path(matplotlib.get_data_path()))  # beside the first family: mathematics, and boxes for every character
    regular = {
        entry.name
        for entry in manager.ttflist
        if entry.weight in (400, "normal", "regular")
        and (entry.style, entry.stretch) == ("normal", "normal")
        and not entry.fname.startswith(own)
        and Path(entry.fname).is_file()  # matplotlib's cache remembers fonts that were removed since
    }
    sans = ("Sans", "Gothic", "Grotesk")
    return sorted(regular - {BASE_FAMILY}, key=lambda name: (not any(word in name for word in sans), name))


def _shorten(name: str) -> str:
    """A name on one line, its middle left out where it is longer than `LONGEST`."""
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _number_equals(labels: list[str]) -> tuple[str, ...]:
    """Numbers labels that would look the same."""
    total, seen = Counter(labels), Counter[str]()
    out = []
    for label in labels:
        seen[label] += 1
        out.append(f"{label} ({seen[label]})" if total[label] > 1 else label)
    return tuple(out)


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
    with _figure_at(path, (cell * classes + 2.6, cell * classes + 2.2), labels) as figure:
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
    with _figure_at(path, (7.6, 0.27 * len(names) + 1.6), labels) as figure:
        axes = figure.subplots()
        axes.barh(range(len(names)), recalls, color=_BLUE, height=0.72)
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
    with _figure_at(path, (9.6, 3.8)) as figure:
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


def reliability_diagram(path: Path, found: Reliability, model: str) -> None:
    """Draws accuracy against confidence by bin, and how many images each bin holds."""
    filled = found.counts > 0
    confidence, accuracy, counts = found.confidence[filled], found.accuracy[filled], found.counts[filled]
    middles, width = (found.edges[:-1] + found.edges[1:])[filled] / 2, 1 / len(found.counts)
    with _figure_at(path, (5.6, 5.8)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middles, accuracy, width * 0.92, color=_BLUE, label="accuracy of the bin")
        upper.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1.2, label="perfectly calibrated")
        upper.plot(confidence, accuracy, "o", color=_ORANGE, markersize=4, label="its mean confidence")
        upper.set(ylim=(0, 1.02), ylabel="accuracy")
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        lower.bar(middles, counts, width * 0.92, color=_LIGHT)
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
    with _figure_at(path, (7.6, 0.48 * len(parts) + 1.5)) as figure:
        axes = figure.subplots()
        colours = [_LIGHT if name == "clean" else _BLUE for name in parts]
        axes.barh(range(len(parts)), values, xerr=spread.T, color=colours, height=0.66, ecolor=_GREY, capsize=3)
        names = [f"{SLICE_TITLES[name]}\n{part.images:,} images" for name, part in parts.items()]
        axes.set_yticks(range(len(parts)), names, fontsize=9)
        for row, part in enumerate(parts.values()):
            axes.text(1.03, row, percent(part.accuracy), va="center", fontsize=9, color=_GREY)
        axes.set(xlim=(0, 1.38), xlabel="accuracy, with 95 % interval")
        _scale_rates(axes)
        axes.set_title(f"{metrics.model}: accuracy where images are hard")


@contextmanager
def _figure_at(path: Path, size: tuple[float, float], labels: Labels | None = None) -> Iterator[Figure]:
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
