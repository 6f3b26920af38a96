"""What a prepared dataset must satisfy, checked by Great Expectations: one entry per key of params section `validate`.

Rule: every expectation is one of the library's own, on the manifest or on a small table derived from it (images per
class and split, one row per picture and split, ...). An expectation that cannot be computed is neither passed nor
failed: it is reported as not checked, with the reason. Depends on great_expectations, which takes some 6 s to import;
import this module at the point of use.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core.batch import Batch
from great_expectations.core.expectation_validation_result import ExpectationValidationResult

from podium.core.config.base import SPLITS, Severity
from podium.core.config.validate import Validate
from podium.core.errors import one_line
from podium.core.records.validate import ExpectationResult
from podium.data.manifest import PREPARED_COLUMNS

MOST_OFFENDING = 20
REMEDIES = {
    "columns": "run `dvc repro -f preprocess`",
    "classes_in_every_split": "add images of the class, or correct the source's split folders",
    "minimum_rows": "add images of the class, remove it, or lower validate.minimum_rows.minimum",
    "class_balance": "add images of the smallest class, or raise validate.class_balance.maximum",
    "image_in_one_split": "run `dvc repro -f preprocess`, which keeps copies of a picture on one side",
    "duplicates_in_one_split": "run `dvc repro -f preprocess`, which keeps duplicates on one side",
    "image_side": "replace the small originals, or lower validate.image_side.minimum",
    "share_rejected": "replace the files listed in artifacts/prepared/rejected.csv, or raise "
    "validate.share_rejected.maximum",
}


@dataclass(frozen=True)
class _Check:
    """One expectation of ours: expectations of the library on one table, and how to tell a person.

    `offending` turns the rows that broke it (their columns `named`) into paths of images.
    """

    id: str
    suite: str
    severity: Severity
    sentence: str
    expected: str
    columns: tuple[str, ...]
    table: Callable[[], pd.DataFrame]
    named: tuple[str, ...]
    expectations: Sequence[gxe.Expectation]
    observed: Callable[[pd.DataFrame, pd.DataFrame], str]
    offending: Callable[[pd.DataFrame], list[str]]


def check(manifest: pd.DataFrame, rejected: list[str], validate: Validate) -> list[ExpectationResult]:
    """Holds a dataset against all expectations.

    Args:
        manifest: the prepared manifest; columns may be missing, that is one of the things checked.
        rejected: paths of images that could not be read.
        validate: severities and thresholds.

    Returns:
        One result per field of `Validate`, sorted by id.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    tables = context.data_sources.add_pandas("prepared")
    checks = [*_on_manifest(manifest, validate), *_on_cells(manifest, validate), *_on_keys(manifest, validate)]
    results = []
    for one in [*checks, *_on_summary(manifest, rejected, validate)]:
        problem = _problem(one, manifest)
        if problem:
            results.append(_not_checked(one, problem))
            continue
        table = one.table()
        definition = tables.add_dataframe_asset(one.id).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch(batch_parameters={"dataframe": table})
        results.append(_result(one, table, batch))
    return sorted(results, key=lambda result: result.id)


def _problem(one: _Check, manifest: pd.DataFrame) -> str:
    """Why an expectation has nothing to look at, or empty."""
    for column in one.columns:
        if column not in manifest.columns:
            return f"the manifest lacks the column {column!r}"
        if manifest[column].isna().all():  # also true of a manifest without rows
            return f"the manifest has no value in the column {column!r}"
    return ""


def _result(one: _Check, table: pd.DataFrame, batch: Batch) -> ExpectationResult:
    suite = gx.ExpectationSuite(f"{one.suite}: {one.id}", expectations=list(one.expectations))
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": list(one.named)}
    found = batch.validate(suite, result_format=wanted).results
    raised = [message for message in map(_exception, found) if message]
    if raised:
        return _not_checked(one, sorted(raised)[0])
    success = all(result.success for result in found)
    rows = [row for result in found if not result.success for row in result.result.get("unexpected_index_list") or []]
    broken = pd.DataFrame(rows, columns=list(one.named)).drop_duplicates()
    offending = [] if success else sorted(set(one.offending(broken)))
    return ExpectationResult(
        id=one.id,
        suite=one.suite,
        severity=one.severity,
        sentence=one.sentence,
        success=success,
        expected=one.expected,
        observed=one.observed(table, broken),
        offending=offending[:MOST_OFFENDING],
        offending_count=len(offending),
    )


