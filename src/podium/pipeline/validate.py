"""Verb validate: hold the prepared dataset against its expectations, report, and stop the experiment if need be.

Rule: the reports are on disk before a critical failure is raised. `passed.json` depends on the data alone, so that a
changed threshold reruns this stage and, when the data still passes, nothing after it.
"""

import pandas as pd

from podium.core.config.validate import Validate
from podium.core.errors import DataError, ValidationFailed
from podium.core.files import replacing_folder, sha256_file, write_json, write_text
from podium.core.layout import Layout
from podium.core.records.preprocess import Profile
from podium.core.records.validate import ExpectationResult, ValidationReport
from podium.curation.page import render
from podium.data.manifest import read_manifest

_REJECTED_COLUMNS = ["path", "label", "reason"]
_NAMED = 3  # offending images in the message


def run(layout: Layout, validate: Validate) -> None:
    """Validates `artifacts/prepared/manifest.parquet`.

    Args:
        layout: the project's paths.
        validate: severities and thresholds.

    Raises:
        DataError: the manifest, the profile or the list of rejected files is missing or damaged.
        ValidationFailed: a critical expectation does not hold or could not be checked; reports are written first.
    """
    manifest = read_manifest(layout.manifest, {})
    profile = Profile.read(layout.profile)
    rejected = _read_rejected(layout)
    unreadable = rejected.loc[rejected["label"] != "", "path"].tolist()
    _tell_skipped(len(rejected) - len(unreadable))

    from podium.curation import expectations

    results = expectations.check(manifest, unreadable, validate)
    report = ValidationReport(
        passed=not any(_stops(result) for result in results),
        manifest_sha256=sha256_file(layout.manifest),
        images=len(manifest),
        rejected=len(unreadable),
        results=results,
    )
    report.write(layout.validation_report)
    with replacing_folder(layout.validation) as folder:
        write_text(folder / "index.html", render(report, profile, rejected))
        if report.passed:
            write_json(folder / "passed.json", {"manifest_sha256": report.manifest_sha256, "passed": True})
    for result in results:
        if not result.success and result.severity == "warning":
            print(f"validate: warning: {_sentence(result)}")
    critical = [result for result in results if _stops(result)]
    if critical:
        more = f" ({len(critical) - 1} more in artifacts/validation/index.html)" if critical[1:] else ""
        raise ValidationFailed(f"{_sentence(critical[0])}: {expectations.REMEDIES[critical[0].id]}{more}")
    held = sum(result.success for result in results)
    print(f"validate: {held} of {len(results)} expectations hold: see artifacts/validation/index.html")


def _tell_skipped(count: int) -> None:
    """Files without a class (other types, links) are no rejected images, but should not go unseen."""
    if count:
        were = "1 file of the source was" if count == 1 else f"{count:,} files of the source were"
        print(f"validate: {were} skipped, see artifacts/prepared/rejected.csv", flush=True)


def _stops(result: ExpectationResult) -> bool:
    return not result.success and result.severity == "critical"


def _sentence(result: ExpectationResult) -> str:
    """One line: which expectation, what was expected and seen, the first offending images."""
    if not result.checked:
        return f"expectation {result.id} was {result.observed}"
    images = ", ".join(result.offending[:_NAMED])
    rest = result.offending_count - _NAMED
    named = f" ({images}{f' and {rest} more' if rest > 0 else ''})" if images else ""
    return f"expectation {result.id} fails: expected {result.expected}, observed {result.observed}{named}"


def _read_rejected(layout: Layout) -> pd.DataFrame:
    path = layout.rejected
    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    rejected = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if list(rejected.columns) != _REJECTED_COLUMNS:
        raise DataError(f"{path} must have the columns {', '.join(_REJECTED_COLUMNS)}: run `dvc repro -f preprocess`")
    return rejected
