"""Great Expectations at work: one suite a concern, one result for every key of params section `validate`.

Rule: pandas counts (the modules of the concerns), Great Expectations judges: the manifest itself in suite `schema`, a
small table of figures in every other suite, so its time hardly grows with the images. Depends on great_expectations,
which takes some 6 s to import; import this module at the point of use.
"""

from dataclasses import dataclass
from pathlib import Path

import great_expectations as gx
from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext

from podium.config.validate import Validate
from podium.core.errors import one_line
from podium.curation.expectations import schema
from podium.curation.expectations.catalogue import CATALOGUE, expected
from podium.curation.expectations.evidence import NOBODY, Evidence, Figures, Offending
from podium.curation.expectations.suites import Suite, figures_of, suites_of
from podium.records.validate import ExpectationResult

MOST_OFFENDING = 20


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
        One result per entry of the catalogue, sorted by id.
    """
    figures, problems = figures_of(evidence, validate)
    tables, verdicts = _definition(_context()), {}
    for suite in suites_of(evidence, figures, validate):
        batch = tables.get_batch(batch_parameters={"dataframe": suite.table})
        made = gx.ExpectationSuite(suite.name, expectations=suite.expectations)
        verdicts.update(_verdicts(batch.validate(made, result_format=_format(suite)).results))
    for id, verdict in verdicts.items():
        if verdict.raised:
            problems[id] = verdict.raised
    return [
        _not_checked(id, evidence, validate, problems[id])
        if id in problems
        else _result(id, evidence, validate, figures.get(id), verdicts[id])
        for id in sorted(CATALOGUE)
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
    figures, _ = figures_of(evidence, validate)
    context = _context()
    for name in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(name)  # of a fresh context: below /tmp
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": store}
    context.add_data_docs_site("podium", {**site, "site_index_builder": index})
    tables = _definition(context)
    for suite in suites_of(evidence, figures, validate):
        made = context.suites.add(gx.ExpectationSuite(suite.name, expectations=suite.expectations))
        definition = gx.ValidationDefinition(name=suite.name, data=tables, suite=made)
        checkpoint = gx.Checkpoint(
            name=suite.name,
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[UpdateDataDocsAction(name="pages", site_names=["podium"])],
            result_format=_format(suite),
        )
        context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": suite.table})
    return folder / "index.html"


def _context() -> EphemeralDataContext:
    """Great Expectations without files of its own and without progress bars."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _definition(context: EphemeralDataContext) -> BatchDefinition:
    """Where the table of a suite goes at run time."""
    asset = context.data_sources.add_pandas("prepared").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("all")


def _format(suite: Suite) -> dict[str, object]:
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


def _result(
    id: str, evidence: Evidence, validate: Validate, figures: Figures | None, verdict: _Verdict
) -> ExpectationResult:
    """One of our results from the library's verdict; `figures` is None for the schema, which has none."""
    found: Offending = NOBODY
    if not verdict.success:
        found = figures.images(verdict.broken) if figures else schema.images(evidence)
    return _told(
        id,
        evidence,
        validate,
        success=verdict.success,
        observed=figures.observed(verdict.broken) if figures else schema.observed(evidence.manifest),
        offending=found.paths[:MOST_OFFENDING],
        offending_count=found.count,
    )


def _not_checked(id: str, evidence: Evidence, validate: Validate, reason: str) -> ExpectationResult:
    """A result that fails because nothing could be looked at, and says why."""
    return _told(
        id,
        evidence,
        validate,
        success=False,
        observed=f"not checked: {reason}",
        offending=[],
        offending_count=0,
        checked=False,
    )


def _told(id: str, evidence: Evidence, validate: Validate, **seen: object) -> ExpectationResult:
    """A result with what the catalogue and the params say of its expectation; `seen` are its other fields."""
    entry, settings = CATALOGUE[id], validate.entry(id)
    return ExpectationResult.model_validate(
        {
            "id": id,
            "suite": entry.suite,
            "severity": settings.severity,
            "relaxed": settings.relaxed,
            "because": settings.because or "",
            "sentence": entry.sentence,
            "why": entry.why,
            "expected": expected(id, validate, evidence.image_size),
            **seen,
        }
    )
