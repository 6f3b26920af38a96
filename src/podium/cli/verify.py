"""`podium verify VERSION`: make a version again from its commit, and say whether it is the same, and if not, why."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import AsJson
from podium.cli.compare import find_version
from podium.config.params import load
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, first_few

if TYPE_CHECKING:
    from podium.registry.verify import Verification

_SHOWN = 3  # differences of one kind
_COLOURS = {"bit-equal": "bold green", "within noise": "bold yellow", "different": "bold red"}


def verify(
    version: Annotated[
        str, typer.Argument(help="A version: its number, an alias, models:/NAME@ALIAS.", show_default=False)
    ],
    rev: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Make it from this revision, not from its own commit.")
    ] = None,
    *,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Leave the clone in this new folder, to look into.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="In a new environment with the versions of the commit's constraints.txt.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version again from its commit, in a clone: is it equal to the bit, equal within noise, or different?

    Every stage runs anew on the data of the commit. What differs of packages, processor, threads, images, pretrained
    weights, params and code is named. Exits with 1 where the version is different.
    """
    layout = project()
    registered, found = find_version(layout, load(layout.params), version, " and no version of {}")
    from podium.registry.inputs import installed_differences, open_recorded
    from podium.registry.rebuild import commit_of, rebuild
    from podium.registry.verify import compare

    with open_recorded(layout, registered, found) as recorded:
        if rev is None and "podium.git_commit" not in found.tags:
            raise DataError(f"version {found.version} does not say which commit made it: name one with --rev")
        commit = commit_of(layout, rev or found.tags["podium.git_commit"])
        _tell(f"making {recorded.model} of {commit[:12]} again, for version {found.version} of {registered.name}")
        if not install and (others := installed_differences(layout, recorded)):
            _tell(f"of other packages than the version: {first_few(others, _SHOWN)} (--install takes the pinned ones)")
        with rebuild(layout, commit, recorded.model, keep=keep, install=install, show=_tell) as rebuilt:
            said = compare(layout, recorded, rebuilt)
    if as_json:
        print_json({"version": found.version, "commit": commit, **asdict(said)})
    else:
        _print(said)
    raise typer.Exit(said.verdict == "different")


def _tell(line: str) -> None:
    """What goes on meanwhile, on standard error: it takes as long as the training did."""
    print(line, file=sys.stderr, flush=True)


def _print(said: "Verification") -> None:
    """The verdict, then what it follows from."""
    for sentence in said.told:
        console().print(f"! {sentence}", markup=False, style="bold red")
    console().print(f"{said.verdict}: {said.said}\n", markup=False, style=_COLOURS[said.verdict])
    if said.outcomes:
        shown = table("result", "version", "rebuild", "", fold=("rebuild", ""))
        for each in said.outcomes:
            state = "equal" if each.equal else "within" if each.within else "different"
            add_row(shown, each.name, each.recorded, each.rebuilt, f"{state}{f' ({each.noise})' if each.noise else ''}")
        console().print(shown)
        print()
    shown = table("input", "differences", fold=("differences",))
    for made_from in said.inputs:
        none = "none" if made_from.known else "not known: not on record, or not here"
        add_row(shown, made_from.kind, first_few(made_from.differences, _SHOWN, "; ") or none)
    console().print(shown)
