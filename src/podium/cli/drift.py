"""`podium drift LOG --model VERSION`: what a version is asked about now, beside what it was trained on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import AsJson
from podium.cli.compare import find_version, load_model
from podium.config.params import load
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, UsageError, first_few
from podium.core.files import write_text
from podium.core.layout import DRIFT, DRIFT_PLOT, PAGE

if TYPE_CHECKING:
    from podium.records.drift import Drift, LoggedPrediction
    from podium.registry.loading import LoadedModel

_LEAST = 2  # images


def drift(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="The folder of `--log`, of predict or serve.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A version (its number, an alias, models:/NAME@ALIAS), or a model of the experiment in force.",
            show_default=False,
        ),
    ],
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], metavar="DATE", help="Answers from then on (UTC)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of page and plot; .podium/drift by default.")
    ] = None,
    *,
    fail: Annotated[bool, typer.Option("--fail", help="Exit code 1 where something drifts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hold logged images and answers against the training images and the answers on the test images: what drifts?

    Limits are those of validate.split_drift in params.yaml. Writes a page, a plot and the numbers.
    """
    from podium.curation.expectations.pixels import split_drift
    from podium.registry.reference import compare_with_reference, logged, read_reference
    from podium.report.drift import draw_drift, render_drift
    from podium.serving.prediction_log import read_log

    layout = project()
    params = load(layout.params)
    target = out or layout.work / "drift"
    if target.is_file():
        raise UsageError(f"--out {target} is a file: name a folder")
    rows, broken = read_log(log)
    registered, version = (None, None) if model in params.models else find_version(layout, params, model)
    loaded = load_model(layout, params, model)
    chosen = _choose(rows, loaded, log, since)
    before, now = read_reference(layout, model, loaded, registered, version), logged(chosen)
    found = compare_with_reference(loaded, chosen, before, now, split_drift.settings(params.validate_))
    found.write(target / DRIFT)
    draw_drift(target / DRIFT_PLOT, found, before, now)
    write_text(target / PAGE, render_drift(found, before, now))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        if broken:
            print(f"{broken:,} lines of {log} are not whole and are left out (a process was killed while it wrote).")
        _print(found, target)
    if fail and found.drifted:
        raise typer.Exit(1)


def _choose(
    rows: "list[LoggedPrediction]", loaded: "LoadedModel", log: Path, since: datetime | None
) -> "list[LoggedPrediction]":
    """The answers of a model.

    Raises:
        DataError: there are too few.
    """
    from podium.serving.prediction_log import short

    card = loaded.classifier.card
    start = None if since is None else since.replace(tzinfo=UTC)
    mine = [row for row in rows if row.fingerprint == short(card.fingerprint)]
    chosen = [row for row in mine if start is None or row.time >= start]
    if len(chosen) >= _LEAST:
        return chosen
    others = sorted({f"{row.model}, version {row.version}" if row.version else row.model for row in rows})
    told = f"from {start:%Y-%m-%d %H:%M} on, {len(mine):,} in all" if start and mine else "in it"
    raise DataError(
        f"{log} has {len(chosen)} answers of {card.model} {loaded.version or ''}".rstrip()
        + f" {told}, too few to compare; it has answers of {first_few(others, 5)}"
    )


def _print(found: "Drift", target: Path) -> None:
    """A table of what was compared, and where the page is."""
    from podium.report.drift import ordered, say_drift

    by_name = {one.measure: one for one in found.results}
    shown = table("measure", "before", "now", "distance", "p", "drifts", right=("before", "now", "distance", "p"))
    for name in ordered(found):
        one = by_name[name]
        medians = [f"{some[name]:.4g}" if name in some else "-" for some in (found.medians_before, found.medians)]
        add_row(shown, name, *medians, f"{one.distance:.3f}", f"{one.p_value:.2g}", "YES" if one.drifts else "no")
    console().print(shown)
    version = f", version {found.version}" if found.version else ""
    days = f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    print(f"\n{found.model}{version}: {found.images:,} logged images, {days}; abstained on {found.abstained:.1%}")
    print(f"(on its test images {found.abstained_on_test:.1%}). {say_drift(found)}\n{target / PAGE}")
