"""What the manifest says: suites `schema`, `reading`, `sizes`, `licences`, `splits` and `balance`."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from podium.config.base import SPLITS, Fraction, Number, PositiveInt
from podium.config.validate import Advisory, Critical, MaximumShare
from podium.core.errors import first_few
from podium.curation.expectations.expectation import DatasetFacts, Figures, expectation, offending

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from podium.records.base import ParquetTable

NO_LICENCE = frozenset({"", "-", "?", "n/a", "na", "none", "null", "other", "tbd", "unknown", "unspecified"})
"""What people write where they know no licence, in lower case."""
_TOLD = 5  # of a list, one by one


class ShareRejected(Critical):
    """`maximum`: unreadable images / all images."""

    maximum: Fraction = 0.02


class ImageSide(Advisory):
    """`minimum`: pixels."""

    minimum: PositiveInt = 64


class MinimumRows(Critical):
    """`minimum`: images per class and split."""

    minimum: PositiveInt = 5


class Ratio(Advisory):
    """`maximum`: largest / smallest."""

    maximum: Annotated[Number, Field(ge=1)]


def missing_columns(manifest: "pd.DataFrame | ParquetTable") -> list[str]:
    """Columns the manifest lacks."""
    from podium.data.manifest import PREPARED_COLUMNS

    return [column for column in PREPARED_COLUMNS if column not in manifest.columns]


def broken_rows(manifest: "pd.DataFrame | ParquetTable") -> "tuple[dict[str, int], NDArray[np.bool_]]":
    """How many rows have no value, by column, an `image_id` that stands twice, a split of another name; and which."""
    import numpy as np

    from podium.data.manifest import PREPARED_COLUMNS

    counts, broken = dict[str, int](), np.zeros(len(manifest), np.bool_)

    def note(what: str, rows: "pd.Series") -> None:
        counts[what] = int(rows.sum())
        broken[rows.to_numpy()] = True

    for column in PREPARED_COLUMNS:
        if column in manifest.columns:
            values = manifest[[column]][column]
            note(f"rows without {column}", values.isna())
            if column == "image_id":
                note("rows of an image that stands twice", values.duplicated(keep=False))
            if column == "split":
                note("rows in a split of another name", ~values.isin(SPLITS))
    return counts, broken


@expectation(
    Critical(),
    suite="schema",
    sentence="The manifest has every column, no value is missing, and each image stands once",
    why="Every later stage looks images up in the manifest; a gap there is an image nobody accounts for.",
    expected="all columns, filled; image_id unique; split is train, val or test",
    remedy="run `dvc repro -f preprocess`",
)
def columns(facts: DatasetFacts, _: Critical) -> Figures:
    """Missing columns, missing values by column, and what should not be there; the images of broken rows are named."""
    from podium.data.manifest import PREPARED_COLUMNS

    missing, (counts, broken) = missing_columns(facts.manifest), broken_rows(facts.manifest)
    return Figures(
        values={"missing columns": len(missing), "manifests without a row": int(not len(broken)), **counts},
        most=0,
        observed=f"{len(broken)} rows"
        + (f"; missing: {', '.join(missing)}" if missing else f", {len(PREPARED_COLUMNS)} columns")
        + (f"; {int(broken.sum())} rows with missing or wrong values" if broken.any() else ""),
        images=facts.paths(broken),
    )


@expectation(
    ShareRejected(),
    suite="reading",
    sentence="Few images were rejected as unreadable",
    why="Many unreadable files mean a broken download or a wrong format, and what is left may be a biased rest.",
    expected="rejected / all images at most {maximum:g}",
    remedy="replace the files listed in artifacts/prepared/rejected.csv, or raise "
    "validate.share_rejected.maximum and say because",
)
def share_rejected(facts: DatasetFacts, settings: ShareRejected) -> Figures:
    """Unreadable images / all images."""
    rejected = facts.unreadable
    total = len(facts.manifest) + len(rejected)
    share = len(rejected) / max(1, total)
    return Figures(
        values={"rejected / all images": share},
        most=settings.maximum,
        observed=f"{share:.4g} ({len(rejected)} of {total})",
        images=offending(rejected),
    )


@expectation(
    ImageSide(),
    suite="sizes",
    sentence="The shorter side of every image is large enough",
    why="A few dozen pixels hold no detail to learn from; such files are often icons or broken thumbnails.",
    expected="at least {minimum} pixels",
    remedy="replace the small originals, or lower validate.image_side.minimum",
)
def image_side(facts: DatasetFacts, settings: ImageSide) -> Figures:
    """The shorter side of the smallest image, in pixels; all images below `minimum` are named."""
    shorter = facts.numbers("width", "height").min(axis=1)
    smallest, below = float(shorter.min()), shorter < settings.minimum
    return Figures(
        values={"shorter side of the smallest image": smallest},
        least=settings.minimum,
        observed=f"smallest: {smallest:g} pixels; {int(below.sum())} images below",
        images=facts.paths(below),
    )


@expectation(
    MaximumShare(maximum=0.1),
    suite="sizes",
    sentence="Few images are smaller than the size they are trained at",
    why="Enlarging adds no detail but blur; where it goes with a class or a source, blur becomes the clue.",
    expected="at most {maximum:g} of the images with a longer side below {image_size} pixels",
    remedy="lower preprocess.image_size, get larger originals, or raise validate.training_resolution.maximum",
)
def training_resolution(facts: DatasetFacts, settings: MaximumShare) -> Figures:
    """The share of images whose longer side is below the size of training, so that they are enlarged."""
    enlarged = facts.numbers("width", "height").max(axis=1) < facts.image_size
    share = float(enlarged.mean())
    return Figures(
        values={"share of images that are enlarged": share},
        most=settings.maximum,
        observed=f"{share:.4g} ({int(enlarged.sum())} of {len(enlarged)})",
        images=facts.paths(enlarged),
    )


@expectation(
    Advisory(),
    suite="licences",
    sentence="Every image has a licence",
    why="What was learned from images without a licence may not be usable, and later nobody knows their origin.",
    expected="0 images without a licence",
    remedy="set dataset.licence, or the licence of the part of a merge they came from",
)
def licence_known(facts: DatasetFacts, _: Advisory) -> Figures:
    """Images whose licence is empty or says that it is not known."""
    given = facts.columns("licence")["licence"].astype("string").fillna("")
    counts = {str(name): count for name, count in given.value_counts().items()}
    known = {name: count for name, count in counts.items() if name.strip().casefold() not in NO_LICENCE}
    unknown = ~given.isin(known)
    told = [f"{name} ({known[name]})" for name in sorted(known, key=lambda name: (-known[name], name))]
    return Figures(
        values={"images without a licence": float(unknown.sum())},
        most=0,
        observed=f"{int(unknown.sum())} of {len(unknown)} without a licence"
        + (f"; others: {first_few(told, _TOLD)}" if told else ""),
        images=facts.paths(unknown),
    )


@expectation(
    Critical(),
    suite="splits",
    sentence="Every class has images in train, val and test",
    why="A class without train images cannot be learned, and one without test images is never judged.",
    expected="at least 1 image per class and split",
    remedy="add images of the class, correct the source's split folders, or set dataset.splits: draw",
)
def classes_in_every_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Images per class and split, at least one; the images of a class that lacks a split are named."""
    cells = _count_cells(facts)
    labels = facts.columns("label")["label"]
    empty = [cell for cell, count in cells.items() if not count]
    gaps = [f"no image of {label!r} in {split}" for label, split in empty]
    return Figures(
        values=_named(cells),
        least=1,
        observed=first_few(gaps, _TOLD, "; ") if gaps else f"{labels.nunique()} classes",
        images=facts.paths(labels.isin([label for label, split in empty])),
    )


