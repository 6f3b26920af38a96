"""Slices: parts of a split that can be told without a model's answers, and whether the model is worse on them.

A slice is a rule on one column of what is known of an image (`config.judging.Slice`), those built in and a user's
alike. Quantiles are taken on the validation split, so that each slice is fixed before a test image is looked at.
Fisher, *Statistical Methods for Research Workers*, 5th edition, 1934, section 21.02 (exact test of two shares);
Fleiss, Levin, Paik, *Statistical Methods for Rates and Proportions*, 3rd edition, 2003, formula 4.14 (images needed).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podium.analysis.paired import holm
from podium.analysis.statistics import CELLS_AT_ONCE, wilson
from podium.config.judging import Slice
from podium.config.problems import nearest
from podium.core.errors import DataError
from podium.data.manifest import MEASURES
from podium.records.evaluation import SliceMetrics

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE = 0.05
GAP, POWER = 0.05, 0.8
"""The difference in accuracy that somebody would want to know of, and how surely it is to be seen."""
_MOST_SHARE = 0.5  # of the validation images in a built-in quantile slice: more are no lowest or highest quarter
_MOST_CATEGORIES = 8  # up to which each value of a built-in category column is a slice
CATEGORIES = {"source": "from the source {}", "group": "of the coarse class {}"}

HARD: dict[str, Slice] = {
    "occluded": Slice(column="occlusion", above=0.1, sentence="more than a tenth of the object is hidden"),
    "busy_background": Slice(column="clutter", above=0.2, sentence="clutter covers more than a fifth of the surface"),
    "several_objects": Slice(column="objects", above=1, sentence="there is more than one object"),
    "rotated_view": Slice(column="view", category="rotated", sentence="the object is seen from an unusual side"),
    "marked_occluded": Slice(column="is_occluded", above=0, sentence="annotated as hidden in part"),
    "truncated": Slice(column="is_truncated", above=0, sentence="annotated as cut off by the edge of the photograph"),
    "other_boxes": Slice(column="other_boxes", above=0, sentence="objects of other labels overlap its box"),
}
"""Hard by what the source knows; `hard` is any of them, `clean` none. The limits of the first two lie in the gaps of
the embedded sample: a busy background covers a quarter of the surface or more and any other none of it; an occluder
hides an eighth of the object or more."""
BUILT_IN: dict[str, Slice] = {
    **HARD,
    "group_of": Slice(column="is_group_of", above=0, sentence="annotated as a group of objects"),
    "depiction": Slice(column="is_depiction", above=0, sentence="annotated as a drawing or a picture of the object"),
    "contested": Slice(column="contested", above=0, sentence="the label is doubtful by its annotations"),
    "duplicates": Slice(column="is_duplicate", above=0, sentence="a copy of another image of the split"),
    "converted": Slice(column="is_converted", above=0, sentence="read with a change: animation, transparency, colours"),
    **{
        f"{column}_{end}": Slice.model_validate({"column": column, end: 0.25})
        for column in (
            "brightness",
            "contrast",
            "sharpness",
            "edge_density",
            "aspect",
            "object_size",
            "shorter_side",
            "train_distance",
        )
        for end in ("lowest", "highest")
    },
}
DERIVED: dict[str, str] = {
    "object_size": "share of the picture in the object's box; of the photograph, for a crop",
    "shorter_side": "pixels of the original, of the box for a crop",
    "train_distance": "bits of 64 in which the perceptual hash differs from that of the most similar training image",
    "is_duplicate": "1 for a copy of another image",
    "is_converted": "1 where the manifest's `note` says how it was read",
}
"""Columns made of those of the manifest, besides those of the source, the manifest and `MEASURES`."""


@dataclass(frozen=True)
class Part:
    """A slice with its quantiles as numbers: images whose `column` lies in [low, high], or is `category`."""

    name: str
    sentence: str
    column: str
    low: float = -np.inf
    high: float = np.inf
    category: str | float | None = None

    def mask(self, index: "pd.DataFrame") -> NDArray[np.bool_]:
        """Which images are in it, shape (N,); an unknown value is in no slice."""
        if self.column not in index:
            return np.zeros(len(index), np.bool_)
        column = index[self.column]
        if isinstance(self.category, str):
            return (column.notna() & column.astype(str).eq(self.category)).to_numpy(dtype=np.bool_)
        numbers = _numbers(column)
        if self.category is not None:
            return np.asarray(numbers == self.category, np.bool_)
        return np.asarray((numbers >= self.low) & (numbers <= self.high), np.bool_)


def describe_images(index: "pd.DataFrame", manifest: "pd.DataFrame", measures: "pd.DataFrame") -> "pd.DataFrame":
    """All that is known of a split's images: its own columns, those of manifest and measures, and `DERIVED`.

    Args:
        index: N rows of a prepared split, with what its source knew; `image_id` is the key.
        manifest: the prepared manifest, any rows beside those of the split.
        measures: `measures.parquet`, likewise.

    Returns:
        N rows in the order of `index`.
    """
    known = index
    for table in (manifest, measures):
        added = [column for column in table.columns if column not in known.columns]
        known = known.merge(table[["image_id", *added]], on="image_id", how="left", validate="one_to_one")
    made: dict[str, NDArray[Any]] = {}
    if {"width", "height"} <= set(known):
        width, height = _numbers(known["width"]), _numbers(known["height"])
        made["shorter_side"] = np.minimum(width, height)
        if {"x0", "y0", "x1", "y1"} <= set(known):
            x0, y0, x1, y1 = (_numbers(known[column]) for column in ("x0", "y0", "x1", "y1"))
            made["object_size"] = (x1 - x0) * (y1 - y0) / (width * height)
        elif {"box_left", "box_top", "box_right", "box_bottom"} <= set(known):
            left, top, right, bottom = (_numbers(known[f"box_{side}"]) for side in ("left", "top", "right", "bottom"))
            made["object_size"] = (right - left) * (bottom - top)
    for column, said in (("is_duplicate", "duplicate_kind"), ("is_converted", "note")):
        if said in known:
            made[column] = known[said].fillna("").ne("").to_numpy(dtype=np.float64)
    if {"phash", "split"} <= set(manifest) and "phash" in known:
        made["train_distance"] = _distance(known["phash"], manifest.loc[manifest["split"] == "train", "phash"])
    return known.assign(**made)


def resolve(added: Mapping[str, Slice], validation: "pd.DataFrame") -> list[Part]:
    """The built-in slices that a dataset has columns for, and a user's.

    Args:
        added: `evaluate.slices`.
        validation: what is known of the validation images (`describe_images`); quantiles are theirs.

    Returns:
        Parts with different names. A built-in quantile slice is left out where one value fills half of the images.

    Raises:
        DataError: a user's slice has the name of a built-in one, names a column that is not there, or a quantile of a
            column without numbers.
    """
    parts = []
    for name, one in BUILT_IN.items():
        if one.column in validation:
            part = _part(name, one, validation)
            quantile = one.lowest is not None or one.highest is not None
            if not (quantile and (not np.isfinite([part.low, part.high]).any() or _fills(part, validation))):
                parts.append(part)
    for column, sentence in CATEGORIES.items():
        values = sorted(validation[column].dropna().astype(str).unique()) if column in validation else []
        if 1 < len(values) <= _MOST_CATEGORIES:
            parts += [Part(f"{column}: {v}", sentence.format(v), column, category=v) for v in values if v]
    taken = {part.name for part in parts} | {"clean", "hard", *BUILT_IN}
    for name, one in added.items():
        if name in taken:
            raise DataError(f"evaluate.slices.{name}: a built-in slice has this name: give it another one")
        if one.column not in validation:
            raise DataError(
                f"evaluate.slices.{name}: there is no column {one.column!r} in what is known of the images"
                f"{nearest(one.column, validation.columns)}; docs/metrics.md lists them"
            )
        part = _part(name, one, validation)
        if one.category is None and not np.isfinite(_numbers(validation[one.column])).any():
            raise DataError(f"evaluate.slices.{name}: column {one.column!r} holds no numbers: use `category`")
        parts.append(part)
    return parts


def slice_masks(parts: Sequence[Part], index: "pd.DataFrame") -> dict[str, tuple[str, NDArray[np.bool_]]]:
    """Which images belong to which slice.

    Args:
        parts: as `resolve` gives them.
        index: N rows with the columns they name; one that is missing leaves its slice empty.

    Returns:
        Sentence and mask of shape (N,) by name, `clean` and `hard` where the source knows what is hard.
    """
    masks = {part.name: (part.sentence, part.mask(index)) for part in parts}
    known = [name for name in HARD if name in masks]
    if known:
        hard = np.logical_or.reduce([masks[name][1] for name in known])
        masks = {
            "clean": ("nothing known makes it hard", ~hard),
            **masks,
            "hard": (f"any of {', '.join(known).replace('_', ' ')}", hard),
        }
    return masks


def measure_slices(
    masks: Mapping[str, tuple[str, NDArray[np.bool_]]], correct: NDArray[np.bool_]
) -> dict[str, SliceMetrics]:
    """Accuracy on each slice that holds an image, on the rest, and whether the two differ.

    Fisher's exact test, two-sided, with Holm's correction; slices that part the images in the same way count once.

    Args:
        masks: sentence and mask by name.
        correct: whether each image was named rightly, shape (N,).

    Returns:
        By slice name; empty slices are left out.
    """
    from scipy.stats import fisher_exact

    images, right = len(correct), int(correct.sum())
    counts = {name: (int(m.sum()), int((m & correct).sum())) for name, (_, m) in masks.items() if m.any()}
    ways = {name: _way(masks[name][1]) for name, (n, _) in counts.items() if n < images}
    p_values: dict[bytes, float] = {}
    for name, way in ways.items():
        n, r = counts[name]
        if way not in p_values:
            p_values[way] = float(fisher_exact([[r, n - r], [right - r, images - n - right + r]]).pvalue)
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    out = {}
    for name, (n, r) in counts.items():
        shared = ways.get(name)
        out[name] = SliceMetrics(
            sentence=masks[name][0],
            images=n,
            accuracy=wilson(r, n),
            rest=None if shared is None else wilson(right - r, images - n),
            p_value=None if shared is None else p_values[shared],
            adjusted_p=None if shared is None else adjusted[shared],
            images_needed=None
            if shared is None or adjusted[shared] < SIGNIFICANCE
            else images_needed(n / images, (right - r) / (images - n), SIGNIFICANCE / len(adjusted)),
        )
    return out


def images_needed(share: float, rest: float, significance: float, gap: float = GAP, power: float = POWER) -> int:
    """How many images of a slice it takes to see that it is worse than the rest by `gap`.

    Args:
        share: of all images in the slice, in (0, 1); the rest grows with it.
        rest: accuracy outside, in [0, 1].
        significance: of the two-sided test.
        gap: how much lower the accuracy inside is; higher by as much where `rest` is below it.
        power: in how many of such test splits the test says so.

    Returns:
        N x share, from Fleiss' formula for two independent shares in samples of unequal size.
    """
    from scipy.stats import norm

    inside = rest - gap if rest >= gap else rest + gap
    mean = share * inside + (1 - share) * rest
    chance = float(norm.isf(significance / 2)) * np.sqrt(mean * (1 - mean) * (1 / share + 1 / (1 - share)))
    spread = np.sqrt(inside * (1 - inside) / share + rest * (1 - rest) / (1 - share))
    return int(np.ceil(share * ((chance + float(norm.ppf(power)) * spread) / gap) ** 2))


def worst_first(slices: Mapping[str, SliceMetrics]) -> list[str]:
    """Names of slices: those that are worse by more than chance, then the others, each by how far below the rest."""
    return sorted(slices, key=lambda name: (not is_worse(slices[name]), gap_to_rest(slices[name]), name))


def is_worse(part: SliceMetrics) -> bool:
    """Whether the model is less accurate on it than on the rest, by more than chance explains."""
    return part.adjusted_p is not None and part.adjusted_p < SIGNIFICANCE and gap_to_rest(part) < 0


def gap_to_rest(part: SliceMetrics) -> float:
    """Accuracy less that of the rest, in [-1, 1]; 0 where there is no rest."""
    return part.accuracy.value - part.rest.value if part.rest is not None else 0.0


def _distance(hashes: "pd.Series", others: "pd.Series") -> NDArray[np.float64]:
    """Bits in which each hash (hex digits) differs from the nearest of the others, shape (N,); NaN without a hash."""
    found = np.full(len(hashes), np.nan)
    there = np.flatnonzero(hashes.fillna("").ne(""))
    ours, theirs = (
        np.array([int(text, 16) for text in some], np.uint64) for some in (hashes.iloc[there], others[others.ne("")])
    )
    theirs = np.unique(theirs)
    step = max(1, CELLS_AT_ONCE // max(1, len(theirs)))
    for start in range(0, len(ours) if len(theirs) else 0, step):
        bits = np.bitwise_count(ours[start : start + step, None] ^ theirs)
        found[there[start : start + step]] = bits.min(axis=1)
    return found


def _part(name: str, one: Slice, validation: "pd.DataFrame") -> Part:
    """A slice with its quantile as a number of the validation images."""
    low, high, told = -np.inf, np.inf, f"{one.column} is {one.category}"
    if one.lowest is not None or one.highest is not None:
        share = one.lowest if one.lowest is not None else 1 - (one.highest or 0.0)
        numbers = _numbers(validation[one.column])
        numbers = numbers[np.isfinite(numbers)]
        limit = float(np.quantile(numbers, share)) if len(numbers) else np.nan
        low, high = (low, limit) if one.lowest is not None else (limit, high)
        end = f"lowest {one.lowest:.0%}" if one.lowest is not None else f"highest {one.highest:.0%}"
        told = f"among the {end} by {MEASURES.get(one.column) or DERIVED.get(one.column) or one.column}"
    elif one.above is not None:
        low, told = float(np.nextafter(one.above, np.inf)), f"{one.column} above {one.above:g}"
    elif one.below is not None:
        high, told = float(np.nextafter(one.below, -np.inf)), f"{one.column} below {one.below:g}"
    return Part(name, one.sentence or told, one.column, low, high, one.category)


def _fills(part: Part, validation: "pd.DataFrame") -> bool:
    """Whether a quantile slice holds so many images that it is no end of them: many share one value."""
    return bool(part.mask(validation).mean() > _MOST_SHARE)


def _way(mask: NDArray[np.bool_]) -> bytes:
    """The same bytes for a mask and its opposite."""
    return np.packbits(mask ^ mask[0]).tobytes()


def _numbers(column: "pd.Series") -> NDArray[np.float64]:
    """A column as floats; what is no number is NaN."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
