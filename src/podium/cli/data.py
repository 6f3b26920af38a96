"""`podium validate`, `podium snapshot`: what the dataset is held against, and how colleagues get the same one."""

from dataclasses import asdict
from typing import Annotated

import typer

from podium.config.params import load
from podium.config.validate import Validate
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import UsageError
from podium.core.layout import Layout
from podium.records.validate import ValidationReport

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def validate(
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="ID", help="Say what one expectation checks, and why.")
    ] = None,
    data_docs: Annotated[
        bool, typer.Option("--data-docs", help="Build Great Expectations' own pages from the prepared dataset.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the expectations on the dataset and how they fared, explain one, or build Great Expectations' Data Docs."""
    if data_docs and (explain or as_json):
        raise UsageError("--data-docs goes alone: give --explain or --json in a call of its own")
    layout = project()
    params = load(layout.params)
    if data_docs:
        _build_data_docs(layout, params.validate_, params.seed)
    elif explain:
        _explain(explain, params.validate_, as_json)
    else:
        _list(layout, params.validate_, as_json)


def snapshot(
    name: Annotated[str, typer.Argument(help="The archive becomes data/NAME.zip.")],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite data/NAME.zip.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pack the images that were fetched into data/ and pin them, so that colleagues pull them and fetch nothing."""
    from podium.sources.snapshot_writer import write_snapshot

    layout = project()
    taken = write_snapshot(layout, name, replace)
    path = taken.archive.relative_to(layout.root).as_posix()
    if as_json:
        print_json({**asdict(taken), "archive": path})
        return
    from rich.filesize import decimal

    photographs = "" if taken.photographs == taken.images else f" from {taken.photographs:,} photographs"
    print(f"{path}: {taken.images:,} images{photographs}, {decimal(taken.size)}")
    print("data.dvc pins it." if taken.pinned else "The project is not under DVC, so nothing pins it: run `dvc init`.")
    print(f"\nPut this into params.yaml in place of its section `dataset`:\n\n{taken.section}")
    if taken.steps:
        print("Then bring it to your colleagues, who get it with `dvc pull`:\n")
        for step in taken.steps:
            print(f"  {step}")


def _list(layout: Layout, settings: Validate, as_json: bool) -> None:
    """All expectations in force, with the result of the last validation where there is one."""
    from podium.curation.expectations.catalogue import EXPECTATIONS, explain

    report = ValidationReport.read(layout.validation_report) if layout.validation_report.is_file() else None
    results = {result.id: result for result in report.results} if report else {}
    explanations = [explain(id, settings) for id in EXPECTATIONS]
    if as_json:
        listed = [
            {**asdict(one), "success": results[one.id].success if one.id in results else None} for one in explanations
        ]
        print_json({"passed": report.passed if report else None, "expectations": listed})
        return
    shown = table("expectation", "severity", "expected", "holds", fold=("expected",))
    for one in explanations:
        holds = "-" if one.id not in results else "yes" if results[one.id].success else "NO"
        add_row(shown, one.id, one.severity, one.expected, holds)
    console().print(shown)
    print("\nWhat one checks and why: podium validate --explain ID")
    if report is None:
        print("Nothing was validated yet: run `dvc repro validate`.")


def _explain(id: str, settings: Validate, as_json: bool) -> None:
    """Prints what an expectation checks, why, and what to do about a failure.

    Raises:
        UsageError: there is none of that name.
    """
    from podium.curation.expectations.catalogue import explain

    one = explain(id, settings)
    if as_json:
        print_json(asdict(one))
        return
    stops = "stops the experiment" if one.severity == "critical" else "is reported as a warning"
    default = "" if one.severity == one.default_severity else f"; {one.default_severity} by default"
    because = f"; because: {one.because}" if one.because else ""
    print(f"{one.id}: {one.sentence}")
    shown = table("", "", fold=("",))
    shown.show_header = False
    for heading, text in (
        ("expected", one.expected),
        ("why", one.why),
        ("a failure", f"{stops} ({one.severity}{default}{because})"),
        ("what to do", one.remedy),
        ("suite", one.suite),
        ("set in", f"section validate.{one.id} of params.yaml"),
    ):
        add_row(shown, heading, text)
    console().print(shown)


def _build_data_docs(layout: Layout, settings: Validate, seed: int) -> None:
    """Builds Great Expectations' pages and says where they are."""
    from podium.pipeline.validate import data_docs

    page = data_docs(layout, settings, seed)
    print(f"Data Docs: {page.relative_to(layout.root)}")
    print(
        "They load their styles from the network and show plainer without one; "
        "the project's own page is artifacts/validation/index.html"
    )
