"""What changed between two states of the data, image by image, by their prepared manifests.

An image is the same one where its id is (source, path, box). A file that was moved to another folder has another id: it
is known again by its pixels, where only one image of each state has them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from podium.console.dvc_files import damage_in, find_tracked, parse_lock, read_lock
from podium.console.process import git_said
from podium.core.errors import DataError
from podium.core.layout import DVC_LOCK, Layout
from podium.data.manifest import PREPARED_COLUMNS, read_manifest

if TYPE_CHECKING:
    import pandas as pd

CHANGES = {
    "added": "not there before",
    "removed": "not there any more",
    "renamed": "the same pixels under another path",
    "moved": "in another split",
    "relabelled": "of another class",
    "changed": "other pixels under the same path",
    "prepared": "the same photograph, prepared to other pixels",
}
"""What can happen to an image, and what it means."""
_COMPARED = {"renamed": "path", "moved": "split", "relabelled": "label", "changed": "sha256"}
_COLUMNS = ("change", "image_id", "path", "before", "after")


def find_manifest(layout: Layout, revision: str | None) -> Path:
    """The prepared manifest of a revision of git, from DVC's cache; for None the one that lies here.

    Raises:
        DataError: there is no such revision, it has no whole `dvc.lock`, or the manifest is not in the cache.
    """
    if revision is None:
        if not layout.manifest.is_file():
            raise DataError(f"{layout.manifest} does not exist: run `dvc repro preprocess` or `dvc checkout`")
        return layout.manifest
    commit = git_said(layout.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise DataError(f"{revision!r} is no revision of git: `git log --oneline` shows some")
    text = read_lock(layout, commit.strip())
    if not text or damage_in(text):
        raise DataError(f"{DVC_LOCK} of {revision} {damage_in(text) if text else 'does not exist'}: name another one")
    found = find_tracked(layout, parse_lock(text), layout.manifest)
    if found is None:
        raise DataError(
            f"the prepared manifest of {revision} is not in DVC's cache: `dvc fetch --all-commits` brings what was "
            f"pushed; else `git checkout {revision}` in another clone, `dvc repro preprocess` there"
        )
    return found


def compare_manifests(before: Path, after: Path) -> "pd.DataFrame":
    """What happened to each image between two prepared manifests.

    Returns:
        Columns `change` (a key of `CHANGES`), `image_id`, `path`, `before` and `after` (split, label, path or digest
        of the pixels), all text; in the order of `CHANGES`, then by path. An image that was moved and relabelled has
        two rows.

    Raises:
        DataError: a manifest is damaged.
    """
    import pandas as pd

    old, new = (read_manifest(path, PREPARED_COLUMNS).set_index("image_id", drop=False) for path in (before, after))
    gone, come = old[~old.index.isin(new.index)], new[~new.index.isin(old.index)]
    key = ["sha256", "box_left", "box_top", "box_right", "box_bottom"]
    alone = [table.drop_duplicates(key, keep=False)[[*key, "image_id"]] for table in (gone, come)]
    renamed = alone[0].merge(alone[1], on=key, suffixes=("_old", "_new"))
    rows: list[tuple[str, ...]] = list(_one_sided("removed", gone[~gone.index.isin(renamed["image_id_old"])]))
    rows += _one_sided("added", come[~come.index.isin(renamed["image_id_new"])])
    stayed = old.index.intersection(new.index)
    rows += _changed(
        old.loc[[*stayed, *renamed["image_id_old"]]].reset_index(drop=True),
        new.loc[[*stayed, *renamed["image_id_new"]]].reset_index(drop=True),
    )
    rows.sort(key=lambda row: (list(CHANGES).index(row[0]), row[2]))
    return pd.DataFrame(rows, columns=list(_COLUMNS), dtype=str)


def count_changes(changes: "pd.DataFrame") -> dict[str, int]:
    """How many images were added, removed, ...: by change, those that did not happen too."""
    counts = changes["change"].value_counts()
    return {change: int(counts.get(change, 0)) for change in CHANGES}


def _one_sided(change: str, table: "pd.DataFrame") -> Iterator[tuple[str, ...]]:
    """Rows of images that only one side has: split and label where they are, or were."""
    for row in table.to_dict("records"):
        where = f"{row['split']}, {row['label']}"
        yield change, row["image_id"], row["path"], *(("", where) if change == "added" else (where, ""))


def _changed(old: "pd.DataFrame", new: "pd.DataFrame") -> Iterator[tuple[str, ...]]:
    """Rows of images that both sides have, the same image in the same row."""
    compared = {**_COMPARED, "prepared": "prepared_sha256"}
    for change, column in compared.items():
        differs = old[column] != new[column]
        if change == "prepared":  # other pixels of the photograph are told already
            differs &= old["sha256"] == new["sha256"]
        for row, was in zip(new[differs].to_dict("records"), old.loc[differs, column], strict=True):
            yield change, row["image_id"], row["path"], _short(column, was), _short(column, row[column])


def _short(column: str, value: str) -> str:
    """A digest by its first digits."""
    return value[:12] if column.endswith("sha256") else value
