"""`podium lineage`: where a version came from, which versions saw an image. `podium diff`: how two versions differ."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import AsJson
from podium.cli.compare import find_version
from podium.config.params import load
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, UsageError
from podium.core.layout import Layout

if TYPE_CHECKING:
    from rich.tree import Tree

    from podium.registry.lineage import Lineage, Step

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")
_FACTS = 6  # of a step that people are shown
_LONG = 40  # letters of a fact
_COLOURS = {"checked": "green", "told": "yellow", "changed": "bold red", "missing": "dim"}
_DRAWN = ("model", "licence", "location")  # facts that a diagram shows
_DRAWN_AS = {
    "checked": "#2e7d32,stroke-width:2px",
    "told": "#b28704,stroke-dasharray:4",
    "changed": "#c62828,stroke-width:4px",
    "missing": "#9e9e9e,stroke-dasharray:2",
}
_ESCAPED = {ord(character): f"#{ord(character)};" for character in '#"<>&[]{}`\n'}  # as Mermaid writes them
_ROW = ("image_id", "path", "source", "label", "group", "split", "split_group", "licence")


def lineage(
    version: Annotated[
        str | None,
        typer.Argument(help="A version: its number, an alias, models:/NAME@ALIAS.", show_default=False),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|ID", help="Which splits and versions an image is in: a file, its path in the source, its id."
        ),
    ] = None,
    *,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid diagram.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow a version back to run, commit, params, data, licences, weights and packages, or an image to its versions.

    Each step says whether it was checked (its digest is that of the version) or is only told.
    """
    if (version is None) == (image is None):
        raise UsageError("name a version (`podium lineage staging`) or an image (`podium lineage --image photo.jpg`)")
    if mermaid and (as_json or image is not None):
        raise UsageError("--mermaid draws a version alone: leave --json and --image out")
    layout = project()
    if image is not None:
        _print_image(layout, image, as_json)
        return
    from podium.registry.lineage import trace

    found = trace(layout, *find_version(layout, load(layout.params), version or "", " and no version of {}"))
    if as_json:
        print_json(asdict(found))
    elif mermaid:
        print("\n".join(_diagram(found)))
    else:
        for sentence in found.changed:
            console().print(f"! {sentence} (see `podium audit`)", markup=False, style="bold red")
        console().print(_tree(found.version))
        print("checked: the digest is that of the version; told: nothing here to hold it against; --json has all of it")


def _tree(step: "Step", above: "Tree | None" = None) -> "Tree":
    """A step and what it was made from, as a tree on the terminal."""
    from rich.text import Text
    from rich.tree import Tree

    said = f"[{step.state}]" + (f" {step.note}" if step.note else "")
    label = Text.assemble((f"{step.kind} {step.name} ", "bold"), (said, _COLOURS[step.state]))
    facts = [f"{key} {_short(value)}" for key, value in step.facts.items() if value]
    more = [f"and {len(facts) - _FACTS} more"] if len(facts) > _FACTS else []
    if facts:
        label.append("\n" + ", ".join(facts[:_FACTS] + more), "dim")
    branch = above.add(label) if above else Tree(label)
    for inner in step.made_from:
        _tree(inner, branch)
    return branch


def _short(value: str) -> str:
    """A fact that fits into a line: digests by their first digits."""
    digest = len(value) == 64 and not set(value) - set("0123456789abcdef")
    return value[:12] if digest else value if len(value) <= _LONG else f"{value[:_LONG]}..."


def _diagram(found: "Lineage") -> Iterator[str]:
    """Lines of a Mermaid flowchart, from the data to the version."""
    yield "flowchart LR"
    yield from (f"  %% {sentence}" for sentence in found.changed)
    waiting, number = [("", found.version)], 0
    while waiting:
        above, step = waiting.pop()
        shown = [f"{name}: {step.facts[name]}" for name in _DRAWN if step.facts.get(name)]
        lines = [f"{step.kind} {step.name}", *shown, step.state]
        yield f'  s{number}["{"<br/>".join(line.translate(_ESCAPED) for line in lines)}"]:::{step.state}'
        if above:
            yield f"  s{number} --> {above}"
        waiting += [(f"s{number}", inner) for inner in reversed(step.made_from)]
        number += 1
    yield from (f"  classDef {state} stroke:{style}" for state, style in _DRAWN_AS.items())


def diff(
    first: Annotated[str, typer.Argument(help="A version: its number, an alias, models:/NAME@ALIAS.")],
    second: Annotated[str, typer.Argument(help="Another version of the same registered model.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: conditions, data, code, params, weights, tools, metrics."""
    from podium.registry.version_diff import diff_versions

    layout = project()
    params = load(layout.params)
    (registered, one), (other_model, other) = (
        find_version(layout, params, given, ", no version of {}") for given in (first, second)
    )
    if registered.name != other_model.name:
        raise UsageError(
            f"{first} and {second} are of different registered models: compare their answers, `podium compare`"
        )
    found = diff_versions(layout, registered, one, other)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        print(f"versions {one.version} and {other.version} differ in nothing that is compared")
        return
    columns = (f"version {one.version}", f"version {other.version}")
    shown = table("section", "what", *columns, fold=("what", *columns))
    section = ""
    for each in found:
        values = (_DIGEST.sub(r"\1", value or "-") for value in (each.first, each.second))
        add_row(shown, each.section if each.section != section else "", each.name, *values)
        section = each.section
    console().print(shown)


def _print_image(layout: Layout, given: str, as_json: bool) -> None:
    """Which splits of the present data an image is in, and what each version had to do with it.

    Raises:
        DataError: neither the present data nor a version knows it.
    """
    from podium.registry.lineage import find_images, list_sightings
    from podium.registry.read_only import find_registered

    rows = find_images(layout, given)
    registered = find_registered(layout, load(layout.params).publish.registered_model)
    seen = list(list_sightings(layout, registered, given, rows)) if registered else []
    if rows.empty and not any(each.saw == "tested on it" for each in seen):
        raise DataError(
            f"{given} is no image of the present data, and no version was tested on it: give a file, its path within "
            "its source or its image_id; artifacts/prepared/rejected.csv says which images were left out"
        )
    images = [{name: str(row[name]) for name in _ROW} for row in rows.to_dict("records")]
    if as_json:
        print_json({"images": images, "versions": [asdict(each) for each in seen]})
        return
    for row in images:
        said = f"{row['path']} ({row['image_id']}): {row['split']}, {row['label']}"
        group = f" of {row['group']}" if row["group"] else ""
        console().print(f"{said}{group}; from {row['source']}, licence {row['licence'] or 'not stated'}", markup=False)
    if not images:
        print("in no split of the present data")
    shown = table("version", "model", "saw it", "note", fold=("saw it", "note"))
    for each in seen:
        at = f" ({', '.join(each.aliases)})" if each.aliases else ""
        add_row(shown, f"{each.version}{at}", each.model, each.saw, each.note)
    console().print(shown if seen else "no version is registered yet")
