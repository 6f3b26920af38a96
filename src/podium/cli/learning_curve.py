"""`podium learning-curve`: trains one model's recipe on parts of the training images and says what more would bring."""

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from podium.config.params import load
from podium.config.problems import nearest
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, UsageError
from podium.core.files import write_text
from podium.core.layout import DECISION, MODEL_CARD, Layout
from podium.records.evaluation import Decision
from podium.records.training import LearningCurve, LearningPoint, ModelCard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.config.params import Params
    from podium.models.job import Job


def learning_curve(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model of the experiment in force; the winner by default.")
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="How often each share of the images is drawn.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Would more training images help? Trains the recipe on 12.5, 25, 50 and 100 % of them and follows the curve.

    Shares are of the split groups of each class, so no crop or copy of a photograph is on two sides. Accuracies are of
    the validation images: the test images are not opened. A call that was stopped goes on where it was. The result
    goes to reports/learning_curve.json and, after the next `dvc repro`, into the report.
    """
    from podium.analysis.learning_curve import describe_curve, fit_curve

    layout = project()
    params = load(layout.params)
    name = model or Decision.read(layout.comparison / DECISION).winner
    if name not in params.models:
        raise UsageError(f"{name!r} is no model of the experiment{nearest(name, params.models)}")
    points, job = _train_all(layout, params, name, draws, quiet=as_json)
    card = ModelCard.read(layout.model(name) / MODEL_CARD)
    size, val_images = len(job.train), len(job.val)
    curve = fit_curve(name, card.fingerprint, points, images=size, val_images=val_images, seed=params.seed)
    write_text(layout.learning_curve, curve.model_dump_json(indent=2) + "\n")
    if as_json:
        print_json(curve.model_dump(mode="json"))
        return
    _print(curve)
    console().print(f"\n{describe_curve(curve)}", markup=False)


def _train_all(
    layout: Layout, params: "Params", model: str, draws: int, *, quiet: bool
) -> tuple[list[LearningPoint], "Job"]:
    """Every point of the curve, and the job on all images."""
    from podium.analysis.learning_curve import SHARES, draw_rows
    from podium.models.training import open_training
    from podium.records.base import read_parquet

    label = f"learning curve of {model}"
    whole = open_training(
        layout,
        "train",
        model,
        config=params.complete(model),
        runtime=params.runtime,
        resources=params.resources,
        seed=params.seed,
        label=label,
    ).job
    # parts of the images are seen by one training alone, so nothing is kept of their frozen layers
    job = replace(whole, cache=replace(whole.cache, gib=0.0))
    manifest = read_parquet(layout.manifest).set_index("image_id")["split_group"]
    groups = manifest.reindex(job.train.index["image_id"])
    if groups.isna().any():
        raise DataError(f"{layout.manifest} does not hold all training images: run `dvc repro preprocess`")
    names = groups.astype(str).to_numpy(dtype=object)
    points = []
    for draw in range(draws):
        for share in SHARES:
            rows = draw_rows(job.train.labels, names, share, params.seed, draw)
            point = _train(layout, job, rows, share, draw)
            points.append(point)
            if not quiet:
                said = f"{share:.1%} of the images ({point.images:,}), draw {draw + 1} of {draws}"
                print(f"{label}: {said}, val accuracy {point.accuracy:.3f}", flush=True)
    return points, job


def _train(layout: Layout, whole: "Job", rows: "NDArray[np.int64]", share: float, draw: int) -> LearningPoint:
    """One training, on some images and with the draw's own seed, or what an earlier call found."""
    from podium.core.identity import fingerprint
    from podium.models.checkpoint import Checkpoint, lock_folder
    from podium.models.engine import fit

    part = replace(whole, train=whole.train.subset(rows), seed=whole.seed + draw)
    name = fingerprint(part.identity(layout, "train"))
    kept, folder = layout.learning_point(name), layout.checkpoint(name)
    if kept.is_file():
        # of few groups, two shares can be the same images
        return LearningPoint.read(kept).model_copy(update={"share": share, "draw": draw})
    with lock_folder(folder):
        best = fit(part, part.build(), checkpoint=Checkpoint(folder)).progress.best
        point = LearningPoint(share=share, draw=draw, images=len(rows), accuracy=best.val_accuracy)
        point.write(kept)
        shutil.rmtree(folder, ignore_errors=True)
    return point


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