@expectation(
    MinimumRows(),
    suite="splits",
    sentence="Every class has enough images in every split",
    why="The recall of a class measured on five images is a lottery: one image more or less moves it by 20 points.",
    expected="at least {minimum} images per class and split",
    remedy="draw with that preprocess.split_seed, add images of the class, remove it, or lower "
    "validate.minimum_rows.minimum and say because",
)
def minimum_rows(facts: DatasetFacts, settings: MinimumRows) -> Figures:
    """Images per class and split, at least `minimum`; those of the small cells are named."""
    cells = _count_cells(facts)
    images = facts.columns("label", "split")
    sizes = images.groupby(["label", "split"], observed=True)["label"].transform("size")
    count, label, split = min((count, *cell) for cell, count in cells.items())
    small = [f"{label} in {split} {n}" for (label, split), n in cells.items() if n < settings.minimum]
    told = f"; {len(small)} of {len(cells)} below" + (f": {first_few(small, _TOLD)}" if small[1:] else "")
    return Figures(
        values=_named(cells),
        least=settings.minimum,
        observed=f"smallest: {count} ({label} in {split})"
        + (told + _hint(facts, settings.minimum, count) if small else ""),
        images=facts.paths((sizes < settings.minimum) & images["split"].isin(SPLITS)),
    )


