"""What preprocess found, as numbers: counts, sizes, measures by split, class and source, duplicates, odd images.

Rule: test images count in numbers, but are never named as unusual, since that would have people look at them. Numbers
are rounded to six significant digits, so that the file stays small and reads well.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.base import SPLITS, Split
from podium.data.manifest import MEASURES
from podium.records.profile import CHANNELS, HISTOGRAMS, DuplicateGroup, DuplicateMember, Part, Profile, Spread, Unusual

MOST_UNUSUAL = 18

_BINS = 20
_LARGEST_DEVIATION = 10.0  # robust standard deviations that one measure can add to a distance

Levels = Mapping[Split, Mapping[str, NDArray[np.float64]]]
"""By split and class: sums over images of the shares of pixels by channel and level (`temporary_arrays`)."""


def describe(
    manifest: pd.DataFrame,
    measures: pd.DataFrame,
    naive_split: pd.Series,
    rejected: pd.DataFrame,
    levels: Levels | None = None,
) -> Profile:
    """Profiles a prepared dataset, the same for the same rows in any order.

    Args:
        manifest: the prepared manifest, one row an image.
        measures: `image_id` and a column per key of `MEASURES`; the same images, in any order.
        naive_split: the split each image would have if duplicates were not grouped, same index as `manifest`.
        rejected: columns `path label reason kind`.
        levels: by split; none leaves the histograms of the channels out.
    """
    images = _joined(manifest.assign(naive_split=naive_split), measures)
    groups, cells = _duplicate_groups(images), _cells(images)
    kinds, (mean, std) = Counter(rejected["kind"]), _channel_statistics(images[images["split"] == "train"])
    (parts, by_class), (torn, naive_test, twins) = _parts(images, levels or {}), _naive_leak(images)
    return Profile(
        images=len(images),
        rejected=kinds["unreadable"],
        too_small=kinds["too_small"],
        left_out=kinds["duplicate"],
        skipped=kinds["skipped"],
        classes=list(cells),
        per_class_and_split=cells,
        per_split={split: part.images for split, part in parts.items()},
        per_group=_count_values(images["group"]),
        per_source=_count_values(images["source"]),
        per_licence=_count_values(images["licence"]),
        rejected_by_reason=_count_values(rejected["reason"].str.replace(r"\d+", "#", regex=True)),
        notes=_notes(images["note"]),
        duplicates=groups,
        groups_straddled=sum(group.straddled for group in groups),
        images_moved=sum(group.moved for group in groups),
        groups_would_straddle=sum(group.would_straddle for group in groups),
        groups_conflicting=sum(group.conflicting_labels for group in groups),
        naive_groups_torn=torn,
        naive_test_images=naive_test,
        naive_test_twins=twins,
        channel_mean=mean,
        channel_std=std,
        splits=parts,
        by_class=by_class,
        by_source={str(source): _part(of) for source, of in images.groupby("source", sort=True)},
        unusual=_unusual(images),
    )


def _joined(manifest: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """Images with their measures, by `image_id`."""
    one_each = manifest.merge(measures[["image_id", *MEASURES]], on="image_id", validate="one_to_one")
    return one_each.sort_values("image_id", ignore_index=True)


def _significant(value: float) -> float:
    """A number rounded to six significant digits."""
    return float(f"{float(value):.6g}")


def _cells(images: pd.DataFrame) -> dict[str, dict[Split, int]]:
    """Images by class and split, classes sorted."""
    counts = Counter(images.groupby(["label", "split"]).size().to_dict())
    return {label: {split: counts[label, split] for split in SPLITS} for label in sorted(images["label"].unique())}


def _count_values(column: pd.Series) -> dict[str, int]:
    """Rows by value, sorted by value."""
    return dict(sorted((str(value), int(count)) for value, count in column.value_counts().items()))


def _notes(column: pd.Series) -> dict[str, int]:
    """Images per note; a file can have several."""
    several = column[column != ""].str.replace(r"^first of \d+", "first of several", regex=True)
    return _count_values(several.str.split(", ").explode())


def _parts(images: pd.DataFrame, levels: Levels) -> tuple[dict[Split, Part], dict[str, Part]]:
    """Numbers by split and by class."""
    of_split = {split: _part(images[images["split"] == split], levels.get(split, {}).values()) for split in SPLITS}
    of_class = {
        str(label): _part(of, [sums[str(label)] for sums in levels.values() if str(label) in sums])
        for label, of in images.groupby("label", sort=True)
    }
    return of_split, of_class


def _part(images: pd.DataFrame, levels: Collection[NDArray[np.float64]] = ()) -> Part:
    """Numbers about some of the images: sizes in pixels, measures, histograms; `levels` are sums over all of them."""
    total = np.sum(list(levels), axis=0) if levels else ()
    sides = images[["width", "height"]].assign(shorter_side=images[["width", "height"]].min(axis=1))
    return Part(
        images=len(images),
        sizes=_spreads(sides),
        measures=_spreads(images[list(MEASURES)]),
        histograms={name: _histogram(images[name], end) for name, end in HISTOGRAMS.items()},
        levels={
            name: [_significant(share) for share in shares / len(images)]
            for name, shares in zip(CHANNELS, total, strict=False)
        },
    )


def _spreads(columns: pd.DataFrame) -> dict[str, Spread]:
    """Mean, deviation and quantiles of each column; empty where there are no rows."""
    if columns.empty:
        return {}
    values = columns.to_numpy(np.float64)
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95), axis=0)
    spreads = {"mean": values.mean(axis=0), "std": values.std(axis=0), "q05": low, "q50": middle, "q95": high}
    return {
        name: Spread(**{key: _significant(numbers[at]) for key, numbers in spreads.items()})
        for at, name in enumerate(map(str, columns))
    }


def _histogram(values: pd.Series, end: float) -> list[int]:
    """Counts in `_BINS` equal bins from 0 to `end`; values beyond are not counted."""
    counts, _ = np.histogram(values.to_numpy(np.float64), bins=_BINS, range=(0.0, end))
    return [int(count) for count in counts]


def _channel_statistics(train: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of red, green and blue; the variance of all is the mean of E[x²] less the mean²."""
    if train.empty:
        return [], []
    means = train[[f"{name}_mean" for name in CHANNELS]].to_numpy(np.float64)
    stds = train[[f"{name}_std" for name in CHANNELS]].to_numpy(np.float64)
    mean = means.mean(axis=0)
    variance = (means**2 + stds**2).mean(axis=0) - mean**2
    return [_significant(v) for v in mean], [_significant(v) for v in np.sqrt(np.maximum(variance, 0))]


