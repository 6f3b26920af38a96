"""`podium learning-curve`: trains one model's recipe on parts of the training images and says what more would bring."""

from typing import Annotated

import typer

from podium.cli import AsJson
from podium.config.params import load
from podium.config.problems import nearest
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import UsageError
from podium.core.layout import DECISION
from podium.records.evaluation import Decision
from podium.records.training import LearningCurve


def learning_curve(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model of the experiment in force; the winner by default.")
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="How often each share of the images is drawn.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Would more training images help? Trains the recipe on 12.5, 25, 50 and 100 % of them and follows the curve.

    Shares are of the split groups of each class, so no crop or copy of a photograph is on two sides. Accuracies are of
    the validation images: the test images are not opened. A call that was stopped goes on where it was. The result
    goes to reports/learning_curve.json and, after the next `dvc repro`, into the report; with
    `compare.learning_curve: true` in params.yaml, `dvc repro` does the same of the winner.
    """
    from podium.analysis.learning_curve import describe_curve, measure_learning_curve

    layout = project()
    params = load(layout.params)
    name = model or Decision.read(layout.comparison / DECISION).winner
    if name not in params.models:
        raise UsageError(f"{name!r} is no model of the experiment{nearest(name, params.models)}")
    curve = measure_learning_curve(layout, params, name, draws, quiet=as_json)
    if as_json:
        print_json(curve.model_dump(mode="json"))
        return
    _print(curve)
    console().print(f"\n{describe_curve(curve)}", markup=False)


def _print(curve: LearningCurve) -> None:
    """A row a share: what was measured, and what the curve gives; the last for twice the images."""
    from podium.analysis.learning_curve import expected_accuracy

    shown = table("images", "val accuracy", "by the curve", right=("images", "val accuracy", "by the curve"))
    for share in sorted({point.share for point in curve.points}):
        own = [point for point in curve.points if point.share == share]
        images = round(sum(point.images for point in own) / len(own))
        measured = " ".join(f"{point.accuracy:.1%}" for point in own)
        add_row(shown, f"{images:,}", measured, f"{expected_accuracy(curve, images / curve.images):.1%}")
    add_row(shown, f"{2 * curve.images:,}", "", f"{expected_accuracy(curve, 2.0):.1%}")
    console().print(shown)
