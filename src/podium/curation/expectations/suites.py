"""What Great Expectations is given: a suite a concern, with the table its expectations look at.

Depends on great_expectations; import this module at the point of use.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import great_expectations.expectations as gxe
import pandas as pd

from podium.config.base import SPLITS
from podium.config.validate import Validate
from podium.curation.expectations import (
    balance,
    drift,
    labels,
    leakage,
    licences,
    quality,
    reading,
    shortcuts,
    sizes,
    splits,
)
from podium.curation.expectations.catalogue import CATALOGUE
from podium.curation.expectations.evidence import CannotCheck, Evidence, Figures
from podium.data.manifest import PREPARED_COLUMNS

SCHEMA = "columns"
"""The one expectation of suite `schema`; all others look at figures."""
_FIGURES: dict[str, Callable[[Evidence, Validate], Figures]] = {
    "classes_in_every_split": splits.classes_in_every_split,
    "minimum_rows": splits.minimum_rows,
    "image_in_one_split": leakage.image_in_one_split,
    "duplicates_in_one_split": leakage.duplicates_in_one_split,
    "photo_in_one_split": leakage.photo_in_one_split,
    "split_group_in_one_split": leakage.split_group_in_one_split,
    "class_balance": balance.class_balance,
    "source_balance": balance.source_balance,
    "image_side": sizes.image_side,
    "training_resolution": sizes.training_resolution,
    "image_quality": quality.image_quality,
    "share_rejected": reading.share_rejected,
    "licence_known": licences.licence_known,
    "split_drift": drift.split_drift,
    "label_noise": labels.label_noise,
    "border_shortcut": shortcuts.border_shortcut,
    "source_shortcut": shortcuts.source_shortcut,
}


@dataclass(frozen=True)
class Suite:
    """Expectations of one concern, and the table they look at. `index` are the columns that name a row of it."""

    name: str
    table: pd.DataFrame
    index: list[str]
    expectations: list[gxe.Expectation]


def figures_of(evidence: Evidence, validate: Validate) -> tuple[dict[str, Figures], dict[str, str]]:
    """The figures of all expectations but the schema's, and why some have none."""
    figures, problems = {}, {}
    for id, count in _FIGURES.items():
        try:
            found = count(evidence, validate)
        except CannotCheck as error:
            problems[id] = str(error)
            continue
        unknown = [of for of, value in found.values.items() if not math.isfinite(value)]
        if unknown or not found.values:  # the library would pass over both
            problems[id] = f"{unknown[0]} is no number" if unknown else "there is nothing to look at"
        else:
            figures[id] = found
    return figures, problems


def suites_of(evidence: Evidence, figures: Mapping[str, Figures], validate: Validate) -> Iterator[Suite]:
    """One suite a concern; a concern of which nothing can be checked has none."""
    yield Suite(CATALOGUE[SCHEMA].suite, evidence.manifest, [], _on_manifest(evidence.manifest, validate))
    for name in sorted({CATALOGUE[id].suite for id in figures}):
        mine = {id: found for id, found in figures.items() if CATALOGUE[id].suite == name}
        rows = [{"of": of, id: float(value)} for id, found in mine.items() for of, value in found.values.items()]
        judged = [_on_figures(id, found, validate) for id, found in mine.items()]
        yield Suite(name, pd.DataFrame(rows, columns=["of", *mine]), ["of"], judged)


def _on_manifest(manifest: pd.DataFrame, validate: Validate) -> list[gxe.Expectation]:
    """All columns are there and filled, every image stands once, every split has a known name."""
    words = _words(SCHEMA, validate)
    present = [column for column in PREPARED_COLUMNS if column in manifest.columns]
    found = [
        gxe.ExpectTableColumnsToMatchSet(column_set=list(PREPARED_COLUMNS), exact_match=False, **words),
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **words),  # an empty table would pass those below
        *(gxe.ExpectColumnValuesToNotBeNull(column=column, **words) for column in present),
    ]
    if "image_id" in present:
        found.append(gxe.ExpectColumnValuesToBeUnique(column="image_id", **words))
    if "split" in present:
        found.append(gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS), **words))
    return found


def _on_figures(id: str, figures: Figures, validate: Validate) -> gxe.Expectation:
    """Every figure lies between its bounds; cells of other expectations are empty, which the library passes over."""
    return gxe.ExpectColumnValuesToBeBetween(
        column=id, min_value=figures.least, max_value=figures.most, **_words(id, validate)
    )


def _words(id: str, validate: Validate) -> dict[str, object]:
    """What the library carries along with an expectation."""
    entry = CATALOGUE[id]
    return {"meta": {"id": id}, "notes": [entry.sentence, entry.why], "severity": validate.entry(id).severity}
