"""What preprocess found, as numbers: counts, sizes, what was rejected and why, duplicates and what became of them.

Depends on pandas.
"""

import re
from collections import Counter

import pandas as pd

from podium.core.config.base import SPLITS
from podium.core.records.preprocess import DuplicateGroup, DuplicateMember, Profile

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def describe(manifest: pd.DataFrame, naive_split: pd.Series, rejected: pd.DataFrame) -> Profile:
    """Profiles a prepared dataset.

    Args:
        manifest: the prepared manifest, one row an image.
        naive_split: the split each image would have if duplicates were not grouped, same index.
        rejected: columns `path label reason`; `label` is empty for files that are no images to use.

    Returns:
        The profile; the same for the same rows in any order.
    """
    unreadable = rejected[rejected["label"] != ""]
    groups = _duplicate_groups(manifest.assign(naive_split=naive_split))
    counts = Counter(zip(manifest["label"], manifest["split"], strict=True))
    classes = sorted(manifest["label"].unique())
    return Profile(
        images=len(manifest),
        rejected=len(unreadable),
        skipped=len(rejected) - len(unreadable),
        classes=classes,
        per_class_and_split={label: {s: counts[label, s] for s in SPLITS} for label in classes},
        per_split={s: int((manifest["split"] == s).sum()) for s in SPLITS},
        per_group=_counted(manifest["group"]),
        per_source=_counted(manifest["source"]),
        rejected_by_reason=_counted(rejected["reason"].str.replace(r"\d+", "#", regex=True)),
        notes=_notes(manifest["note"]),
        size_quantiles=_sizes(manifest),
        duplicates=groups,
        groups_straddled=sum(group.straddled for group in groups),
        images_moved=sum(group.moved for group in groups),
        groups_would_straddle=sum(group.would_straddle for group in groups),
        groups_conflicting=sum(group.conflicting_labels for group in groups),
    )


def _counted(column: pd.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in sorted(Counter(column).items())}


def _notes(column: pd.Series) -> dict[str, int]:
    """Images per note; a file can have several."""
    parts = [re.sub(r"^first of \d+", "first of several", part) for note in column if note for part in note.split(", ")]
    return dict(sorted(Counter(parts).items()))


def _sizes(manifest: pd.DataFrame) -> dict[str, dict[str, float]]:
    sides = manifest[["width", "height"]].assign(shorter_side=manifest[["width", "height"]].min(axis=1))
    return {
        str(name): {f"{q:g}": round(float(value), 10) for q, value in sides[name].quantile(list(_QUANTILES)).items()}
        for name in sides
    }


def _duplicate_groups(images: pd.DataFrame) -> list[DuplicateGroup]:
    """Groups of two and more, by id; members by `image_id`."""
    shared = images[images.duplicated("duplicate_group", keep=False)].sort_values("image_id")
    groups = []
    for key, members in shared.groupby("duplicate_group", sort=True):
        given = members["source_split"]
        straddled = len(set(given) - {""}) > 1  # such a group went to one of the given splits
        groups.append(
            DuplicateGroup(
                id=str(key),
                kind="near" if (members["duplicate_kind"] == "near").any() else "exact",
                members=[
                    DuplicateMember(path=path, label=label, source_split=source_split, split=split)
                    for path, label, source_split, split in zip(
                        members["path"], members["label"], given, members["split"], strict=True
                    )
                ],
                straddled=straddled,
                moved=int(((given != "") & (given != members["split"])).sum()) if straddled else 0,
                would_straddle=members["naive_split"].nunique() > 1,
                conflicting_labels=members["label"].nunique() > 1,
            )
        )
    return groups
