"""The plots of a study as PNG: its course, what each searched key did to the loss, and all keys at once.

Drawn from `trials.csv` and `history.csv`, not from Optuna's storage, so that they can be drawn again from the files of
any study. The same numbers give the same bytes. Needs matplotlib (Agg) and pandas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from podium.config.tuning import Choices, Range, Span, Value
from podium.report.figure import BLUE, GREY, LIGHT, ORANGE, figure_at

_FAR = 8.0  # times the lowest loss, from which on losses are drawn in logs
_COLUMNS = 3
_APART = 0.19  # of the axis, between two marks, so that their numbers do not touch
_FEW_DECADES = 1.7  # up to here an axis in logs is marked at 1, 2, 5, 10, ..., beyond at powers of ten
_SHADES = LinearSegmentedColormap.from_list("losses", [BLUE, "#8fb0d3", LIGHT])
_MARKS = {"finished": "o", "pruned": "v", "diverged": "x"}
_COLOURS = {"finished": BLUE, "pruned": GREY, "diverged": GREY}


@dataclass(frozen=True)
class StudyTables:
    """A study as its files tell it.

    Attributes:
        model: name for the titles.
        trials: `number state val_loss val_accuracy epochs` and one column a searched key.
        history: `trial epoch val_loss`, one row an epoch of a trial.
        spans: what was searched, by key.
        chosen: number of the best trial.
    """

    model: str
    trials: pd.DataFrame
    history: pd.DataFrame
    spans: Mapping[str, Span]
    chosen: int

    @property
    def measured(self) -> pd.DataFrame:
        """The trials that have a loss."""
        return self.trials[self.trials["val_loss"].notna()]

    @property
    def lost(self) -> pd.DataFrame:
        """The trials that diverged before an epoch was done."""
        return self.trials[self.trials["val_loss"].isna()]


def course(path: Path, study: StudyTables) -> None:
    """Draws the loss of each trial with the lowest so far, and the loss of each by epoch.

    Args:
        path: the PNG to write.
        study: with at least one finished trial.
    """
    measured = study.measured
    with figure_at(path, (9.6, 3.8), None) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _mark_trials(left, measured, measured["number"], study.chosen)
        finished = measured[measured["state"] == "finished"]
        lowest = finished["val_loss"].cummin()
        until = [*finished["number"], study.trials["number"].max()]
        left.step(until, [*lowest, lowest.iloc[-1]], where="post", color=ORANGE, linewidth=1.2, label="lowest so far")
        _mark_lost(left, study.lost["number"])
        left.set(xlabel="trial", ylabel="validation loss (nats)")
        for number, rows in study.history.groupby("trial"):
            state = str(study.trials.loc[study.trials["number"] == number, "state"].iloc[0])
            best = number == study.chosen
            colour = ORANGE if best else BLUE if state == "finished" else GREY
            right.plot(
                rows["epoch"],
                rows["val_loss"],
                marker="o",
                markersize=4 if best else 3,
                color=colour,
                alpha=1.0 if best else 0.45,
                linewidth=2.0 if best else 1.0,
                zorder=3 if best else 2,
            )
        right.set(xlabel="epoch")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(axis="y")
        _scale_losses(left, study.history["val_loss"])
        _legend(figure, left, columns=5)
        figure.suptitle(
            f"{study.model}: {len(study.trials)} trials, the best is trial {study.chosen}", x=0.01, ha="left"
        )


def slices(path: Path, study: StudyTables) -> None:
    """Draws the loss of the trials against each searched key, over the whole of what was searched.

    Args:
        path: the PNG to write.
        study: with at least one searched key and one finished trial.
    """
    keys, measured = sorted(study.spans), study.measured
    columns = min(_COLUMNS, len(keys))
    rows = -(-len(keys) // columns)
    width = 5.6 if columns == 1 else 3.6 * columns
    with figure_at(path, (width, 3.1 * rows + 0.6), None) as figure:
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for number, axes in enumerate(grid.flat):
            if number >= len(keys):
                axes.set_axis_off()
                continue
            span = study.spans[keys[number]]
            _mark_trials(axes, measured, _places(span, measured[keys[number]]), study.chosen)
            _mark_lost(axes, _places(span, study.lost[keys[number]]))
            _scale_key(axes, span)
            axes.set_xlabel(keys[number])
            axes.grid(axis="y")
        for axes in grid[:, 0]:
            axes.set_ylabel("validation loss (nats)")
        _scale_losses(grid[0, 0], measured["val_loss"])
        _legend(figure, grid[0, 0], columns=4)
        figure.suptitle(f"{study.model}: what each searched key did", x=0.01, ha="left")


def parallel(path: Path, study: StudyTables) -> None:
    """Draws each trial as a line over all searched keys to its loss.

    Args:
        path: the PNG to write.
        study: with at least one searched key and one finished trial.
    """
    keys, measured = sorted(study.spans), study.measured
    losses = _logged(measured["val_loss"])
    heights = np.column_stack([*(_shares(study.spans[key], measured[key]) for key in keys), _stretched(losses)])
    with figure_at(path, (max(6.0, 1.75 * len(keys) + 2.6), 4.2), None) as figure:
        axes = figure.subplots()
        order = np.argsort(-losses.to_numpy(), kind="stable")
        for row in [*order, *np.flatnonzero(measured["number"].to_numpy() == study.chosen)]:
            best = measured["number"].iloc[row] == study.chosen
            finished = measured["state"].iloc[row] == "finished"
            axes.plot(
                range(len(keys) + 1),
                heights[row],
                color=ORANGE if best else _SHADES(heights[row, -1]),
                linewidth=2.4 if best else 1.1,
                linestyle="-" if finished else (0, (3, 2)),
                alpha=1.0 if best else 0.85,
            )
        for place, key in enumerate(keys):
            _stand(axes, place, *_ticks(study.spans[key]))
        _stand(
            axes, len(keys), [0.0, 1.0], [f"{x:.3g}" for x in (measured["val_loss"].min(), measured["val_loss"].max())]
        )
        axes.set_xticks(
            range(len(keys) + 1), [*(key.replace(".", ".\n", 1) for key in keys), "validation\nloss (nats)"]
        )
        axes.set(xlim=(-0.3, len(keys) + 0.45), ylim=(-0.04, 1.04), yticks=[])
        axes.tick_params(axis="x", length=0, pad=8)
        axes.spines[:].set_visible(False)
        axes.plot([], [], color=ORANGE, linewidth=2.4, label="best")
        axes.plot([], [], color=BLUE, linewidth=1.1, label="finished; the paler, the higher the loss")
        if (measured["state"] != "finished").any():
            axes.plot([], [], color=GREY, linewidth=1.1, linestyle=(0, (3, 2)), label="given up")
        _legend(figure, axes, columns=3)
        figure.suptitle(f"{study.model}: all trials at once", x=0.01, ha="left")


def _mark_trials(axes: Any, measured: pd.DataFrame, x: "pd.Series[Any] | NDArray[np.float64]", chosen: int) -> None:
    """One mark a trial by how it ended, at `x` and its loss; a star for the one that was chosen."""
    x, losses = np.asarray(x, dtype=float), measured["val_loss"].to_numpy()
    best = measured["number"].to_numpy() == chosen
    for state, mark in _MARKS.items():
        these = (measured["state"] == state).to_numpy() & ~best
        if these.any():
            axes.scatter(x[these], losses[these], 26, color=_COLOURS[state], marker=mark, alpha=0.75, label=state)
    axes.scatter(x[best], losses[best], 70, color=ORANGE, marker="*", zorder=4, label="best")


def _mark_lost(axes: Any, x: "pd.Series[Any] | NDArray[np.float64]") -> None:
    """Crosses at the upper edge: trials that have no loss."""
    if len(x):
        top = np.ones(len(x))
        axes.plot(
            x, top, "x", color=GREY, markersize=6, transform=axes.get_xaxis_transform(), clip_on=False, label="diverged"
        )


def _legend(figure: Any, axes: Any, columns: int) -> None:
    """One entry a name below the plots, although several of them have it."""
    by_name = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    handles, names = list(by_name.values()), list(by_name)
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)), fontsize=9)


def _scale_losses(axes: Any, losses: "pd.Series[Any]") -> None:
    if _far_apart(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _far_apart(losses: "pd.Series[Any]") -> bool:
    """Whether the largest loss is more than `_FAR` times the smallest, all above 0."""
    return bool(losses.min() > 0 and losses.max() > _FAR * losses.min())


def _logged(losses: "pd.Series[Any]") -> "pd.Series[Any]":
    return np.log(losses) if _far_apart(losses) else losses


def _stretched(values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Values between 0 (lowest) and 1; a half where all are the same."""
    low, high = values.min(), values.max()
    return np.full(len(values), 0.5) if low == high else ((values - low) / (high - low)).to_numpy(dtype=float)


