"""The studies on the report's page and in MLflow: what was spent and found, which ranges to doubt, Optuna's plots.

Drawn from `trials.csv` and `history.csv`, not from Optuna's storage, so that the plots can be drawn again from the
files of any study. The same numbers give the same bytes.
"""

import io
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from podium.config.train import Choices, Range, Span, Value
from podium.core.errors import DataError
from podium.core.layout import HISTORY, TRIALS
from podium.records.evaluation import Interval
from podium.records.training import LearningCurve, TuningResult
from podium.report.pages import inlined
from podium.report.results import ModelResults, Results, read_table

if TYPE_CHECKING:
    import optuna
    import pandas as pd

LOSS = "validation loss (nats)"
_MOST_NAMED = 8  # trials in a legend; more are lines without names
_DPI = 130


@dataclass(frozen=True)
class Trial:
    """One trial of a study; losses in nats, None where it ended before an epoch."""

    number: int
    state: str
    values: tuple[str, ...]
    epochs: int
    val_loss: float | None
    val_accuracy: float | None
    best: bool


@dataclass(frozen=True, eq=False)
class Study:
    """A study as its files tell it; two are equal where their plots are.

    Attributes:
        model: name for the titles.
        tuning: what was chosen and what it cost.
        trials: `number state val_loss val_accuracy epochs` and one column a searched key.
        history: `trial epoch val_loss`, one row an epoch of a trial.
        spans: what was searched, by key, in the order of a trial's values.
        is_probe: whether a grid was tried and nothing trained.
    """

    model: str
    tuning: TuningResult
    trials: "pd.DataFrame"
    history: "pd.DataFrame"
    spans: Mapping[str, Span]
    is_probe: bool = False

    @cached_property
    def _drawn_from(self) -> tuple[object, ...]:
        """All that the plots show."""
        return self.model, self.trials.to_csv(), self.history.to_csv(), tuple(self.spans.items()), self.is_probe

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Study) and self._drawn_from == other._drawn_from

    def __hash__(self) -> int:
        return hash(self._drawn_from)

    @property
    def ranked(self) -> list[Trial]:
        """The best trials first; those without a loss last."""
        trials = [
            Trial(
                number=int(row["number"]),
                state=str(row["state"]),
                values=tuple(setting_text(row[key]) for key in self.spans),
                epochs=int(row["epochs"]),
                val_loss=_number(row["val_loss"]),
                val_accuracy=_number(row["val_accuracy"]),
                best=int(row["number"]) == self.tuning.trial,
            )
            for row in self.trials.to_dict("records")
        ]
        no_loss = float("inf")
        trials.sort(key=lambda t: (not t.best, t.state != "finished", no_loss if t.val_loss is None else t.val_loss))
        return trials

    @property
    def doubts(self) -> list[str]:
        """A sentence for each chosen value at an end of its range."""
        doubts = []
        for key in self.tuning.at_the_edge:
            ends = self.spans[key].ends
            searched = f" ({setting_text(ends[0])} to {setting_text(ends[1])})" if ends else ""
            doubts.append(
                f"The best {key}, {setting_text(self.tuning.parameters[key])}, lies at an end of what was "
                f"searched{searched}: a better value may lie beyond."
            )
        return doubts


def read_study(results: Results, model: ModelResults) -> Study:
    """A model's study as its files tell it.

    Raises:
        DataError: a file of the study is missing, or it is of another search than params.yaml asks for.
    """
    tuning, spans = model.tuning, results.params.search(model.name)
    folder = results.layout.tuning(model.name)
    if spans.keys() != tuning.parameters.keys() or not all(spans[k].holds(v) for k, v in tuning.parameters.items()):
        raise DataError(f"{folder} is of another search than params.yaml asks for: run `dvc repro`")
    sorted_spans = {key: spans[key] for key in sorted(spans)}
    trials, history = read_table(folder / TRIALS), read_table(folder / HISTORY)
    return Study(model.name, tuning, trials, history, sorted_spans, model.card.classifier != "network")


def inlined_plots(study: Study) -> dict[str, str]:
    """The plots of a study as addresses of PNGs, by what they show."""
    return {title: inlined(png, "png") for title, (_, png) in draw_study(study).items()}


@dataclass(frozen=True)
class _Size:
    """A number of training images: accuracies measured with it, and what the curve gives."""

    images: int
    measured: tuple[float, ...]
    fitted: Interval


@dataclass(frozen=True)
class Growth:
    """What more training images would bring: a sentence, the plot's address, a row for each size up to twice all."""

    curve: LearningCurve
    said: str
    plot: str
    rows: list[_Size]


def describe_growth(curve: LearningCurve, seed: int) -> Growth:
    """The learning curve as the page shows it; `seed` is the experiment's."""
    from podium.analysis.learning_curve import describe_curve, fitted_accuracies
    from podium.report.plots import training_sizes

    points = [(point.images, point.accuracy) for point in curve.points]
    sizes = sorted({point.share for point in curve.points})
    own = [[point for point in curve.points if point.share == share] for share in sizes]
    images = [round(sum(p.images for p in some) / len(some)) for some in own] + [2 * curve.images]
    fitted = fitted_accuracies(curve, [n / curve.images for n in images], seed)
    grid = np.geomspace(images[0], images[-1], 40)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.png"
        drawn = fitted_accuracies(curve, list(grid / curve.images), seed)
        training_sizes(path, points, grid, drawn, ticks=images, curve=curve)
        plot = inlined(path.read_bytes(), "png")
    measured = [tuple(p.accuracy for p in some) for some in own] + [()]
    rows = [_Size(n, found, fit) for n, found, fit in zip(images, measured, fitted, strict=True)]
    return Growth(curve, describe_curve(curve), plot, rows)


