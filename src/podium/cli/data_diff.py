"""`podium data-diff REV1 REV2`: which images were added, removed, renamed, moved, relabelled or changed."""

from pathlib import Path
from typing import Annotated

import typer

from podium.cli import AsJson
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.files import replacing

_SHOWN = 5  # images of one kind
_Revision = Annotated[str | None, typer.Argument(metavar="REVISION", show_default=False)]


def data_diff(
    before: _Revision = None,
    after: _Revision = None,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write every change as a row of a CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which images changed between two revisions of git: by default HEAD, and the data that lie here.

    Reads the prepared manifests that `dvc.lock` of each revision names, from DVC's cache; nothing is checked out.
    """
    layout = project()
    from podium.data.data_diff import CHANGES, compare_manifests, count_changes, find_manifest

    changes = compare_manifests(find_manifest(layout, before or "HEAD"), find_manifest(layout, after))
    counts = count_changes(changes)
    if out is not None:
        with replacing(out) as temporary:
            changes.to_csv(temporary, index=False, lineterminator="\n")
    if as_json:
        print_json({"counts": counts, "changes": changes.to_dict("records")})
        return
    if changes.empty:
        print("the same images in the same splits under the same labels")
        return
    shown = table("images", "", "path", "before", "after", right=("images",), fold=("path", "before", "after"))
    for change, count in counts.items():
        for place, row in enumerate(changes[changes["change"] == change].head(_SHOWN).to_dict("records")):
            first = (f"{count:,}", change) if place == 0 else ("", "")
            add_row(shown, *first, row["path"], row["before"], row["after"])
        if count > _SHOWN:
            add_row(shown, "", "", f"and {count - _SHOWN:,} more", "", "")
    console().print(shown)
    told = [f"{change}: {CHANGES[change]}" for change, count in counts.items() if count]
    console().print(f"{'; '.join(told)}{'' if out else '; --out FILE.csv lists all'}", markup=False)
