"""Stage validate: hold the prepared dataset against its expectations, report, and stop the experiment if need be.

Rule: the reports are on disk before a critical failure is raised. `passed.json` depends on the data alone, so that a
changed threshold reruns this stage and, when the data still passes, nothing after it.
"""

from pathlib import Path

from podium.config.validate import Validate
from podium.core.errors import ValidationFailed
from podium.core.files import replacing_folder, sha256_file, write_json, write_text
from podium.core.layout import LABEL_NOISE, PAGE, PASSED, VALIDATION, Layout
from podium.curation.expectations.expectation import EXPECTATIONS, DatasetFacts
from podium.curation.expectations.inspection import inspect_dataset
from podium.records.profile import Profile
from podium.records.validate import ExpectationResult, NaiveSplitLeak, ValidationReport
from podium.report.validation_page import SHOWN_COLUMNS, Findings, render_validation

_NAMED = 3  # offending images in the message


def validate_dataset(layout: Layout, validate: Validate, seed: int) -> None:
    """Validates `artifacts/prepared`.

    Raises:
        DataError: something `preprocess` should have left is missing or damaged.
        ValidationFailed: a critical expectation does not hold or could not be checked; reports are written first.
    """
    profile = Profile.read(layout.profile)
    facts = inspect_dataset(layout, validate, seed)
    _print_skipped(int((facts.rejected["kind"] == "skipped").sum()))

    from podium.curation.expectations import validator

    results = validator.check(facts, validate)
    report = ValidationReport(
        passed=not any(_stops(result) for result in results),
        manifest_sha256=sha256_file(layout.manifest),
        images=len(facts.manifest),
        rejected=len(facts.unreadable),
        naive_split=_naive_leak(profile),
        drift=facts.drift,
        results=results,
    )
    _write_report(layout.validation, report, profile, facts)
    _print_results(report)


def _naive_leak(profile: Profile) -> NaiveSplitLeak:
    """What a draw image by image would have leaked from train into test."""
    images, twins = profile.naive_test_images, profile.naive_test_twins
    return NaiveSplitLeak(
        groups=profile.naive_groups_torn,
        test_images=images,
        test_images_with_twin=twins,
        share=round(twins / images, 10) if images else 0.0,
    )


def _write_report(target: Path, report: ValidationReport, profile: Profile, facts: DatasetFacts) -> None:
    """The report for tools and for people, the doubtful labels, and `passed.json` where the next stages may run."""
    findings = None
    if facts.measures is not None:
        findings = Findings(
            manifest=facts.columns(*SHOWN_COLUMNS),
            splits=facts.splits,
            label_noise=facts.label_noise,
            shortcuts=facts.shortcuts,
            quality=tuple(facts.quality or ()),
        )
    with replacing_folder(target) as folder:
        report.write(folder / VALIDATION)
        write_text(folder / PAGE, render_validation(report, profile, facts.rejected, findings))
        if facts.label_noise is not None:
            facts.label_noise.write(folder / LABEL_NOISE)
        if report.passed:
            write_json(folder / PASSED, {"manifest_sha256": report.manifest_sha256, "passed": True})


def _print_results(report: ValidationReport) -> None:
    """What was relaxed, what is doubtful, and whether the experiment goes on."""
    for result in report.results:
        if result.relaxed:
            how = "only warns" if result.severity == "warning" else "has a looser threshold"
            print(f"validate: relaxed: {result.id} {how}, because {result.because}")
        if not result.success and result.severity == "warning":
            todo = f": {EXPECTATIONS[result.id].remedy}" if result.checked else ""
            print(f"validate: warning: {_sentence(result)}{todo}")
    leak = report.naive_split
    if leak is not None and leak.groups:
        print(
            f"validate: a random split would have put {leak.groups} groups on two sides; {leak.share:.2%} of its test "
            f"images ({leak.test_images_with_twin} of {leak.test_images}) would have had a twin in train"
        )
    critical = [result for result in report.results if _stops(result)]
    if critical:
        more = f" ({len(critical) - 1} more in artifacts/validation/index.html)" if critical[1:] else ""
        raise ValidationFailed(f"{_sentence(critical[0])}: {EXPECTATIONS[critical[0].id].remedy}{more}")
    held = sum(result.success for result in report.results)
    print(f"validate: {held} of {len(report.results)} expectations hold: see artifacts/validation/index.html")


def _print_skipped(count: int) -> None:
    """Files without a class (other types, links) are no rejected images, but should not go unseen."""
    if count:
        were = "1 file of the source was" if count == 1 else f"{count:,} files of the source were"
        print(f"validate: {were} skipped, see artifacts/prepared/rejected.csv", flush=True)


def _stops(result: ExpectationResult) -> bool:
    """Whether the experiment ends here because of it."""
    return not result.success and result.severity == "critical"


def _sentence(result: ExpectationResult) -> str:
    """One line: which expectation, what was expected and seen, the first offending images."""
    if not result.checked:
        return f"expectation {result.id} was {result.observed}"
    images = ", ".join(result.offending[:_NAMED])
    rest = result.offending_count - _NAMED
    named = f" ({images}{f' and {rest} more' if rest > 0 else ''})" if images else ""
    return f"expectation {result.id} fails: expected {result.expected}, observed {result.observed}{named}"
