"""What a prediction log says beside a model's training images: a page that needs no other file, and a plot."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from podium.analysis.drift import CLASSES, CONFIDENCE, Profiled
from podium.data.manifest import MEASURES
from podium.records.drift import Drift
from podium.report.labels import Labels, make_labels
from podium.report.pages import inlined, rendered, with_latin
from podium.report.plots import figure_at
from podium.report.sentences import count, number, share

MEANINGS = {
    **MEASURES,
    "shorter_side": "shorter side of the original, in pixels",
    CONFIDENCE: "calibrated probability of the class named; before: on the test images",
    CLASSES: "which class is named how often; before: on the test images",
}
_BLUE, _ORANGE = "#2563a8", "#d9772b"
_BINS, _TAILS = 24, (0.005, 0.995)
_PLOTTED, _CLASSES = 8, 10  # measures and classes that are drawn
_ACROSS = 2
_PANEL = (4.6, 2.7)  # inches


def say_drift(found: Drift) -> str:
    """Whether anything drifts, a sentence."""
    tested, drifted = len(found.results), found.drifted
    if not drifted:
        return (
            f"Nothing drifts: none of {tested} distances is above {found.results[0].threshold:g} and no accident. "
            f"So many images tell a distance of {found.smallest:.2f} or more from chance."
        )
    return f"{len(drifted)} of {tested} drift: {', '.join(drifted).replace('_', ' ')}."


def ordered(found: Drift) -> list[str]:
    """Names of all that was compared: what drifts first, then by distance."""
    results = sorted(found.results, key=lambda one: (not one.drifts, -one.distance, one.measure))
    return [one.measure for one in results]


def draw_drift(path: Path, found: Drift, before: Profiled, now: Profiled) -> None:
    """Draws what lies furthest apart, a panel each, as one PNG."""
    names, labels = _drawn(found), _labels(found)
    rows = math.ceil(len(names) / _ACROSS)
    with figure_at(path, (_PANEL[0] * _ACROSS, _PANEL[1] * rows + 0.4), labels) as figure:
        panels = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            _draw(axes, name, found, (before, now), labels)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=2)


def render_drift(found: Drift, before: Profiled, now: Profiled) -> str:
    """The page as HTML, everything from files escaped."""
    by_name = {one.measure: one for one in found.results}
    context = {
        "d": found,
        "said": say_drift(found),
        "results": [by_name[name] for name in ordered(found)],
        "meanings": MEANINGS,
        "plots": {name: _panel(name, found, before, now) for name in _drawn(found)},
        "low": (float(before.confidence.mean()), float(now.confidence.mean())),
    }
    forms = (share, count, number, with_latin)
    return rendered("podium.report", "page", "drift.html.j2", {form.__name__: form for form in forms}, context)


def _drawn(found: Drift) -> list[str]:
    """What is drawn: the measures furthest apart, and confidence and classes in any case."""
    names = ordered(found)
    kept = {*names[:_PLOTTED], CONFIDENCE, CLASSES}
    return [name for name in names if name in kept]


def _labels(found: Drift) -> Labels:
    """Of the classes that are drawn."""
    return make_labels([one.label for one in found.classes[:_CLASSES]])


def _panel(name: str, found: Drift, before: Profiled, now: Profiled) -> str:
    """One panel as the address of an `<img>`."""
    labels, out = _labels(found), io.BytesIO()
    with figure_at(out, _PANEL, labels) as figure:
        axes = figure.subplots()
        _draw(axes, name, found, (before, now), labels)
        axes.legend(fontsize=8.5)
    return inlined(out.getvalue(), "png")


def _draw(axes: Axes, name: str, found: Drift, pair: tuple[Profiled, Profiled], labels: Labels) -> None:
    """Draws how something was spread and is spread now."""
    one = next(one for one in found.results if one.measure == name)
    if name == CLASSES:
        shares = found.classes[:_CLASSES][::-1]
        rows = np.arange(len(shares))
        axes.barh(rows + 0.2, [s.test for s in shares], 0.38, color=_BLUE, label="on the test images")
        axes.barh(rows - 0.2, [s.now for s in shares], 0.38, color=_ORANGE, label="logged")
        axes.set_yticks(rows, list(labels.shown)[::-1], fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="x")
    else:
        then, later = (_values(name, some) for some in pair)
        edges = _edges(then, later)
        where = "on the test images" if name == CONFIDENCE else "training images"
        for values, colour, label in ((then, _BLUE, where), (later, _ORANGE, "logged")):
            counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
            axes.stairs(counts / len(values), edges, color=colour, linewidth=1.7, label=label, fill=False)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_ylim(0, None)
        axes.grid(axis="y")
    drifts = " (drifts)" if one.drifts else ""
    axes.set_title(f"{name.replace('_', ' ')}: distance {one.distance:.2f}{drifts}")


def _values(name: str, some: Profiled) -> NDArray[np.float64]:
    """Numbers of one measure."""
    return some.confidence if name == CONFIDENCE else some.images[name].to_numpy(np.float64)


def _edges(*samples: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Bins that hold nearly all of several samples; what is beyond counts in the last ones."""
    low, high = np.quantile(np.concatenate([np.asarray(some) for some in samples]), _TAILS)
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)