@lru_cache(maxsize=16)  # for the page and for MLflow: drawing takes longer than all else that either does of a study
def draw_study(study: Study) -> Mapping[str, tuple[str, bytes]]:
    """Draws the plots of a study with Optuna.

    Returns:
        By what they show, the name of a file and what is in it, a PNG; losses by epoch only where there are epochs,
        parallel coordinates only where several keys were searched.
    """
    import matplotlib
    from optuna.exceptions import ExperimentalWarning
    from optuna.visualization import matplotlib as plots

    keys = len(study.spans)
    shown = [
        ("Course of the study", "course.png", (6.4, 3.6), partial(plots.plot_optimization_history, target_name=LOSS)),
    ]
    if not study.is_probe:
        shown.append(("Loss by epoch", "epochs.png", (6.4, 3.6), plots.plot_intermediate_values))
    if keys:
        size = (max(6.0, 2.8 * keys), 3.6)
        shown.append(("Loss by searched key", "searched_keys.png", size, partial(plots.plot_slice, target_name=LOSS)))
    if keys > 1:
        many = partial(plots.plot_parallel_coordinate, target_name=LOSS)
        shown.append(("All searched keys at once", "parallel_coordinates.png", (max(7.0, 1.9 * keys + 3), 4.6), many))
    matplotlib.use("agg")  # Optuna draws with pyplot, which would open a window elsewhere
    drawn = {}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="optuna")  # axes of no width: a single trial
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        copy = to_optuna(study)
        for title, name, size, plot in shown:
            drawn[title] = name, _png(plot(copy), size, f"{study.model}: {title.lower()}")
    return drawn


def to_optuna(study: Study) -> "optuna.Study":
    """The study in Optuna's memory, for what Optuna can show of it."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import TrialState, create_trial

    states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "diverged": TrialState.FAIL}
    distributions: dict[str, BaseDistribution] = {
        key: CategoricalDistribution(span.choices)
        if isinstance(span, Choices)
        else FloatDistribution(span.low, span.high, log=span.log)
        for key, span in study.spans.items()
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    copy = optuna.create_study(study_name=study.model)
    for row in study.trials.sort_values("number").to_dict("records"):
        epochs = study.history[study.history["trial"] == row["number"]]
        copy.add_trial(
            create_trial(
                state=states[row["state"]],
                value=float(row["val_loss"]) if row["state"] == "finished" else None,
                params={key: _value(span, row[key]) for key, span in study.spans.items()},
                distributions=distributions,
                intermediate_values={
                    int(epoch): float(loss) for epoch, loss in zip(epochs["epoch"], epochs["val_loss"], strict=True)
                },
            )
        )
    return copy


def _value(span: Span, cell: Any) -> Value:
    """A cell of a table as what was searched: choices may have come back as text, and a range knows its ends."""
    if isinstance(span, Range):
        return min(max(float(cell), span.low), span.high)
    texts = [str(choice) for choice in span.choices]
    return span.choices[texts.index(str(cell))]


def _png(drawn: Any, size: tuple[float, float], title: str) -> bytes:
    """What Optuna drew, with a title of our own, plain numbers on axes in logs, and whole trials and epochs."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes = list(drawn.flat) if hasattr(drawn, "flat") else [drawn]
    figure = axes[0].figure
    for each in figure.axes:
        for scale, axis in ((each.get_xscale(), each.xaxis), (each.get_yscale(), each.yaxis)):
            if scale == "log":
                low, high = axis.get_view_interval()
                few = MaxNLocator(nbins=4)  # within a decade
                axis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6) if high > 10 * low else few)
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
        if each.get_xlabel() in ("Trial", "Step"):
            each.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            each.set(xlabel="epoch" if each.get_xlabel() == "Step" else "trial")
        if each.get_ylabel() == "Intermediate Value":
            each.set(ylabel=LOSS)
        each.set_title("")
        each.set_facecolor("white")
        if each.get_legend():  # beside the axes by default, which leaves them half of the width
            handles, names = each.get_legend_handles_labels()
            each.get_legend().remove()
            if len(handles) <= _MOST_NAMED:
                each.legend(handles, names, loc="upper right", fontsize=8, framealpha=0.9)
        if each.xaxis.get_gridlines() and each.get_xlabel():
            each.grid(color="#e3e8ec")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    figure.set_size_inches(size)
    out = io.BytesIO()
    figure.savefig(out, dpi=_DPI, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.15)
    pyplot.close(figure)
    return out.getvalue()


def setting_text(value: bool | int | float | str) -> str:
    """A value of the params for people: numbers with three significant digits at most, words as they are."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _number(value: float) -> float | None:
    """A cell of a table; None where it is empty."""
    return None if value != value else float(value)  # noqa: PLR0124  # NaN stands for "no value" in the table
