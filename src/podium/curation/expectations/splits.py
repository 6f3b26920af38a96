"""Suite `splits`: every class is in every split, with enough images. Depends on pandas."""

import pandas as pd

from podium.config.base import SPLITS
from podium.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures, Offending

_NAMED = 5  # gaps told one by one


def classes_in_every_split(evidence: Evidence, _: Validate) -> Figures:
    """Images per class and split, at least one; the images of a class that lacks a split are named."""
    cells = _cells(evidence)
    images = evidence.columns("label", "split")
    classes = images["label"].nunique()

    def observed(broken: list[str]) -> str:
        gaps = [f"no image of {_of(label, split)}" for label, split in cells if _of(label, split) in broken]
        more = f" and {len(gaps) - _NAMED} more" if gaps[_NAMED:] else ""
        return "; ".join(gaps[:_NAMED]) + more if gaps else f"{classes} classes"

    def lacking(broken: list[str]) -> Offending:
        names = {label for label, split in cells if _of(label, split) in set(broken)}
        return evidence.paths(images["label"].isin(names))

    values = {_of(*cell): float(count) for cell, count in cells.items()}
    return Figures(values=values, least=1, observed=observed, images=lacking)


def minimum_rows(evidence: Evidence, validate: Validate) -> Figures:
    """Images per class and split, at least `minimum`; those of the small cells are named."""
    cells = _cells(evidence)
    images = evidence.columns("label", "split")

    def observed(broken: list[str]) -> str:
        count, label, split = min((count, *cell) for cell, count in cells.items())
        more = f"; {len(broken)} of {len(cells)} below" if broken else ""
        return f"smallest: {count} ({label} in {split}){more}"

    def in_small_cells(broken: list[str]) -> Offending:
        small = pd.MultiIndex.from_tuples([cell for cell in cells if _of(*cell) in set(broken)])
        return evidence.paths(pd.Series(pd.MultiIndex.from_frame(images).isin(small), index=images.index))

    values = {_of(*cell): float(count) for cell, count in cells.items()}
    return Figures(values=values, least=validate.minimum_rows.minimum, observed=observed, images=in_small_cells)


def _cells(evidence: Evidence) -> dict[tuple[str, str], int]:
    """Images by class and split, 0 where there is none."""
    images = evidence.columns("label", "split")
    counts = images.groupby(["label", "split"], observed=True).size().to_dict()
    labels = sorted(images["label"].dropna().unique())
    return {(str(label), split): int(counts.get((label, split), 0)) for label in labels for split in SPLITS}


def _of(label: str, split: str) -> str:
    """A class and a split as one name."""
    return f"{label!r} in {split}"