def _not_checked(one: _Check, reason: str) -> ExpectationResult:
    return ExpectationResult(
        id=one.id,
        suite=one.suite,
        severity=one.severity,
        sentence=one.sentence,
        success=False,
        expected=one.expected,
        observed=f"not checked: {reason}",
        offending=[],
        offending_count=0,
        checked=False,
    )


def _exception(result: ExpectationValidationResult) -> str:
    """Text of an exception inside the library, or empty. It comes flat or by metric."""
    info = result.exception_info or {}
    for one in [info, *(part for part in info.values() if isinstance(part, dict))]:
        if one.get("raised_exception"):
            return one_line(one.get("exception_message"))
    return ""


def _paths(broken: pd.DataFrame) -> list[str]:
    return [str(path) for path in broken["path"]] if "path" in broken else []


def _on_manifest(manifest: pd.DataFrame, validate: Validate) -> list[_Check]:
    """Schema and sizes: expectations on the manifest itself."""
    present = [column for column in PREPARED_COLUMNS if column in manifest.columns]
    schema = [
        gxe.ExpectTableColumnsToMatchSet(column_set=list(PREPARED_COLUMNS), exact_match=False),
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        *(gxe.ExpectColumnValuesToNotBeNull(column=column) for column in present),
    ]
    if "image_id" in present:
        schema.append(gxe.ExpectColumnValuesToBeUnique(column="image_id"))
    if "split" in present:
        schema.append(gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS)))
    smallest = validate.image_side.minimum
    absent = [column for column in PREPARED_COLUMNS if column not in manifest.columns]
    named = ("path",) if "path" in manifest.columns else ()
    return [
        _Check(
            id="columns",
            suite="schema",
            severity=validate.columns.severity,
            sentence="The manifest has every column, no value is missing, and each image stands once",
            expected=f"{len(PREPARED_COLUMNS)} columns, filled; image_id unique; split is train, val or test",
            columns=(),
            table=lambda: manifest,
            named=named,
            expectations=schema,
            observed=lambda _, broken: (
                f"{len(manifest)} rows"
                + (f"; missing: {', '.join(absent)}" if absent else f", {len(present)} columns")
                + (f"; {len(broken)} rows with missing or wrong values" if len(broken) else "")
            ),
            offending=_paths,
        ),
        _Check(
            id="image_side",
            suite="sizes",
            severity=validate.image_side.severity,
            sentence="The shorter side of every original is large enough",
            expected=f"at least {smallest} pixels",
            columns=("path", "width", "height"),
            table=lambda: manifest,
            named=("path",),
            expectations=[
                gxe.ExpectColumnValuesToBeBetween(column=side, min_value=smallest) for side in ("width", "height")
            ],
            observed=lambda table, broken: (
                f"smallest: {table[['width', 'height']].min().min()} pixels; {len(broken)} images below"
            ),
            offending=_paths,
        ),
    ]


def _on_cells(manifest: pd.DataFrame, validate: Validate) -> list[_Check]:
    """Every class in every split: expectations on the table of images per class and split."""

    def cells() -> pd.DataFrame:
        counts = Counter(zip(manifest["label"], manifest["split"], strict=True))
        labels = sorted(manifest["label"].dropna().unique())
        rows = [(label, split, counts[label, split]) for label in labels for split in SPLITS]
        return pd.DataFrame(rows, columns=["label", "split", "images"])

    def of_cells(broken: pd.DataFrame) -> list[str]:
        return [str(path) for path in manifest.merge(broken, on=["label", "split"]).get("path", [])]

    def lacking(_: pd.DataFrame, broken: pd.DataFrame) -> str:
        gaps = [f"no image of {label!r} in {split}" for label, split in broken.itertuples(index=False)]
        classes = manifest["label"].nunique()
        return "; ".join(gaps[:5]) + (f" and {len(gaps) - 5} more" if gaps[5:] else "") or f"{classes} classes"

    def smallest(table: pd.DataFrame, broken: pd.DataFrame) -> str:
        least = table.sort_values(["images", "label", "split"]).iloc[0]
        more = f"; {len(broken)} of {len(table)} below" if len(broken) else ""
        return f"smallest: {least['images']} ({least['label']} in {least['split']}){more}"

    minimum = validate.minimum_rows.minimum
    return [
        _Check(
            id=name,
            suite="splits",
            severity=severity,
            sentence=sentence,
            expected=expected,
            columns=("label", "split"),
            table=cells,
            named=("label", "split"),
            expectations=[
                gxe.ExpectTableRowCountToBeBetween(min_value=1),  # an empty table would pass the next one
                gxe.ExpectColumnValuesToBeBetween(column="images", min_value=least),
            ],
            observed=observed,
            offending=of_cells,
        )
        for name, severity, sentence, expected, least, observed in (
            (
                "classes_in_every_split",
                validate.classes_in_every_split.severity,
                "Every class has images in train, val and test",
                "at least 1 image per class and split",
                1,
                lacking,
            ),
            (
                "minimum_rows",
                validate.minimum_rows.severity,
                "Every class has enough images in every split",
                f"at least {minimum} images per class and split",
                minimum,
                smallest,
            ),
        )
    ]


