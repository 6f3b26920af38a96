"""Suite `leakage`: nothing is on two sides of the split. Depends on pandas."""

import numpy as np
import pandas as pd

from podium.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures


def image_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Pictures (by the digest of their pixels) in two or more splits."""
    return _straddling(evidence, "sha256", "pictures")


def duplicates_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Groups of duplicates in two or more splits."""
    return _straddling(evidence, "duplicate_group", "groups")


def photo_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Photographs with crops in two or more splits, by their name and by the bytes of their file."""
    return _straddling(evidence, "photo_id", "photographs", "photo_sha256", "files with the same bytes")


def split_group_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Groups of images that belong together (duplicates, crops, chains of both) in two or more splits."""
    return _straddling(evidence, "split_group", "groups")


def _straddling(evidence: Evidence, *keys_and_words: str) -> Figures:
    """Counts the keys of one or more columns that are on two sides; given are columns and what they name, in turn."""
    counts: dict[str, float] = {}
    there = pd.Series(False, index=evidence.manifest.index)
    for key, what in zip(keys_and_words[::2], keys_and_words[1::2], strict=True):
        count, images = _on_two_sides(evidence.columns(key, "split"), key)
        counts[f"{what} in two or more splits"] = float(count)
        there |= images
    return Figures(
        values=counts,
        most=0,
        observed=lambda broken: ", ".join(f"{counts[of]:.0f} {of}" for of in broken or counts),
        images=lambda _: evidence.paths(there),
    )


def _on_two_sides(images: pd.DataFrame, key: str) -> tuple[int, pd.Series]:
    """How many values of a column are in two or more splits, and a mask of the images that have one of them."""
    codes, keys = pd.factorize(images[key])  # -1 where missing, which suite `schema` names
    sides, _ = pd.factorize(images["split"])
    known = (codes >= 0) & (sides >= 0)
    pairs = np.unique(codes[known] * (sides.max() + 1) + sides[known]) // (sides.max() + 1)
    straddling = np.bincount(pairs, minlength=len(keys)) > 1
    return int(straddling.sum()), pd.Series(known & straddling[codes], index=images.index)
