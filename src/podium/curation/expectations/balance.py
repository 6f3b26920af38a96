"""Suite `balance`: no class and no source outweighs the others. Depends on pandas."""

import pandas as pd

from podium.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures


def class_balance(evidence: Evidence, validate: Validate) -> Figures:
    """Largest / smallest class; the images of classes that are too small are named."""
    return _balance(evidence, "label", validate.class_balance.maximum)


def source_balance(evidence: Evidence, validate: Validate) -> Figures:
    """Largest / smallest source; the images of sources that are too small are named."""
    return _balance(evidence, "source", validate.source_balance.maximum)


def _balance(evidence: Evidence, column: str, maximum: float) -> Figures:
    """Largest / smallest of the values of a column of the manifest."""
    values: pd.Series = evidence.columns(column)[column]
    sizes = sorted((int(count), str(name)) for name, count in values.value_counts().items())
    (least, small), (most, large) = sizes[0], sizes[-1]
    too_small = {name for count, name in sizes if most / count > maximum}
    return Figures(
        values={f"largest / smallest {column}": most / least},
        most=maximum,
        observed=lambda _: f"{most / least:.4g} ({large} {most} / {small} {least})",
        images=lambda _: evidence.paths(values.isin(too_small)),
    )
