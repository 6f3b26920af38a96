"""`podium mistakes`: the images that models get wrong, on a page of their own."""

import os
import sys
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from podium.config.params import load
from podium.config.problems import nearest
from podium.console.terminal import project
from podium.core.errors import UsageError
from podium.core.files import write_text
from podium.core.layout import METRICS, MISTAKES

_PAGE = "mistakes.html"
_NO_LIMIT = sys.maxsize  # of the bytes of a page that nobody sends


def mistakes(  # noqa: PLR0917
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Of this model; of all by default.")
    ] = None,
    in_slice: Annotated[
        str | None, typer.Option("--slice", metavar="NAME", help="On this slice of the test images, e.g. occluded.")
    ] = None,
    of_class: Annotated[str | None, typer.Option("--class", metavar="NAME", help="On images of this class.")] = None,
    predicted: Annotated[
        str | None, typer.Option("--predicted", metavar="NAME", help="Where an image was taken for this class.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the page; .podium/mistakes by default.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Images at most, the surest mistakes first.")] = 200,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the page and do not show it.")] = False,
) -> None:
    """Show images that models get wrong, on a page that needs no other file; it opens where there is a display."""
    from podium.analysis.mistakes import read_mistakes
    from podium.records.evaluation import Metrics
    from podium.report.mistakes import gather, render_gallery

    layout = project()
    known = list(load(layout.params).models)
    models = known if model is None else [_known(model, known, "--model", "model of the experiment")]
    measured = [Metrics.read(layout.evaluation(name) / METRICS) for name in models]
    _known(in_slice, dict.fromkeys(name for m in measured for name in m.slices), "--slice", "slice of the test images")
    for option, name in (("--class", of_class), ("--predicted", predicted)):
        _known(name, measured[0].per_class, option, "class")
    chosen = {
        name: [
            one
            for one in read_mistakes(layout.evaluation(name) / MISTAKES)
            if in_slice in (None, *one.slices) and of_class in (None, one.label) and predicted in (None, one.predicted)
        ]
        for name in models
    }
    title = _title(models, in_slice, of_class, predicted)
    gallery = gather(chosen, _NO_LIMIT, limit)
    if not gallery.images:
        print(f"{title}: none, so no page is written.")
        return
    page = (out or layout.work / "mistakes") / _PAGE
    write_text(page, render_gallery(gallery, title))
    print(f"{title}: {len(gallery.images):,} images. {gallery.said}\n{page}")
    if not no_open and has_display():
        webbrowser.open(page.resolve().as_uri())


def _title(models: list[str], in_slice: str | None, of_class: str | None, predicted: str | None) -> str:
    """What the page shows."""
    classes = f" on {of_class or 'any class'}" if of_class or predicted else ""
    taken = f" taken for {predicted}" if predicted else ""
    return f"Mistakes of {' and '.join(models)}{classes}{taken}{f', slice {in_slice}' if in_slice else ''}"


def _known(given: str | None, known: Iterable[str], option: str, what: str) -> str:
    """What was given.

    Raises:
        UsageError: it is none of those known.
    """
    names = list(known)
    if given is not None and given not in names:
        raise UsageError(f"{option} {given!r} is no {what}{nearest(given, names)} (known: {', '.join(names)})")
    return given or ""


def has_display() -> bool:
    """Whether a browser could show anything to anybody."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
