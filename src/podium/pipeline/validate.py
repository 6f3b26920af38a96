"""Stage validate: hold the prepared dataset against its expectations, report, and stop the experiment if need be.

Rule: the reports are on disk before a critical failure is raised. `passed.json` depends on the data alone, so that a
changed threshold reruns this stage and, when the data still passes, nothing after it. Pixels are those of train and
val; of the test split only the manifest and the measures are looked at.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from podium.config.validate import Validate
from podium.core.errors import DataError, ValidationFailed
from podium.core.files import replacing_folder, sha256_file, write_json, write_text
from podium.core.layout import LABEL_NOISE, PAGE, PASSED, Layout
from podium.curation.expectations.catalogue import EXPECTATIONS
from podium.curation.expectations.completeness import broken_rows, missing_columns
from podium.curation.expectations.expectation import Evidence
from podium.curation.expectations.pixels import image_quality, split_drift
from podium.data.manifest import REJECTED_COLUMNS, read_manifest
from podium.data.shards import PreparedSplit, open_for_fitting
from podium.records.base import read_parquet
from podium.records.profile import MEASURES, Profile
from podium.records.validate import ExpectationResult, NaiveSplitLeak, ValidationReport
from podium.report.validation_page import Findings, render_validation

_NAMED = 3  # offending images in the message


@dataclass(frozen=True)
class _Inputs:
    """What `preprocess` left. `sound`: the manifest has what is needed to look at pixels and measures."""

    manifest: pd.DataFrame
    rejected: pd.DataFrame
    profile: Profile
    measures: pd.DataFrame
    splits: tuple[PreparedSplit, PreparedSplit]
    sound: bool

    @property
    def unreadable(self) -> list[str]:
        """Paths of the images that could not be decoded."""
        paths: list[str] = self.rejected.loc[self.rejected["kind"] == "unreadable", "path"].tolist()
        return paths


def validate_dataset(layout: Layout, validate: Validate, seed: int) -> None:
    """Validates `artifacts/prepared`.

    Raises:
        DataError: something `preprocess` should have left is missing or damaged.
        ValidationFailed: a critical expectation does not hold or could not be checked; reports are written first.
    """
    inputs = _read(layout)
    _print_skipped(int((inputs.rejected["kind"] == "skipped").sum()))
    evidence = _gather_evidence(inputs, validate, seed)

    from podium.curation.expectations import validator

    results = validator.check(evidence, validate)
    report = ValidationReport(
        passed=not any(_stops(result) for result in results),
        manifest_sha256=sha256_file(layout.manifest),
        images=len(inputs.manifest),
        rejected=len(inputs.unreadable),
        naive_split=_naive_leak(inputs.profile),
        drift=evidence.drift,
        results=results,
    )
    report.write(layout.validation_report)
    _write_pages(layout.validation, report, inputs, evidence)
    _print_results(report)


def gather_evidence(layout: Layout, validate: Validate, seed: int) -> Evidence:
    """Reads what `preprocess` left and measures it, as the stage does; `podium validate --data-docs` shows it."""
    return _gather_evidence(_read(layout), validate, seed)


def _read(layout: Layout) -> _Inputs:
    """Reads what `preprocess` left, and refuses files that do not belong together."""
    manifest = read_manifest(layout.manifest, {})
    measures = read_parquet(layout.measures)
    sound = not missing_columns(manifest) and not broken_rows(manifest).any()
    if sound and sorted(measures.get("image_id", [])) != manifest["image_id"].tolist():
        raise DataError(f"{layout.measures} is not of the images in the manifest: run `dvc repro -f preprocess`")
    missing = [name for name in ("split", *MEASURES) if name not in measures.columns]
    if missing:
        raise DataError(f"{layout.measures} lacks the column {missing[0]!r}: run `dvc repro -f preprocess`")
    return _Inputs(
        manifest=manifest,
        rejected=_read_rejected(layout.rejected),
        profile=Profile.read(layout.profile),
        measures=measures,
        splits=(open_for_fitting(layout.prepared, "train"), open_for_fitting(layout.prepared, "val")),
        sound=sound,
    )


def _read_rejected(path: Path) -> pd.DataFrame:
    """The rejected files, all cells text, an empty one an empty text."""
    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    rejected = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if list(rejected.columns) != list(REJECTED_COLUMNS):
        raise DataError(f"{path} must have the columns {', '.join(REJECTED_COLUMNS)}: run `dvc repro -f preprocess`")
    return rejected


def _gather_evidence(inputs: _Inputs, validate: Validate, seed: int) -> Evidence:
    """Counts, compares and probes; a manifest with holes is neither compared nor probed."""
    size = inputs.splits[0].preprocessing.image_size
    if not inputs.sound:
        return Evidence(manifest=inputs.manifest, rejected=inputs.unreadable, image_size=size)

    from podium.curation.linear_probe import draw_images
    from podium.curation.measure_checks import compare_splits, flag_images
    from podium.curation.probes import find_label_noise, probe_shortcuts

    settings, flags, limits = validate.probes, image_quality.settings(validate), split_drift.settings(validate)
    drawn = draw_images(
        inputs.splits,
        inputs.manifest,
        inputs.measures,
        border=settings.border,
        images_per_class=settings.images_per_class,
    )
    return Evidence(
        manifest=inputs.manifest,
        rejected=inputs.unreadable,
        image_size=size,
        measures=inputs.measures,
        drift=compare_splits(inputs.measures, limits.maximum, limits.significance),
        quality=flag_images(
            inputs.measures,
            inputs.manifest,
            dark=flags.dark,
            blurred=flags.blurred,
            uniform=flags.uniform,
            aspect=flags.aspect,
        ),
        label_noise=find_label_noise(drawn, folds=settings.folds, seed=seed),
        shortcuts=probe_shortcuts(drawn, folds=settings.folds, seed=seed),
    )


def _naive_leak(profile: Profile) -> NaiveSplitLeak:
    """What a draw image by image would have leaked from train into test."""
    images, twins = profile.naive_test_images, profile.naive_test_twins
    return NaiveSplitLeak(
        groups=profile.naive_groups_torn,
        test_images=images,
        test_images_with_twin=twins,
        share=round(twins / images, 10) if images else 0.0,
    )


def _write_pages(target: Path, report: ValidationReport, inputs: _Inputs, evidence: Evidence) -> None:
    """The page for people, the doubtful labels for tools, and `passed.json` for the next stages where they may run."""
    findings = None
    if inputs.sound:
        findings = Findings(
            manifest=inputs.manifest,
            splits=inputs.splits,
            label_noise=evidence.label_noise,
            shortcuts=evidence.shortcuts,
            quality=tuple(evidence.quality or ()),
        )
    with replacing_folder(target) as folder:
        write_text(folder / PAGE, render_validation(report, inputs.profile, inputs.rejected, findings))
        if evidence.label_noise is not None:
            evidence.label_noise.write(folder / LABEL_NOISE)
        if report.passed:
            write_json(folder / PASSED, {"manifest_sha256": report.manifest_sha256, "passed": True})


def _print_results(report: ValidationReport) -> None:
    """What was relaxed, what is doubtful, and whether the experiment goes on."""
    for result in report.results:
        if result.relaxed:
            how = "only warns" if result.severity == "warning" else "has a looser threshold"
            print(f"validate: relaxed: {result.id} {how}, because {result.because}")
        if not result.success and result.severity == "warning":
            print(f"validate: warning: {_sentence(result)}")
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
