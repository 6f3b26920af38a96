"""Suite `leakage`: nothing is on two sides of the split. Depends on pandas."""

import numpy as np
import pandas as pd

from podium.core.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures


def image_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Pictures (by the digest of their pixels) in two or more splits."""
    return _straddling(evidence, "sha256", "pictures")


def duplicates_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Groups of duplicates in two or more splits."""
    return _straddling(evidence, "duplicate_group", "groups")


def photo_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Photographs with crops in two or more splits."""
    return _straddling(evidence, "photo_id", "photographs")


def split_group_in_one_split(evidence: Evidence, _: Validate) -> Figures:
    """Groups of images that belong together (duplicates, crops, chains of both) in two or more splits."""
    return _straddling(evidence, "split_group", "groups")


def _straddling(evidence: Evidence, key: str, what: str) -> Figures:
    images = evidence.columns(key, "split")
    codes, keys = pd.factorize(images[key])  # -1 where missing, which suite `schema` names
    sides, _ = pd.factorize(images["split"])
    known = (codes >= 0) & (sides >= 0)
    pairs = np.unique(codes[known] * (sides.max() + 1) + sides[known]) // (sides.max() + 1)
    straddling = np.bincount(pairs, minlength=len(keys)) > 1
    there = pd.Series(known & straddling[codes], index=images.index)
    count = int(straddling.sum())
    return Figures(
        values={f"{what} in two or more splits": float(count)},
        most=0,
        observed=lambda _: f"{count} {what} in two or more splits",
        images=lambda _: evidence.paths(there),
    )