def _naive_leak(images: pd.DataFrame) -> tuple[int, int, int]:
    """Groups that a draw image by image tears apart, its test images, and those of them with a twin in its train."""
    sides = images[["split_group", "naive_split"]].drop_duplicates()
    torn = sides.loc[sides.duplicated("split_group"), "split_group"].nunique()
    test = images.loc[images["naive_split"] == "test", "split_group"]
    train = images.loc[images["naive_split"] == "train", "split_group"]
    return int(torn), len(test), int(test.isin(train).sum())


def robust_deviations(measures: pd.DataFrame) -> NDArray[np.float64]:
    """How far each number is from the median of its column, in robust standard deviations.

    The scale is 1.4826 times the median absolute deviation (Rousseeuw & Croux, Alternatives to the median absolute
    deviation, 1993), or the standard deviation where most values are the same, and nothing deviates where all are.

    Args:
        measures: the columns of `MEASURES`, N rows.

    Returns:
        Shape (N, len(MEASURES)), signed.
    """
    values = measures[list(MEASURES)].to_numpy(np.float64)
    away = values - np.median(values, axis=0)
    scale = 1.4826 * np.median(np.abs(away), axis=0)
    scale = np.where(scale > 0, scale, values.std(axis=0))
    return np.asarray(np.divide(away, scale, out=np.zeros_like(away), where=scale > 0))


def _unusual(images: pd.DataFrame) -> list[Unusual]:
    """Train and val images far from the rest: root mean square of the deviations, each cut at ten."""
    shown = images[images["split"] != "test"]
    if shown.empty:
        return []
    deviations = robust_deviations(shown)
    cut = np.clip(deviations, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    distances = np.sqrt((cut**2).mean(axis=1))
    names = list(MEASURES)
    found = []
    for at in np.lexsort((shown["image_id"].to_numpy(str), -distances.round(10)))[:MOST_UNUSUAL]:
        most = int(np.abs(deviations[at]).argmax())
        row = shown.iloc[int(at)]
        found.append(
            Unusual(
                image_id=row["image_id"],
                path=row["path"],
                split=row["split"],
                distance=_significant(distances[at]),
                most=names[most],
                deviation=_significant(deviations[at, most]),
            )
        )
    return found


def _duplicate_groups(images: pd.DataFrame) -> list[DuplicateGroup]:
    """Groups of two and more, by id; members by `image_id`, the order in which `images` come."""
    columns = ["duplicate_group", "path", "label", "source_split", "split", "naive_split", "duplicate_kind"]
    shared = images.loc[images.duplicated("duplicate_group", keep=False), columns]
    rows = shared.sort_values("duplicate_group", kind="stable").itertuples(index=False)
    return [_duplicate_group(key, list(members)) for key, members in groupby(rows, key=attrgetter("duplicate_group"))]


def _duplicate_group(key: str, rows: list[Any]) -> DuplicateGroup:
    """One group of duplicates, of the rows of its images."""
    straddled = len({row.source_split for row in rows} - {""}) > 1  # such a group went to one of the given splits
    return DuplicateGroup(
        id=key,
        kind="near" if any(row.duplicate_kind == "near" for row in rows) else "exact",
        members=[
            DuplicateMember(path=row.path, label=row.label, source_split=row.source_split, split=row.split)
            for row in rows
        ],
        straddled=straddled,
        moved=sum(row.source_split not in ("", row.split) for row in rows) if straddled else 0,
        would_straddle=len({row.naive_split for row in rows}) > 1,
        conflicting_labels=len({row.label for row in rows}) > 1,
    )
