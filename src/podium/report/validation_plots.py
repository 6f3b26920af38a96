"""The plots of the validation page as PNG: the same numbers give the same bytes.

Figures are made without pyplot and with matplotlib's default settings, so no global state and no matplotlibrc of the
user's shows in them. They hold no class names; the page writes those beside them, in fonts that the reader has.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from podium.config.base import SPLITS
from podium.records.profile import HISTOGRAMS, SPECTRUM_BANDS, Part, Profile
from podium.report.pages import inlined

COLOURS = ("#2563a8", "#d9772b", "#2c7a51", "#8a4f9e", "#5f6b76", "#b3362b")
"""Of sources, in their order; also train, val and test, in theirs. The page uses them in its legends."""

_INK, _GREY, _LIGHT = "#1b242d", "#5f6b76", "#c3ced9"
_DPI = 144
_MOST_POINTS = 5000
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.labelcolor": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LIGHT,
    "axes.axisbelow": True,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": "#e8ecf0",
    "text.parse_math": False,
}


class Plot:
    """A figure that becomes an address of a PNG when its block ends."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.uri = ""


def plot_light(profile: Profile) -> str:
    """How brightness and contrast are spread over the images of each split.

    Args:
        profile: of the data.

    Returns:
        A `data:` address.
    """
    with _figure(6.6, 2.5) as plot:
        for axes, (name, end) in zip(plot.figure.subplots(1, 2), HISTOGRAMS.items(), strict=True):
            for split, colour in zip(SPLITS, COLOURS, strict=False):
                counts = np.array(profile.splits[split].histograms[name], dtype=np.float64)
                if counts.sum():
                    edges = np.linspace(0, end, len(counts) + 1)
                    axes.stairs(counts / counts.sum(), edges, color=colour, linewidth=1.6)
            axes.set(xlabel=name, xlim=(0, end), ylim=(0, None))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.grid(axis="y")
            axes.tick_params(length=0)
    return plot.uri


def plot_spectra(by_class: dict[str, Part], smoothest: str, finest: str) -> str:
    """Mean spectra of all classes, with two of them in colour.

    Args:
        by_class: what the profile says of each class.
        smoothest: the class drawn in the first colour.
        finest: the class drawn in the second colour.

    Returns:
        A `data:` address.
    """
    middles = (np.arange(SPECTRUM_BANDS) + 0.5) / (2 * SPECTRUM_BANDS)
    drawn = [(name, _LIGHT, 1.0) for name in by_class if name not in (smoothest, finest)]
    with _figure(6.6, 2.9) as plot:
        axes = plot.figure.subplots()
        for name, colour, width in [*drawn, (smoothest, COLOURS[0], 2.0), (finest, COLOURS[1], 2.0)]:
            measures = by_class[name].measures
            curve = [10 ** measures[f"spectrum_{band}"].mean for band in range(SPECTRUM_BANDS)]
            axes.plot(middles, curve, color=colour, linewidth=width)
        axes.set(yscale="log", xlabel="spatial frequency, cycles a pixel", ylabel="share of the power", xlim=(0, 0.5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.4%}".rstrip("0%").rstrip(".") + "%"))
        axes.grid(axis="y")
        axes.tick_params(length=0, which="both")
    return plot.uri


def plot_sizes(manifest: pd.DataFrame, sources: list[str], side: int) -> str:
    """Width and height of the originals, a point an image; at most 5,000 of them, evenly drawn by id.

    Args:
        manifest: `image_id source width height`.
        sources: drawn in the colours, in this order; others are grey.
        side: of the prepared images, drawn as a corner: what lies inside it is enlarged.

    Returns:
        A `data:` address.
    """
    shown = manifest.sort_values("image_id").head(_MOST_POINTS)
    colours = shown["source"].map(dict(zip(sources, COLOURS, strict=False))).fillna(_LIGHT)
    with _figure(6.6, 3.6) as plot:
        axes = plot.figure.subplots()
        axes.scatter(shown["width"], shown["height"], s=9, c=list(colours), alpha=0.45, linewidths=0)
        axes.plot([side, side, 0], [0, side, side], color=_INK, linewidth=1.0, linestyle="--")
        largest = 1.05 * max(int(shown["width"].max()), int(shown["height"].max()), side)
        axes.set(xlabel="width, pixels", ylabel="height, pixels", xlim=(0, largest), ylim=(0, largest))
        axes.grid()
        axes.tick_params(length=0)
    return plot.uri


@contextmanager
def _figure(width: float, height: float) -> Iterator[Plot]:
    """A figure of a size in inches."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        plot = Plot(figure)
        yield plot
        out = io.BytesIO()
        # The library's version, which matplotlib would write into the file, is left out.
        figure.savefig(out, format="png", metadata={"Software": None})
        plot.uri = inlined(out.getvalue(), "png")
