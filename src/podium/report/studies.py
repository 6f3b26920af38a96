"""The studies on the report's page and in MLflow: what was spent, what was found, which ranges to doubt, plots."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.dotted import inside
from podium.config.tuning import Range
from podium.console.pages import inlined
from podium.core.errors import DataError
from podium.records.training import TuningResult
from podium.report.results import ModelResults, Results, read_table

if TYPE_CHECKING:
    from podium.report.study_plots import StudyTables

TRIALS_SHOWN = 8


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


@dataclass(frozen=True)
class StudyPart:
    """The study of one model.

    Attributes:
        name: of the model.
        tuning: what was chosen and what it cost.
        keys: searched keys, in the order of a trial's values.
        trials: the best first, at most `TRIALS_SHOWN`.
        more: trials that are not shown.
        doubts: sentences about chosen values at an end of their range.
        pictures: inlined PNGs with what they show.
    """

    name: str
    tuning: TuningResult
    keys: tuple[str, ...]
    trials: tuple[Trial, ...]
    more: int
    doubts: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]


def studies(results: Results) -> list[StudyPart]:
    """The studies as the page shows them, best model first.

    Args:
        results: what the files say.

    Raises:
        DataError: a file of a study is missing, or it is of another search than params.yaml asks for.
    """
    return [_part(results, model) for model in results.models]


def draw(results: Results, model: ModelResults, folder: Path) -> dict[str, Path]:
    """Draws the plots of a study.

    Args:
        results: what the files say.
        model: whose study.
        folder: to write the PNGs to.

    Returns:
        Files by what they show; parallel coordinates only where several keys were searched.

    Raises:
        DataError: as in `studies`.
    """
    from podium.report import study_plots

    tables = _tables(results, model)
    plots = {"Course of the study": ("course.png", study_plots.course)}
    if tables.spans:
        plots["Loss by searched key"] = ("slices.png", study_plots.slices)
    if len(tables.spans) > 1:
        plots["All searched keys at once"] = ("parallel_coordinates.png", study_plots.parallel)
    drawn = {}
    for title, (name, plot) in plots.items():
        drawn[title] = folder / name
        plot(drawn[title], tables)
    return drawn


def _part(results: Results, model: ModelResults) -> StudyPart:
    """A model's study with its plots, drawn anew."""
    tables = _tables(results, model)
    trials = _trials(tables)
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(results, model, Path(folder))
        pictures = tuple((title, inlined(path.read_bytes(), "png")) for title, path in drawn.items())
    return StudyPart(
        name=model.name,
        tuning=model.tuning,
        keys=tuple(tables.spans),
        trials=trials[:TRIALS_SHOWN],
        more=max(0, len(trials) - TRIALS_SHOWN),
        doubts=_doubts(model.tuning, tables),
        pictures=pictures,
    )


def _tables(results: Results, model: ModelResults) -> "StudyTables":
    """A model's study as its files tell it, refused where they are of another search."""
    from podium.report.study_plots import StudyTables

    tuning, spans = model.tuning, results.params.search(model.name)
    folder = results.layout.tuning(model.name)
    if spans.keys() != tuning.parameters.keys() or not all(inside(spans[k], v) for k, v in tuning.parameters.items()):
        raise DataError(f"{folder} is of another search than params.yaml asks for: run `dvc repro`")
    return StudyTables(
        model=model.name,
        trials=read_table(folder / "trials.csv"),
        history=read_table(folder / "history.csv"),
        spans={key: spans[key] for key in sorted(spans)},
        chosen=tuning.trial,
    )


def _trials(tables: "StudyTables") -> tuple[Trial, ...]:
    """The best trials first; those without a loss last."""
    trials = [
        Trial(
            number=int(row["number"]),
            state=str(row["state"]),
            values=tuple(setting_text(row[key]) for key in tables.spans),
            epochs=int(row["epochs"]),
            val_loss=_number(row["val_loss"]),
            val_accuracy=_number(row["val_accuracy"]),
            best=int(row["number"]) == tables.chosen,
        )
        for row in tables.trials.to_dict("records")
    ]
    trials.sort(key=lambda t: (not t.best, t.state != "finished", float("inf") if t.val_loss is None else t.val_loss))
    return tuple(trials)


def _doubts(tuning: TuningResult, tables: "StudyTables") -> tuple[str, ...]:
    """A sentence for each chosen value at an end of its range."""
    doubts = []
    for key in tuning.at_the_edge:
        span = tables.spans[key]
        searched = f" ({setting_text(span.low)} to {setting_text(span.high)})" if isinstance(span, Range) else ""
        doubts.append(
            f"The best {key}, {setting_text(tuning.parameters[key])}, lies at an end of what was searched{searched}: "
            "a better value may lie beyond."
        )
    return tuple(doubts)


def setting_text(value: bool | int | float | str) -> str:
    """A value of the params for people: numbers with three significant digits at most, words as they are."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _number(value: float) -> float | None:
    """A cell of a table; None where it is empty."""
    return None if value != value else float(value)  # noqa: PLR0124  # NaN stands for "no value" in the table
