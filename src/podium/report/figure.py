"""The look of every plot, and a figure that writes itself: the same numbers and fonts give the same bytes.

Figures are made without pyplot and with matplotlib's default settings, so no global state and no matplotlibrc of the
user's shows in them. Needs matplotlib (Agg).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from podium.report.lettering import Lettering

DPI = 130
BLUE, ORANGE, GREY, LIGHT = "#2563a8", "#d9772b", "#5f6b76", "#c9d6e6"
_STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 11.5,
    "figure.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#e3e7eb",
    "legend.frameon": False,
    "text.parse_math": False,
}


@contextmanager
def figure_at(path: Path, size: tuple[float, float], lettering: Lettering | None) -> Iterator[Figure]:
    """A figure that is written when the block ends.

    Args:
        path: the PNG to write.
        size: width and height in inches; white edges are cut off.
        lettering: of the class names in it, if there are any.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        families = list(lettering.families) if lettering else ["DejaVu Sans"]
        matplotlib.rcParams.update({**_STYLE, "font.family": families})
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        # The library's version, which matplotlib would write into the file, is left out.
        figure.savefig(path, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.15)
