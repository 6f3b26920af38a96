"""How the images are spread over splits, classes and sources: suites `splits`, `leakage` and `balance`."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from podium.config.base import SPLITS, Number, PositiveInt
from podium.config.validate import Advisory, Critical
from podium.curation.expectations.expectation import Evidence, Figures, Offending, expectation

if TYPE_CHECKING:
    import pandas as pd

_GAPS_NAMED = 5  # told one by one


class MinimumRows(Critical):
    """`minimum`: images per class and split."""

    minimum: PositiveInt = 5


class Ratio(Advisory):
    """`maximum`: largest / smallest."""

    maximum: Annotated[Number, Field(ge=1)]


@expectation(
    Critical(),
    suite="splits",
    sentence="Every class has images in train, val and test",
    why="A class without train images cannot be learned, and one without test images is never judged.",
    expected="at least 1 image per class and split",
    remedy="add images of the class, correct the source's split folders, or set dataset.splits: draw",
)
def classes_in_every_split(evidence: Evidence, _: Critical) -> Figures:
    """Images per class and split, at least one; the images of a class that lacks a split are named."""
    cells = _count_cells(evidence)
    images = evidence.columns("label", "split")
    classes = images["label"].nunique()

    def observed(broken: list[str]) -> str:
        gaps = [
            f"no image of {_cell_name(label, split)}" for label, split in cells if _cell_name(label, split) in broken
        ]
        more = f" and {len(gaps) - _GAPS_NAMED} more" if gaps[_GAPS_NAMED:] else ""
        return "; ".join(gaps[:_GAPS_NAMED]) + more if gaps else f"{classes} classes"

    def lacking(broken: list[str]) -> Offending:
        names = {label for label, split in cells if _cell_name(label, split) in set(broken)}
        return evidence.paths(images["label"].isin(names))

    values = {_cell_name(*cell): float(count) for cell, count in cells.items()}
    return Figures(values=values, least=1, observed=observed, images=lacking)


@expectation(
    MinimumRows(),
    suite="splits",
    sentence="Every class has enough images in every split",
    why="The recall of a class measured on five images is a lottery: one image more or less moves it by 20 points.",
    expected="at least {minimum} images per class and split",
    remedy="add images of the class, remove it, or lower validate.minimum_rows.minimum and say because",
)
def minimum_rows(evidence: Evidence, settings: MinimumRows) -> Figures:
    """Images per class and split, at least `minimum`; those of the small cells are named."""
    cells = _count_cells(evidence)
    images = evidence.columns("label", "split")

    def observed(broken: list[str]) -> str:
        count, label, split = min((count, *cell) for cell, count in cells.items())
        more = f"; {len(broken)} of {len(cells)} below" if broken else ""
        return f"smallest: {count} ({label} in {split}){more}"

    def in_small_cells(broken: list[str]) -> Offending:
        import pandas as pd

        small = pd.MultiIndex.from_tuples([cell for cell in cells if _cell_name(*cell) in set(broken)])
        return evidence.paths(pd.Series(pd.MultiIndex.from_frame(images).isin(small), index=images.index))

    values = {_cell_name(*cell): float(count) for cell, count in cells.items()}
    return Figures(values=values, least=settings.minimum, observed=observed, images=in_small_cells)


def _count_cells(evidence: Evidence) -> dict[tuple[str, str], int]:
    """Images by class and split, 0 where there is none."""
    images = evidence.columns("label", "split")
    counts = images.groupby(["label", "split"], observed=True).size().to_dict()
    labels = sorted(images["label"].dropna().unique())
    return {(str(label), split): int(counts.get((label, split), 0)) for label in labels for split in SPLITS}


def _cell_name(label: str, split: str) -> str:
    """A class and a split as one name."""
    return f"{label!r} in {split}"


@expectation(
    Critical(),
    suite="leakage",
    sentence="No picture (the same pixels) is in two splits",
    why="A test picture that was trained on measures memory, and makes every model look better than it is.",
    expected="0 pictures in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps copies of a picture on one side",
)
def image_in_one_split(evidence: Evidence, _: Critical) -> Figures:
    """Pictures (by the digest of their pixels) in two or more splits."""
    return _count_straddling(evidence, "sha256", "pictures")


@expectation(
    Critical(),
    suite="leakage",
    sentence="No group of duplicates is in two splits",
    why="A resized, cropped or flipped copy of a train picture is as good as the picture itself.",
    expected="0 groups in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps duplicates on one side",
)
def duplicates_in_one_split(evidence: Evidence, _: Critical) -> Figures:
    """Groups of duplicates in two or more splits."""
    return _count_straddling(evidence, "duplicate_group", "groups")


@expectation(
    Critical(),
    suite="leakage",
    sentence="No photograph has crops in two splits",
    why="Two crops of one photograph share its light, its background and its camera: the second one is no news.",
    expected="0 photographs in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps the crops of a photograph on one side",
)
def photo_in_one_split(evidence: Evidence, _: Critical) -> Figures:
    """Photographs with crops in two or more splits, by their name and by the bytes of their file."""
    return _count_straddling(evidence, "photo_id", "photographs", "photo_sha256", "files with the same bytes")


@expectation(
    Critical(),
    suite="leakage",
    sentence="No group of images that belong together is in two splits",
    why="Crops and copies form chains (a copy of the photograph of another crop); a chain must not straddle.",
    expected="0 groups in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps such groups on one side",
)
def split_group_in_one_split(evidence: Evidence, _: Critical) -> Figures:
    """Groups of images that belong together (duplicates, crops, chains of both) in two or more splits."""
    return _count_straddling(evidence, "split_group", "groups")


def _count_straddling(evidence: Evidence, *keys_and_words: str) -> Figures:
    """Counts the keys of one or more columns that are on two sides; given are columns and what they name, in turn."""
    import pandas as pd

    counts: dict[str, float] = {}
    there = pd.Series(False, index=evidence.manifest.index)
    for key, what in zip(keys_and_words[::2], keys_and_words[1::2], strict=True):
        count, images = _straddling_images(evidence.columns(key, "split"), key)
        counts[f"{what} in two or more splits"] = float(count)
        there |= images
    return Figures(
        values=counts,
        most=0,
        observed=lambda broken: ", ".join(f"{counts[of]:.0f} {of}" for of in broken or counts),
        images=lambda _: evidence.paths(there),
    )


def _straddling_images(images: "pd.DataFrame", key: str) -> tuple[int, "pd.Series"]:
    """How many values of a column are in two or more splits, and a mask of the images that have one of them."""
    import numpy as np
    import pandas as pd

    codes, keys = pd.factorize(images[key])  # -1 where missing, which suite `schema` names
    sides, _ = pd.factorize(images["split"])
    known = (codes >= 0) & (sides >= 0)
    pairs = np.unique(codes[known] * (sides.max() + 1) + sides[known]) // (sides.max() + 1)
    straddling = np.bincount(pairs, minlength=len(keys)) > 1
    return int(straddling.sum()), pd.Series(known & straddling[codes], index=images.index)


@expectation(
    Ratio(maximum=3.0),
    suite="balance",
    sentence="The largest class is not much larger than the smallest",
    why="A model that sees one class rarely learns to guess another, and accuracy hardly shows it.",
    expected="largest / smallest class at most {maximum:g}",
    remedy="add images of the smallest class, or raise validate.class_balance.maximum",
)
def class_balance(evidence: Evidence, settings: Ratio) -> Figures:
    """Largest / smallest class; the images of classes that are too small are named."""
    return _balance(evidence, "label", settings.maximum)


@expectation(
    Ratio(maximum=10.0),
    suite="balance",
    sentence="The largest source is not much larger than the smallest",
    why="Where one source outweighs the others, the test result says how well the model does on that source.",
    expected="largest / smallest source at most {maximum:g}",
    remedy="use dataset.limit_per_class, drop the small source, or raise validate.source_balance.maximum",
)
def source_balance(evidence: Evidence, settings: Ratio) -> Figures:
    """Largest / smallest source; the images of sources that are too small are named."""
    return _balance(evidence, "source", settings.maximum)


def _balance(evidence: Evidence, column: str, maximum: float) -> Figures:
    """Largest / smallest of the values of a column of the manifest."""
    values: pd.Series = evidence.columns(column)[column]
    sizes = sorted((int(count), str(name)) for name, count in values.value_counts().items())
    (least, small), (most, large) = sizes[0], sizes[-1]
    too_small = {name for count, name in sizes if most / count > maximum}
    return Figures(
        values={f"largest / smallest {column}": most / least},
        most=maximum,
        observed=lambda _: f"{most / least:.4g} ({large} {most} / {small} {least})",
        images=lambda _: evidence.paths(values.isin(too_small)),
    )
