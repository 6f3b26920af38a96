"""Great Expectations at work: one suite a concern, one result for every key of params section `validate`.

Rule: expectations count, Great Expectations judges a small table of figures, so its time and memory do not grow with
the images. It takes some 6 s to import: import this module at the point of use.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.checkpoint import UpdateDataDocsAction
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context import EphemeralDataContext

from podium.config.validate import Validate
from podium.core.errors import one_line
from podium.core.files import replacing_folder
from podium.core.layout import PAGE
from podium.curation.expectations.expectation import EXPECTATIONS, NOBODY, CannotCheck, DatasetFacts, Figures
from podium.records.validate import ExpectationResult

MOST_OFFENDING = 20
# All figures out of bounds are named.
_PAGE_FORMAT: Final = {"result_format": "COMPLETE", "unexpected_index_column_names": ["of"]}


def check(facts: DatasetFacts, validate: Validate) -> list[ExpectationResult]:
    """Holds a dataset against all expectations.

    Args:
        facts: the dataset and what was measured of it.
        validate: severities and thresholds.

    Returns:
        One result per expectation, sorted by id.
    """
    figures, problems = _count(facts, validate)
    tables, failed = _tables(_context()), set()
    for suite, table in _suites(figures, validate):
        batch = tables.get_batch(batch_parameters={"dataframe": table})
        for judged in batch.validate(suite, result_format="BOOLEAN_ONLY").results:
            id = judged.expectation_config.meta["id"]  # one of ours is several of the library's
            if not judged.success:
                failed.add(id)
            if raised := _exception(judged):
                problems[id] = min(raised, problems.get(id, raised))
    not_checked = {id: Figures({}, f"not checked: {problem}") for id, problem in problems.items()}
    seen = {**figures, **not_checked}
    return [
        _result(id, seen[id], validate, facts.image_size, success=id not in failed, checked=id not in problems)
        for id in sorted(EXPECTATIONS)
    ]


def write_data_docs(facts: DatasetFacts, validate: Validate, target: Path) -> Path:
    """Great Expectations' own pages on the same suites; they hold times and load their styles from the network.

    Args:
        facts: the dataset and what was measured of it.
        validate: severities and thresholds.
        target: the folder that is written, in place of one that is there.

    Returns:
        The first page.
    """
    figures, _ = _count(facts, validate)
    context = _context()
    for name in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(name)  # of a fresh context: below /tmp
    with replacing_folder(target) as folder:
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": store}
        context.add_data_docs_site("podium", {**site, "site_index_builder": index})
        tables = _tables(context)
        for suite, table in _suites(figures, validate):
            made = context.suites.add(suite)
            definition = gx.ValidationDefinition(name=suite.name, data=tables, suite=made)
            checkpoint = gx.Checkpoint(
                name=suite.name,
                validation_definitions=[context.validation_definitions.add(definition)],
                actions=[UpdateDataDocsAction(name="pages", site_names=["podium"])],
                result_format=_PAGE_FORMAT,
            )
            context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
    return target / PAGE


def _count(facts: DatasetFacts, validate: Validate) -> tuple[dict[str, Figures], dict[str, str]]:
    """The figures of all expectations, and why some have none."""
    figures, problems = {}, {}
    for id, expectation in EXPECTATIONS.items():
        try:
            found = expectation(facts, validate)
        except CannotCheck as error:
            problems[id] = str(error)
            continue
        unknown = [of for of, value in found.values.items() if not math.isfinite(value)]
        if unknown or not found.values:  # the library would pass over both
            problems[id] = f"{unknown[0]} is no number" if unknown else "there is nothing to look at"
        else:
            figures[id] = found
    return figures, problems


def _suites(figures: Mapping[str, Figures], validate: Validate) -> Iterator[tuple[gx.ExpectationSuite, pd.DataFrame]]:
    """One suite a concern, and the table it looks at; a concern of which nothing can be checked has none."""
    for name in sorted({EXPECTATIONS[id].suite for id in figures}):
        mine = {id: found for id, found in figures.items() if EXPECTATIONS[id].suite == name}
        rows = [{"of": of, id: float(value)} for id, found in mine.items() for of, value in found.values.items()]
        within = [
            gxe.ExpectColumnValuesToBeBetween(  # cells of other expectations are empty, which it passes over
                column=id, min_value=found.least, max_value=found.most, **_metadata(id, validate)
            )
            for id, found in mine.items()
        ]
        yield gx.ExpectationSuite(name, expectations=within), pd.DataFrame(rows, columns=["of", *mine])


def _metadata(id: str, validate: Validate) -> dict[str, object]:
    """What the library carries along with an expectation."""
    entry = EXPECTATIONS[id]
    return {"meta": {"id": id}, "notes": [entry.sentence, entry.why], "severity": validate.entry(id).severity}


def _context() -> EphemeralDataContext:
    """Great Expectations without files of its own and without progress bars."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _tables(context: EphemeralDataContext) -> BatchDefinition:
    """Where the table of a suite goes at run time."""
    asset = context.data_sources.add_pandas("prepared").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("all")


def _exception(result: ExpectationValidationResult) -> str:
    """Text of an exception inside the library, or empty. It comes flat or by metric."""
    info = result.exception_info or {}
    for one in [info, *(part for part in info.values() if isinstance(part, dict))]:
        if one.get("raised_exception"):
            return one_line(one.get("exception_message"))
    return ""


def _result(
    id: str, seen: Figures, validate: Validate, image_size: int, *, success: bool, checked: bool
) -> ExpectationResult:
    """What was seen, with what the expectation and the params say of it; what was not checked fails."""
    entry, settings = EXPECTATIONS[id], validate.entry(id)
    images = NOBODY if success else seen.images
    return ExpectationResult(
        id=id,
        suite=entry.suite,
        severity=settings.severity,
        sentence=entry.sentence,
        success=success and checked,
        expected=entry.threshold(validate, image_size),
        observed=seen.observed,
        offending=images.paths[:MOST_OFFENDING],
        offending_count=images.count,
        checked=checked,
        why=entry.why,
        relaxed=settings.relaxed,
        because=settings.because or "",
    )
