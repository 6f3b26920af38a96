"""`podium preview-augment`: what a model's training makes of a few images, as a picture to look at."""

from pathlib import Path
from typing import Annotated

import typer

from podium.config.params import load
from podium.config.train import Augment
from podium.console.terminal import project
from podium.core.errors import UsageError
from podium.core.files import replacing


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