def _on_keys(manifest: pd.DataFrame, validate: Validate) -> list[_Check]:
    """Nothing on two sides."""
    return [
        _on_key(
            manifest,
            key="sha256",
            id="image_in_one_split",
            severity=validate.image_in_one_split.severity,
            sentence="No picture (the same pixels) is in two splits",
            what="pictures",
        ),
        _on_key(
            manifest,
            key="duplicate_group",
            id="duplicates_in_one_split",
            severity=validate.duplicates_in_one_split.severity,
            sentence="No group of duplicates is in two splits",
            what="groups",
        ),
    ]


def _on_key(manifest: pd.DataFrame, *, key: str, id: str, severity: Severity, sentence: str, what: str) -> _Check:
    """A key must be unique in the table of distinct (key, split)."""
    return _Check(
        id=id,
        suite="leakage",
        severity=severity,
        sentence=sentence,
        expected="0 in two splits",
        columns=("path", key, "split"),
        table=lambda: manifest.sort_values("path").drop_duplicates([key, "split"]),
        named=("path", key),
        expectations=[gxe.ExpectColumnValuesToBeUnique(column=key)],
        observed=lambda _, broken: f"{broken[key].nunique()} {what} in two or more splits",
        offending=lambda broken: [str(p) for p in manifest.loc[manifest[key].isin(broken[key]), "path"]],
    )


def _on_summary(manifest: pd.DataFrame, rejected: list[str], validate: Validate) -> list[_Check]:
    """Figures of the whole dataset: expectations on a table of one row."""
    largest_ratio, largest_share = validate.class_balance.maximum, validate.share_rejected.maximum
    total = len(manifest) + len(rejected)

    def sizes() -> list[tuple[int, str]]:
        return sorted((count, str(label)) for label, count in Counter(manifest["label"].dropna()).items())

    def ratio() -> pd.DataFrame:
        return pd.DataFrame({"ratio": [sizes()[-1][0] / sizes()[0][0]]})

    def extremes(table: pd.DataFrame, _: pd.DataFrame) -> str:
        (least, small), (most, large) = sizes()[0], sizes()[-1]
        return f"{float(table['ratio'].iloc[0]):.4g} ({most} {large} / {least} {small})"

    return [
        _Check(
            id="class_balance",
            suite="balance",
            severity=validate.class_balance.severity,
            sentence="The largest class is not much larger than the smallest",
            expected=f"largest / smallest class at most {largest_ratio:g}",
            columns=("label",),
            table=ratio,
            named=(),
            expectations=[gxe.ExpectColumnMaxToBeBetween(column="ratio", max_value=largest_ratio)],
            observed=extremes,
            offending=lambda _: [],
        ),
        _Check(
            id="share_rejected",
            suite="reading",
            severity=validate.share_rejected.severity,
            sentence="Few images were rejected as unreadable",
            expected=f"rejected / all images at most {largest_share:g}",
            columns=(),
            table=lambda: pd.DataFrame({"share": [len(rejected) / max(1, total)]}),
            named=(),
            expectations=[gxe.ExpectColumnMaxToBeBetween(column="share", max_value=largest_share)],
            observed=lambda table, _: f"{float(table['share'].iloc[0]):.4g} ({len(rejected)} of {total})",
            offending=lambda _: list(rejected),
        ),
    ]
