"""What a model's run holds as tables and pictures: numbers by class and slice, its mistakes."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from podium.core.layout import MISTAKES, PREDICTIONS
from podium.records.evaluation import Interval
from podium.report.results import ModelResults
from podium.tracking.run_writer import RunWriter

_TABLES = "tables"
_ON_THE_SHEET = 12
_PICTURES = 24  # of mistakes, of each model: two files each


def write_tables(writer: RunWriter, model: ModelResults, run_id: str) -> None:
    """Numbers by class, slice and group as tables: as metrics, each would be a chart with one bar."""
    m = model.metrics
    tables: dict[str, Sequence[Mapping[str, object]]] = {
        "classes": [{"class": name, **score.model_dump()} for name, score in m.per_class.items()],
        "slices": [
            {
                "slice": name,
                "images": s.images,
                **_rate(s.accuracy),
                "rest": s.rest.value if s.rest else None,
                "adjusted_p": s.adjusted_p,
                "images_needed": s.images_needed,
            }
            for name, s in m.slices.items()
        ],
        "robustness": [
            {
                "perturbation": one.name,
                "severity": at.severity,
                **_rate(at.accuracy),
                "same": at.same,
            }
            for one in (model.robustness.perturbations if model.robustness else ())
            for at in one.at
        ],
        "interventions": [
            {**one.model_dump(exclude={"accuracy", "control"}), **_rate(one.accuracy), "control": one.control.value}
            for one in (model.explanation.interventions.results if model.explanation.interventions else ())
        ],
        "confused": [pair.model_dump() for pair in m.confused],
        "worst_slices": [
            {
                "slices": " and ".join(s.slices),
                "images": s.images,
                **_rate(s.accuracy),
                "rest": s.rest.value,
                "validation_accuracy": s.validation_accuracy.value,
                "adjusted_p": s.adjusted_p,
            }
            for s in m.worst_slices.confirmed
        ],
        "groups": [{"group": name, **g.model_dump()} for name, g in (m.groups.per_group if m.groups else {}).items()],
    }
    for name, rows in tables.items():
        if rows:
            writer.client.log_text(run_id, _format_table(rows), f"{_TABLES}/{name}.csv")


def _rate(accuracy: Interval) -> dict[str, float]:
    """An accuracy and its interval as cells of a table."""
    return {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high}


def write_mistakes(writer: RunWriter, evaluation: Path, run_id: str) -> None:
    """All mistakes as a table, and pictures of the surest in a grid of images.

    The step of a picture is the image's place in the test split, from 1: MLflow's grid shows one photograph of all
    models. Step 0, which it opens with, is a sheet of the surest ones.
    """
    from podium.analysis.mistakes import read_mistakes
    from podium.analysis.predictions import read_answers
    from podium.report.mistakes import captioned, sheet

    mistakes = read_mistakes(evaluation / MISTAKES)
    rows = [{**vars(one), "slices": ", ".join(one.slices)} for one in mistakes]
    for row in rows:
        del row["picture"]
    if rows:
        writer.client.log_text(run_id, _format_table(rows), f"{_TABLES}/mistakes.csv")
    place = {name: step for step, name in enumerate(read_answers(evaluation / PREDICTIONS)["image_id"], 1)}
    pictured = [one for one in mistakes if one.picture][:_PICTURES]
    drawn = {0: partial(sheet, pictured[:_ON_THE_SHEET])} if pictured else {}
    drawn |= {place[one.image_id]: partial(captioned, one) for one in pictured}
    writer.log_pictures(run_id, "mistakes", drawn)


def _format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """The text of a CSV file whose columns are the keys of the first row."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
