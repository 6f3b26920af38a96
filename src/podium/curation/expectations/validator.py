"""Great Expectations at work: one suite a concern, one result for every key of params section `validate`.

Rule: expectations count, Great Expectations judges: the manifest itself in suite `schema`, a small table of figures in
every other suite, so its time hardly grows with the images. It takes some 6 s to import: import this module at the
point of use.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext

from podium.config.base import SPLITS
from podium.config.validate import Validate
from podium.core.errors import one_line
from podium.core.layout import PAGE
from podium.curation.expectations.catalogue import EXPECTATIONS, threshold
from podium.curation.expectations.expectation import NOBODY, CannotCheck, Evidence, Figures, Offending
from podium.data.manifest import PREPARED_COLUMNS
from podium.records.validate import ExpectationResult

MOST_OFFENDING = 20
_SCHEMA = "columns"  # the one expectation of suite `schema`; all others look at figures


@dataclass(frozen=True)
class _Suite:
    """Expectations of one concern, and the table they look at. `index` are the columns that name a row of it."""

    name: str
    table: pd.DataFrame
    index: list[str]
    expectations: list[gxe.Expectation]


@dataclass(frozen=True)
class _Verdict:
    """What the library said of one expectation. `broken` names the figures out of bounds."""

    success: bool
    broken: list[str]
    raised: str


def check(evidence: Evidence, validate: Validate) -> list[ExpectationResult]:
    """Holds a dataset against all expectations.

    Args:
        evidence: the dataset and what was measured of it.
        validate: severities and thresholds.

    Returns:
        One result per expectation, sorted by id.
    """
    figures, problems = _count(evidence, validate)
    tables, verdicts = _definition(_context()), {}
    for suite in _suites(evidence, figures, validate):
        batch = tables.get_batch(batch_parameters={"dataframe": suite.table})
        made = gx.ExpectationSuite(suite.name, expectations=suite.expectations)
        verdicts.update(_verdicts(batch.validate(made, result_format=_format(suite)).results))
    for id, verdict in verdicts.items():
        if verdict.raised:
            problems[id] = verdict.raised
    return [
        _not_checked(id, evidence, validate, problems[id])
        if id in problems
        else _result(id, evidence, validate, figures[id], verdicts[id])
        for id in sorted(EXPECTATIONS)
    ]


def write_data_docs(evidence: Evidence, validate: Validate, folder: Path) -> Path:
    """Great Expectations' own pages on the same suites; they hold times and load their styles from the network.

    Args:
        evidence: the dataset and what was measured of it.
        validate: severities and thresholds.
        folder: where to write; made if needed.

    Returns:
        The first page.
    """
    figures, _ = _count(evidence, validate)
    context = _context()
    for name in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(name)  # of a fresh context: below /tmp
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": store}
    context.add_data_docs_site("podium", {**site, "site_index_builder": index})
    tables = _definition(context)
    for suite in _suites(evidence, figures, validate):
        made = context.suites.add(gx.ExpectationSuite(suite.name, expectations=suite.expectations))
        definition = gx.ValidationDefinition(name=suite.name, data=tables, suite=made)
        checkpoint = gx.Checkpoint(
            name=suite.name,
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[UpdateDataDocsAction(name="pages", site_names=["podium"])],
            result_format=_format(suite),
        )
        context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": suite.table})
    return folder / PAGE


def _count(evidence: Evidence, validate: Validate) -> tuple[dict[str, Figures], dict[str, str]]:
    """The figures of all expectations, and why some have none."""
    figures, problems = {}, {}
    for id, expectation in EXPECTATIONS.items():
        try:
            found = expectation(evidence, validate)
        except CannotCheck as error:
            problems[id] = str(error)
            continue
        unknown = [of for of, value in found.values.items() if not math.isfinite(value)]
        if id != _SCHEMA and (unknown or not found.values):  # the library would pass over both
            problems[id] = f"{unknown[0]} is no number" if unknown else "there is nothing to look at"
        else:
            figures[id] = found
    return figures, problems


def _suites(evidence: Evidence, figures: Mapping[str, Figures], validate: Validate) -> Iterator[_Suite]:
    """One suite a concern; a concern of which nothing can be checked has none."""
    yield _Suite(EXPECTATIONS[_SCHEMA].suite, evidence.manifest, [], _on_manifest(evidence.manifest, validate))
    of_figures = {id: found for id, found in figures.items() if id != _SCHEMA}
    for name in sorted({EXPECTATIONS[id].suite for id in of_figures}):
        mine = {id: found for id, found in of_figures.items() if EXPECTATIONS[id].suite == name}
        rows = [{"of": of, id: float(value)} for id, found in mine.items() for of, value in found.values.items()]
        judged = [_on_figures(id, found, validate) for id, found in mine.items()]
        yield _Suite(name, pd.DataFrame(rows, columns=["of", *mine]), ["of"], judged)


def _on_manifest(manifest: pd.DataFrame, validate: Validate) -> list[gxe.Expectation]:
    """All columns are there and filled, every image stands once, every split has a known name."""
    words = _metadata(_SCHEMA, validate)
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
        column=id, min_value=figures.least, max_value=figures.most, **_metadata(id, validate)
    )


def _metadata(id: str, validate: Validate) -> dict[str, object]:
    """What the library carries along with an expectation."""
    entry = EXPECTATIONS[id]
    return {"meta": {"id": id}, "notes": [entry.sentence, entry.why], "severity": validate.entry(id).severity}


def _context() -> EphemeralDataContext:
    """Great Expectations without files of its own and without progress bars."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _definition(context: EphemeralDataContext) -> BatchDefinition:
    """Where the table of a suite goes at run time."""
    asset = context.data_sources.add_pandas("prepared").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("all")


