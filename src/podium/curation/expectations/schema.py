"""Suite `schema`: the manifest is complete. The one suite that looks at the manifest itself and not at figures.

Depends on pandas.
"""

import pandas as pd

from podium.config.base import SPLITS
from podium.curation.expectations.evidence import Evidence, Offending
from podium.data.manifest import PREPARED_COLUMNS


def absent(manifest: pd.DataFrame) -> list[str]:
    """Columns the manifest lacks."""
    return [column for column in PREPARED_COLUMNS if column not in manifest.columns]


def broken_rows(manifest: pd.DataFrame) -> pd.Series:
    """Which rows have a missing value, an `image_id` that stands twice, or a split of another name."""
    present = [column for column in PREPARED_COLUMNS if column in manifest.columns]
    broken: pd.Series = manifest[present].isna().any(axis=1)
    if "image_id" in present:
        broken |= manifest["image_id"].duplicated(keep=False)
    if "split" in present:
        broken |= ~manifest["split"].isin(SPLITS)
    return broken


def observed(manifest: pd.DataFrame) -> str:
    """What was seen, in words."""
    missing, broken = absent(manifest), int(broken_rows(manifest).sum())
    return (
        f"{len(manifest)} rows"
        + (f"; missing: {', '.join(missing)}" if missing else f", {len(PREPARED_COLUMNS)} columns")
        + (f"; {broken} rows with missing or wrong values" if broken else "")
    )


def images(evidence: Evidence) -> Offending:
    """The images of the rows that are broken."""
    return evidence.paths(broken_rows(evidence.manifest))