def _hint(facts: DatasetFacts, minimum: int, smallest: int) -> str:
    """Which seed gives every class so many images in every split, or the most of them."""
    if facts.preprocess is None:
        return ""
    from podium.curation.splits import propose_seed_for

    images = facts.columns(
        *("image_id", "source", "label", "source_split", "split_group", "photo_sha256", "keep_together")
    )
    seed, most = propose_seed_for(minimum, images, facts.preprocess)
    if most >= minimum:
        return f"; preprocess.split_seed: {seed} gives all of them {minimum}"
    if most > smallest:
        return f"; none of the split_seeds tried does, but preprocess.split_seed: {seed} gives all of them {most}"
    return "; no preprocess.split_seed that was tried gives more"


def _count_cells(facts: DatasetFacts) -> dict[tuple[str, str], int]:
    """Images by class and split, 0 where there is none."""
    images = facts.columns("label", "split")
    counts = images.groupby(["label", "split"], observed=True).size()
    labels = sorted(images["label"].dropna().unique())
    return {(str(label), split): int(counts.get((label, split), 0)) for label in labels for split in SPLITS}


def _named(cells: dict[tuple[str, str], int]) -> dict[str, float]:
    return {f"{label!r} in {split}": count for (label, split), count in cells.items()}


@expectation(
    Ratio(maximum=3.0),
    suite="balance",
    sentence="The largest class is not much larger than the smallest",
    why="A model that sees one class rarely learns to guess another, and accuracy hardly shows it.",
    expected="largest / smallest class at most {maximum:g}",
    remedy="add images of the smallest class, or raise validate.class_balance.maximum",
)
def class_balance(facts: DatasetFacts, settings: Ratio) -> Figures:
    """Largest / smallest class; the images of classes that are too small are named."""
    return _balance(facts, "label", settings.maximum)


@expectation(
    Ratio(maximum=10.0),
    suite="balance",
    sentence="The largest source is not much larger than the smallest",
    why="Where one source outweighs the others, the test result says how well the model does on that source.",
    expected="largest / smallest source at most {maximum:g}",
    remedy="use dataset.limit_per_class, drop the small source, or raise validate.source_balance.maximum",
)
def source_balance(facts: DatasetFacts, settings: Ratio) -> Figures:
    """Largest / smallest source; the images of sources that are too small are named."""
    return _balance(facts, "source", settings.maximum)


def _balance(facts: DatasetFacts, column: str, maximum: float) -> Figures:
    values: pd.Series = facts.columns(column)[column]
    sizes = sorted((int(count), str(name)) for name, count in values.value_counts().items())
    (least, small), (most, large) = sizes[0], sizes[-1]
    return Figures(
        values={f"largest / smallest {column}": most / least},
        most=maximum,
        observed=f"{most / least:.4g} ({large} {most} / {small} {least})",
        images=facts.paths(values.isin([name for count, name in sizes if most / count > maximum])),
    )