def _places(span: Span, values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Where values stand on the axis of a key: numbers at their own, choices side by side."""
    if isinstance(span, Range):
        return values.to_numpy(dtype=float)
    return np.array([_choice(span.choices, value) for value in values], dtype=float)


def _choice(choices: Sequence[Value], value: object) -> int:
    """Which of the choices a cell of a table means; numbers and truth values may have come back as text."""
    texts = [str(choice) for choice in choices]
    return choices.index(value) if value in choices else texts.index(str(value))


def _shares(span: Span, values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Values between 0 and 1 over what was searched."""
    places = _places(span, values)
    if isinstance(span, Choices):
        return places / (len(span.choices) - 1)
    low, high = span.low, span.high
    if span.log:
        places, low, high = np.log(places), np.log(low), np.log(high)
    return np.asarray((places - low) / (high - low), dtype=float)


def _scale_key(axes: Any, span: Span) -> None:
    """The whole of what was searched, with a little air."""
    if isinstance(span, Choices):
        names = [str(choice) for choice in span.choices]
        axes.set_xticks(range(len(names)), names, rotation=0 if sum(map(len, names)) < 24 else 30)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return
    if span.log:
        axes.set_xscale("log")
        air = (span.high / span.low) ** 0.04
        axes.set_xlim(span.low / air, span.high * air)
        shares, names = _ticks(span)
        axes.xaxis.set_major_locator(FixedLocator([span.low * (span.high / span.low) ** share for share in shares]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        air = 0.04 * (span.high - span.low)
        axes.set_xlim(span.low - air, span.high + air)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    for end in (span.low, span.high):
        axes.axvline(end, color=LIGHT, linewidth=1.0, zorder=0)


def _ticks(span: Span) -> tuple[list[float], list[str]]:
    """Shares of an axis between 0 and 1, and what is written there: both ends, and decades or the middle between."""
    if isinstance(span, Choices):
        return [number / (len(span.choices) - 1) for number in range(len(span.choices))], [str(c) for c in span.choices]
    if not span.log:
        return [0.0, 0.5, 1.0], [f"{x:.3g}" for x in (span.low, (span.low + span.high) / 2, span.high)]
    width = np.log10(span.high / span.low)
    decades = 10.0 ** np.arange(np.floor(np.log10(span.low)), np.floor(np.log10(span.high)) + 1)
    round_ones = decades if width > _FEW_DECADES else np.outer(decades, (1, 2, 5)).ravel()
    shares, names = [0.0], [f"{span.low:.3g}"]
    for value in round_ones:
        share = float(np.log10(value / span.low) / width)
        if shares[-1] + _APART <= share <= 1 - _APART:
            shares.append(share)
            names.append(f"{value:.3g}")
    return [*shares, 1.0], [*names, f"{span.high:.3g}"]


def _stand(axes: Any, place: int, shares: Sequence[float], names: Sequence[str]) -> None:
    """One vertical axis with its values beside it."""
    axes.plot([place, place], [0, 1], color=GREY, linewidth=1.0, zorder=4)
    for share, name in zip(shares, names, strict=True):
        axes.plot([place - 0.03, place], [share, share], color=GREY, linewidth=1.0, zorder=4)
        axes.annotate(
            name,
            (place - 0.05, share),
            ha="right",
            va="center",
            fontsize=8,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
