"""Which experiment is in force and what goes into it: `podium use`, `doctor`, `validate`, `snapshot`, ..."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from podium.cli import AsJson
from podium.config.params import load
from podium.config.problems import nearest
from podium.config.train import Augment
from podium.config.validate import Validate
from podium.console import dvc_files
from podium.console.openings import keep_openings
from podium.console.process import git_said
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, ParamsError, UsageError
from podium.core.files import replacing, write_text
from podium.core.layout import Layout
from podium.records.validate import ValidationReport

_MODELS = re.compile(r"^models:.*?\n(?=\S)", re.MULTILINE | re.DOTALL)  # the section with its comments
_ARCHITECTURE = re.compile(r"^    architecture: (\S+)", re.MULTILINE)
Force = Annotated[bool, typer.Option("--force", help="Overwrite edits of params.yaml that are kept nowhere.")]


def use(
    name: Annotated[str | None, typer.Argument(help="A file of experiments/ without .yaml; none = list them.")] = None,
    force: Force = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Start from the small weights in data/ instead of published ones.")
    ] = False,
) -> None:
    """Put an experiment in force: experiments/NAME.yaml becomes params.yaml."""
    layout = project()
    if name is None:
        in_force = experiment_in_force(layout)
        for known_name in experiments(layout):
            print(f"{known_name}{'  (in force)' if known_name == in_force else ''}")
        return
    known = experiments(layout)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ParamsError(f"experiment {name!r} is not in experiments/{nearest(name, known)} (experiments: {listed})")
    load(known[name])
    text = known[name].read_text(encoding="utf-8")
    wanted = with_offline_weights(layout, text, name) if offline else text
    if wanted == layout.params.read_text(encoding="utf-8"):
        print(f"{name} is in force already.")
        return
    refuse_lost_edits(layout, force)
    write_text(layout.params, wanted)
    print(f"{name} is in force. Next: dvc repro")


def experiments(layout: Layout) -> dict[str, Path]:
    """The kept experiments by name."""
    return {path.stem: path for path in sorted((layout.root / "experiments").glob("*.yaml"))}


def experiment_in_force(layout: Layout) -> str | None:
    """Which kept experiment `params.yaml` is, to the letter, with its own weights or the small ones; None for none."""
    present = layout.params.read_text(encoding="utf-8")
    for name, path in experiments(layout).items():
        text = path.read_text(encoding="utf-8")
        if present == text:
            return name
        try:
            if present == with_offline_weights(layout, text, name):
                return name
        except ParamsError:  # of other architectures than those with small weights
            continue
    return None


def refuse_lost_edits(layout: Layout, force: bool) -> None:
    """Refuses to overwrite `params.yaml` where nothing else holds what it says.

    Raises:
        ParamsError: it has edits that would be lost, and `force` is not set.
    """
    text = layout.params.read_bytes().decode(errors="replace")
    kept = experiment_in_force(layout) is not None or git_said(layout.root, "show", "HEAD:./params.yaml") == text
    if not kept and not force:
        raise ParamsError(
            "params.yaml has edits that are neither in experiments/ nor committed: keep them with "
            "`cp params.yaml experiments/MINE.yaml`, or drop them with --force"
        )


def with_offline_weights(layout: Layout, text: str, name: str) -> str:
    """An experiment with the sample's models, which start from small weights that come with Podium.

    Raises:
        ParamsError: its architectures are others, or there is no experiment `sample`.
    """
    sample = layout.root / "experiments" / "sample.yaml"
    if not sample.is_file():
        raise ParamsError(f"{sample} does not exist: restore it with git checkout")
    sections = [_MODELS.search(each) for each in (text, sample.read_text(encoding="utf-8"))]
    named = [_ARCHITECTURE.findall(section[0]) if section else [] for section in sections]
    if sections[0] is None or sections[1] is None or sorted(named[0]) != sorted(named[1]):
        compared, small = (", ".join(dict.fromkeys(names)) or "nothing" for names in named)
        raise ParamsError(
            f"experiment {name!r} compares {compared}, but small weights come with Podium for {small} alone: leave "
            "--offline out, or set `weights: none` in params.yaml"
        )
    return text.replace(sections[0][0], sections[1][0])


def doctor(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Bring back what can be brought back.")] = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="Ask every node of the Ray cluster instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check DVC's files, the ledger of the test split, disk, rights, telemetry, the store and this account of it."""
    if repair and cluster:
        raise UsageError("--repair mends this machine's files: give it without --cluster")
    layout = project()
    if repair:
        dvc_files.mend(layout)
        keep_openings(layout)  # raises where a line was edited, which people alone mend
        return
    from podium.registry.checkup import examine, examine_cluster

    found = (examine_cluster if cluster else examine)(layout, load(layout.params))
    if as_json:
        print_json([asdict(check) for check in found])
    else:
        for check in found:
            print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:<12} {check.said}")
    if failed := [f"{check.name}: {check.said}" for check in found if not check.passed]:
        raise DataError("; ".join(failed))


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


