"""What validate looks at: what `preprocess` left is read, train is compared with test, train and val are probed and
held against the manifest.

Rule: of the test split only the manifest and the measures are looked at. A manifest with holes is neither compared nor
probed. Heavy libraries are imported once everything was found.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from podium.config.validate import Validate
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.curation.expectations.expectation import DatasetFacts
from podium.curation.expectations.manifest_rows import broken_rows, missing_columns
from podium.curation.expectations.pixels import image_quality, split_drift
from podium.data.manifest import MEASURES, REJECTED_COLUMNS
from podium.data.shards import open_for_fitting
from podium.records.base import ParquetTable
from podium.records.fetch import TrainedOn
from podium.records.profile import Profile


def inspect_dataset(layout: Layout, validate: Validate, seed: int) -> DatasetFacts:
    """Reads, compares and probes `artifacts/prepared`.

    Raises:
        DataError: something `preprocess` should have left is missing or damaged, or does not belong together.
    """
    manifest, measures = ParquetTable(layout.manifest), ParquetTable(layout.measures)
    sound = not missing_columns(manifest) and not broken_rows(manifest)[1].any()
    if sound and not _same_images(manifest, measures):
        raise DataError(f"{layout.measures} is not of the images in the manifest: run `dvc repro -f preprocess`")
    missing = [name for name in ("split", *MEASURES) if name not in measures.columns]
    if missing:
        raise DataError(f"{layout.measures} lacks the column {missing[0]!r}: run `dvc repro -f preprocess`")
    splits = (open_for_fitting(layout.prepared, "train"), open_for_fitting(layout.prepared, "val"))
    size = splits[0].preprocessing.image_size
    seen = TrainedOn.read(layout.trained_on).models
    how = Profile.read(layout.profile).preprocess
    facts = DatasetFacts(manifest, _read_rejected(layout.rejected), size, splits, trained_on=seen, preprocess=how)
    return _with_findings(facts, measures, validate, seed) if sound else facts


def _same_images(manifest: ParquetTable, measures: ParquetTable) -> bool:
    """Whether both have the same images."""
    if "image_id" not in measures.columns:
        return False
    ids, others = (table[["image_id"]]["image_id"] for table in (manifest, measures))
    return bool(ids.equals(others)) or sorted(ids) == sorted(others)


def _read_rejected(path: Path) -> pd.DataFrame:
    """The rejected files, all cells text, an empty one an empty text."""
    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    rejected = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if list(rejected.columns) != list(REJECTED_COLUMNS):
        raise DataError(f"{path} must have the columns {', '.join(REJECTED_COLUMNS)}: run `dvc repro -f preprocess`")
    return rejected


def _with_findings(facts: DatasetFacts, measures: ParquetTable, validate: Validate, seed: int) -> DatasetFacts:
    """The same with what the measures and the probes say."""
    from podium.curation.findings import compare_splits, flag_images, probe_shortcuts
    from podium.curation.label_noise import find_label_noise
    from podium.curation.linear_probe import draw_images
    from podium.curation.shard_check import CHECKED_COLUMNS, check_shards

    probes, flags, limits = validate.probes, image_quality.settings(validate), split_drift.settings(validate)
    drawn = draw_images(
        facts.splits, facts.manifest, measures, border=probes.border, images_per_class=probes.images_per_class
    )
    return replace(
        facts,
        measures=measures,
        drift=compare_splits(measures, limits.maximum, limits.significance),
        quality=flag_images(
            measures,
            facts.manifest,
            dark=flags.dark,
            blurred=flags.blurred,
            uniform=flags.uniform,
            aspect=flags.aspect,
        ),
        label_noise=find_label_noise(drawn, folds=probes.folds, seed=seed),
        shortcuts=probe_shortcuts(drawn, folds=probes.folds, seed=seed),
        shards=check_shards(facts.columns(*CHECKED_COLUMNS), facts.splits),
    )