def _format(suite: _Suite) -> dict[str, object]:
    """All broken rows where they can be named; of the manifest they are counted here, it may have millions."""
    if not suite.index:
        return {"result_format": "BASIC"}
    return {"result_format": "COMPLETE", "unexpected_index_column_names": suite.index}


def _verdicts(results: list[ExpectationValidationResult]) -> dict[str, _Verdict]:
    """By id of ours; one of ours is several of the library's."""
    by_id: dict[str, list[ExpectationValidationResult]] = {}
    for result in results:
        by_id.setdefault(result.expectation_config.meta["id"], []).append(result)
    verdicts = {}
    for id, found in by_id.items():
        rows = [row for one in found if not one.success for row in one.result.get("unexpected_index_list") or []]
        verdicts[id] = _Verdict(
            success=all(one.success for one in found),
            broken=[str(row["of"]) for row in rows],
            raised=min(filter(None, map(_exception, found)), default=""),
        )
    return verdicts


def _exception(result: ExpectationValidationResult) -> str:
    """Text of an exception inside the library, or empty. It comes flat or by metric."""
    info = result.exception_info or {}
    for one in [info, *(part for part in info.values() if isinstance(part, dict))]:
        if one.get("raised_exception"):
            return one_line(one.get("exception_message"))
    return ""


def _result(id: str, evidence: Evidence, validate: Validate, figures: Figures, verdict: _Verdict) -> ExpectationResult:
    """One of our results from the library's verdict."""
    found: Offending = NOBODY if verdict.success else figures.images(verdict.broken)
    return _make_result(
        id,
        evidence,
        validate,
        success=verdict.success,
        observed=figures.observed(verdict.broken),
        offending=found.paths[:MOST_OFFENDING],
        offending_count=found.count,
    )


def _not_checked(id: str, evidence: Evidence, validate: Validate, reason: str) -> ExpectationResult:
    """A result that fails because nothing could be looked at, and says why."""
    return _make_result(
        id,
        evidence,
        validate,
        success=False,
        observed=f"not checked: {reason}",
        offending=[],
        offending_count=0,
        checked=False,
    )


def _make_result(id: str, evidence: Evidence, validate: Validate, **seen: object) -> ExpectationResult:
    """A result with what the catalogue and the params say of its expectation; `seen` are its other fields."""
    entry, settings = EXPECTATIONS[id], validate.entry(id)
    return ExpectationResult.model_validate(
        {
            "id": id,
            "suite": entry.suite,
            "severity": settings.severity,
            "relaxed": settings.relaxed,
            "because": settings.because or "",
            "sentence": entry.sentence,
            "why": entry.why,
            "expected": threshold(id, validate, evidence.image_size),
            **seen,
        }
    )