def _list(layout: Layout, settings: Validate, as_json: bool) -> None:
    """All expectations in force, with the result of the last validation where there is one."""
    from podium.curation.expectations.expectation import EXPECTATIONS, explain

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
    from podium.curation.expectations.expectation import explain

    one = explain(id, settings)
    if as_json:
        print_json(asdict(one))
        return
    stops = "stops the experiment" if one.severity == "critical" else "is reported as a warning"
    default = "" if one.severity == one.default_severity else f"; {one.default_severity} by default"
    because = f"; because: {one.because}" if one.because else ""
    print(f"{one.id}: {one.sentence}")
    shown = table("", "", fold=("",))
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
    """Builds Great Expectations' pages below `.podium/`: they hold times, so nothing may depend on them."""
    from podium.curation.expectations.inspection import inspect_dataset

    facts = inspect_dataset(layout, settings, seed)

    from podium.curation.expectations import validator

    page = validator.write_data_docs(facts, settings, layout.data_docs)
    print(f"Data Docs: {page.relative_to(layout.root)}")
    print(
        "They load their styles from the network and show plainer without one; "
        "the project's own page is artifacts/validation/index.html"
    )


def snapshot(
    name: Annotated[str, typer.Argument(help="The archive becomes data/NAME.zip.")],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite data/NAME.zip.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pack the images that were fetched into data/ and pin them, so that colleagues pull them and fetch nothing."""
    from podium.sources.snapshot import write_snapshot

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


def preview_augment(
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Whose recipe; the first of params.yaml by default.")
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, max=40, help="How many, of all classes in turn.")] = 6,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The PNG; .podium/augmentation-NAME.png by default.")
    ] = None,
) -> None:
    """Draw training images beside eight changed versions of each, as the model's recipe wants them."""
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: a picture in PNG is written, so give a name that ends in .png")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}: make it first, or give another place")
    from podium.data.shards import open_for_fitting
    from podium.report.augment_sheet import VERSIONS, draw_sheet, write_sheet

    layout = project()
    params = load(layout.params)
    name = model or next(iter(params.models))
    augment = params.complete(name).train.augment
    split = open_for_fitting(layout.prepared, "train")
    sheet = draw_sheet(split, augment, params.seed, images)
    on = ", ".join(switched_on(augment)) or "nothing changes"
    path = out or layout.work / f"augmentation-{name}.png"
    with replacing(path) as temporary:
        write_sheet(temporary, sheet, f"{name}: {on}")
    shown = path.relative_to(layout.root) if path.is_relative_to(layout.root) else path
    print(f"{shown}: {len(sheet.labels)} images, each with {VERSIONS} changed versions ({on})")


def switched_on(augment: Augment) -> list[str]:
    """The changes that are on, as written in params.yaml: `flip`, `rotation 15`, `randaugment 2 x 5`."""
    off = Augment(flip=False, shift=0, brightness=0, contrast=0)
    told = []
    for key, value in augment:
        if value == getattr(off, key):
            continue
        if key == "randaugment":
            told.append(f"randaugment {value.operations} x {value.magnitude:g}")
        else:
            told.append(key if value is True else f"{key} {value:g}")
    return told
