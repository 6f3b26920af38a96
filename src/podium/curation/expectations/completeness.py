"""Whether all images are there, known and large enough: suites `schema`, `reading`, `sizes` and `licences`."""

from typing import TYPE_CHECKING

from podium.config.base import SPLITS, Fraction, PositiveInt
from podium.config.validate import Advisory, Critical, MaximumShare
from podium.curation.expectations.expectation import Evidence, Figures, expectation, offending

if TYPE_CHECKING:
    import pandas as pd

NO_LICENCE = frozenset({"", "-", "?", "n/a", "na", "none", "null", "other", "tbd", "unknown", "unspecified"})
"""What people write where they know no licence, in lower case."""
_LICENCES_NAMED = 5  # told one by one


class ShareRejected(Critical):
    """`maximum`: unreadable images / all images."""

    maximum: Fraction = 0.02


class ImageSide(Advisory):
    """`minimum`: pixels."""

    minimum: PositiveInt = 64


def missing_columns(manifest: "pd.DataFrame") -> list[str]:
    """Columns the manifest lacks."""
    from podium.data.manifest import PREPARED_COLUMNS

    return [column for column in PREPARED_COLUMNS if column not in manifest.columns]


def broken_rows(manifest: "pd.DataFrame") -> "pd.Series":
    """Which rows have a missing value, an `image_id` that stands twice, or a split of another name."""
    from podium.data.manifest import PREPARED_COLUMNS

    present = [column for column in PREPARED_COLUMNS if column in manifest.columns]
    broken: pd.Series = manifest[present].isna().any(axis=1)
    if "image_id" in present:
        broken |= manifest["image_id"].duplicated(keep=False)
    if "split" in present:
        broken |= ~manifest["split"].isin(SPLITS)
    return broken


@expectation(
    Critical(),
    suite="schema",
    sentence="The manifest has every column, no value is missing, and each image stands once",
    why="Every later stage looks images up in the manifest; a gap there is an image nobody accounts for.",
    expected="all columns, filled; image_id unique; split is train, val or test",
    remedy="run `dvc repro -f preprocess`",
)
def columns(evidence: Evidence, _: Critical) -> Figures:
    """Without figures: Great Expectations looks at the manifest itself; the images of broken rows are named."""
    return Figures(
        values={},
        observed=lambda _: _describe_columns(evidence.manifest),
        images=lambda _: evidence.paths(broken_rows(evidence.manifest)),
    )


def _describe_columns(manifest: "pd.DataFrame") -> str:
    """What was seen, in words."""
    from podium.data.manifest import PREPARED_COLUMNS

    missing, broken = missing_columns(manifest), int(broken_rows(manifest).sum())
    return (
        f"{len(manifest)} rows"
        + (f"; missing: {', '.join(missing)}" if missing else f", {len(PREPARED_COLUMNS)} columns")
        + (f"; {broken} rows with missing or wrong values" if broken else "")
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
def share_rejected(evidence: Evidence, settings: ShareRejected) -> Figures:
    """Unreadable images / all images."""
    rejected, total = len(evidence.rejected), len(evidence.manifest) + len(evidence.rejected)
    share = rejected / max(1, total)
    return Figures(
        values={"rejected / all images": share},
        most=settings.maximum,
        observed=lambda _: f"{share:.4g} ({rejected} of {total})",
        images=lambda _: offending(evidence.rejected),
    )


@expectation(
    ImageSide(),
    suite="sizes",
    sentence="The shorter side of every image is large enough",
    why="A few dozen pixels hold no detail to learn from; such files are often icons or broken thumbnails.",
    expected="at least {minimum} pixels",
    remedy="replace the small originals, or lower validate.image_side.minimum",
)
def image_side(evidence: Evidence, settings: ImageSide) -> Figures:
    """The shorter side of the smallest image, in pixels; all images below `minimum` are named."""
    minimum = settings.minimum
    shorter = evidence.numbers("width", "height").min(axis=1)
    smallest, below = float(shorter.min()), shorter < minimum
    return Figures(
        values={"shorter side of the smallest image": smallest},
        least=minimum,
        observed=lambda _: f"smallest: {smallest:g} pixels; {int(below.sum())} images below",
        images=lambda _: evidence.paths(below),
    )


@expectation(
    MaximumShare(maximum=0.1),
    suite="sizes",
    sentence="Few images are smaller than the size they are trained at",
    why="Enlarging adds no detail but blur; where it goes with a class or a source, blur becomes the clue.",
    expected="at most {maximum:g} of the images with a longer side below {image_size} pixels",
    remedy="lower preprocess.image_size, get larger originals, or raise validate.training_resolution.maximum",
)
def training_resolution(evidence: Evidence, settings: MaximumShare) -> Figures:
    """The share of images whose longer side is below the size of training, so that they are enlarged."""
    enlarged = evidence.numbers("width", "height").max(axis=1) < evidence.image_size
    share = float(enlarged.mean())
    return Figures(
        values={"share of images that are enlarged": share},
        most=settings.maximum,
        observed=lambda _: f"{share:.4g} ({int(enlarged.sum())} of {len(enlarged)})",
        images=lambda _: evidence.paths(enlarged),
    )


@expectation(
    Advisory(),
    suite="licences",
    sentence="Every image has a licence",
    why="What was learned from images without a licence may not be usable, and later nobody knows their origin.",
    expected="0 images without a licence",
    remedy="set dataset.licence, or the licence of the part of a merge they came from",
)
def licence_known(evidence: Evidence, _: Advisory) -> Figures:
    """Images whose licence is empty or says that it is not known."""
    given = evidence.columns("licence")["licence"].astype("string").fillna("")
    counts = given.value_counts()
    nameless = [name for name in counts.index if str(name).strip().casefold() in NO_LICENCE]
    unknown = given.isin(nameless)
    known = sorted((-int(counts[name]), str(name)) for name in counts.index if name not in set(nameless))
    told = [f"{name} ({-count})" for count, name in known[:_LICENCES_NAMED]]
    rest = f" and {len(known) - _LICENCES_NAMED} more" if known[_LICENCES_NAMED:] else ""
    return Figures(
        values={"images without a licence": float(unknown.sum())},
        most=0,
        observed=lambda _: (
            f"{int(unknown.sum())} of {len(unknown)} without a licence"
            + (f"; others: {', '.join(told)}{rest}" if told else "")
        ),
        images=lambda _: evidence.paths(unknown),
    )
