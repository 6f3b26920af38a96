"""What every expectation checks and why, in words; one entry per key of params section `validate`.

Rule: light, so that a command line can explain an expectation at once. Depends on the params section alone.
"""

from dataclasses import dataclass

from podium.config.base import Severity
from podium.config.problems import nearest
from podium.config.validate import Validate
from podium.core.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One expectation in words. `expected` has the keys of its params entry as fields, `image_size` and `border`.

    `remedy` says what to do when it fails.
    """

    suite: str
    sentence: str
    why: str
    expected: str
    remedy: str


@dataclass(frozen=True)
class Explanation:
    """An expectation in words, with the thresholds and the severity in force; `because` is empty unless given."""

    id: str
    suite: str
    sentence: str
    why: str
    expected: str
    remedy: str
    severity: Severity
    default_severity: Severity
    because: str


CATALOGUE: dict[str, Entry] = {
    "columns": Entry(
        suite="schema",
        sentence="The manifest has every column, no value is missing, and each image stands once",
        why="Every later stage looks images up in the manifest; a gap there is an image nobody accounts for.",
        expected="all columns, filled; image_id unique; split is train, val or test",
        remedy="run `dvc repro -f preprocess`",
    ),
    "classes_in_every_split": Entry(
        suite="splits",
        sentence="Every class has images in train, val and test",
        why="A class without train images cannot be learned, and one without test images is never judged.",
        expected="at least 1 image per class and split",
        remedy="add images of the class, correct the source's split folders, or set dataset.splits: draw",
    ),
    "minimum_rows": Entry(
        suite="splits",
        sentence="Every class has enough images in every split",
        why="The recall of a class measured on five images is a lottery: one image more or less moves it by 20 points.",
        expected="at least {minimum} images per class and split",
        remedy="add images of the class, remove it, or lower validate.minimum_rows.minimum and say because",
    ),
    "image_in_one_split": Entry(
        suite="leakage",
        sentence="No picture (the same pixels) is in two splits",
        why="A test picture that was trained on measures memory, and makes every model look better than it is.",
        expected="0 pictures in two splits",
        remedy="run `dvc repro -f preprocess`, which keeps copies of a picture on one side",
    ),
    "duplicates_in_one_split": Entry(
        suite="leakage",
        sentence="No group of duplicates is in two splits",
        why="A resized, cropped or flipped copy of a train picture is as good as the picture itself.",
        expected="0 groups in two splits",
        remedy="run `dvc repro -f preprocess`, which keeps duplicates on one side",
    ),
    "photo_in_one_split": Entry(
        suite="leakage",
        sentence="No photograph has crops in two splits",
        why="Two crops of one photograph share its light, its background and its camera: the second one is no news.",
        expected="0 photographs in two splits",
        remedy="run `dvc repro -f preprocess`, which keeps the crops of a photograph on one side",
    ),
    "split_group_in_one_split": Entry(
        suite="leakage",
        sentence="No group of images that belong together is in two splits",
        why="Crops and copies form chains (a copy of the photograph of another crop); a chain must not straddle.",
        expected="0 groups in two splits",
        remedy="run `dvc repro -f preprocess`, which keeps such groups on one side",
    ),
    "class_balance": Entry(
        suite="balance",
        sentence="The largest class is not much larger than the smallest",
        why="A model that sees one class rarely learns to guess another, and accuracy hardly shows it.",
        expected="largest / smallest class at most {maximum:g}",
        remedy="add images of the smallest class, or raise validate.class_balance.maximum",
    ),
    "source_balance": Entry(
        suite="balance",
        sentence="The largest source is not much larger than the smallest",
        why="Where one source outweighs the others, the test result says how well the model does on that source.",
        expected="largest / smallest source at most {maximum:g}",
        remedy="use dataset.limit_per_class, drop the small source, or raise validate.source_balance.maximum",
    ),
    "image_side": Entry(
        suite="sizes",
        sentence="The shorter side of every image is large enough",
        why="A few dozen pixels hold no detail to learn from; such files are often icons or broken thumbnails.",
        expected="at least {minimum} pixels",
        remedy="replace the small originals, or lower validate.image_side.minimum",
    ),
    "training_resolution": Entry(
        suite="sizes",
        sentence="Few images are smaller than the size they are trained at",
        why="Enlarging adds no detail but blur; where it goes with a class or a source, blur becomes the clue.",
        expected="at most {maximum:g} of the images with a longer side below {image_size} pixels",
        remedy="lower preprocess.image_size, get larger originals, or raise validate.training_resolution.maximum",
    ),
    "image_quality": Entry(
        suite="quality",
        sentence="Few images are dark, blurred, nearly uniform or oddly shaped",
        why="Such images show little of their class, and are often shots into a pocket, banners or placeholders.",
        expected="at most {maximum:g} of the images",
        remedy="look at the images named, remove what should not be there, or raise validate.image_quality.maximum",
    ),
    "share_rejected": Entry(
        suite="reading",
        sentence="Few images were rejected as unreadable",
        why="Many unreadable files mean a broken download or a wrong format, and what is left may be a biased rest.",
        expected="rejected / all images at most {maximum:g}",
        remedy="replace the files listed in artifacts/prepared/rejected.csv, or raise validate.share_rejected.maximum "
        "and say because",
    ),
    "licence_known": Entry(
        suite="licences",
        sentence="Every image has a licence",
        why="What was learned from images without a licence may not be usable, and later nobody knows their origin.",
        expected="0 images without a licence",
        remedy="set dataset.licence, or the licence of the part of a merge they came from",
    ),
    "split_drift": Entry(
        suite="drift",
        sentence="Train and test images look alike: no measure of the pixels is spread differently",
        why="A test split that is darker, sharper or greyer than train measures something else than was learned. Each "
        "measure is held against a two-sample Kolmogorov-Smirnov test: the distance is the largest difference between "
        "the shares of train and of test images below any value, so its limit means the same for small and large "
        "sets; only distances that are no accident count (Benjamini-Yekutieli, over all measures).",
        expected="distance at most {maximum:g} where the false discovery rate is below {significance:g}",
        remedy="draw the splits anew (dataset.splits: draw), or say in the results what differs",
    ),
    "label_noise": Entry(
        suite="labels",
        sentence="Few labels look wrong",
        why="Wrong labels in test put a ceiling on every accuracy, and in train they teach mistakes. A cheap model, "
        "cross-validated on train and val, doubts these labels (confident learning); a person must look.",
        expected="candidates at most {maximum:g} of the images judged",
        remedy="look at the images named, correct their labels in the source, or raise validate.label_noise.maximum",
    ),
    "border_shortcut": Entry(
        suite="shortcuts",
        sentence="The label cannot be told from the border of the images alone",
        why="Where the outermost pixels give a class away, a model learns the studio or the scanner and not the thing. "
        "A cheap model sees nothing but the border; 0 means it guesses, 1 that it is always right.",
        expected="at most {maximum:g} of the way from guessing to always right, from {border} pixels at each edge",
        remedy="mix backgrounds within each class, crop tighter, or treat the results as those of this set-up",
    ),
    "source_shortcut": Entry(
        suite="shortcuts",
        sentence="The source of an image cannot be told from the image",
        why="Where each source has its look and its classes, recognising the source is enough to guess the class. "
        "A cheap model tells the sources apart; 0 means it guesses, 1 that it is always right.",
        expected="at most {maximum:g} of the way from guessing to always right",
        remedy="give every class images from every source, or judge each source on its own",
    ),
}
"""By id, which is the key of the params entry."""


def explain(id: str, validate: Validate) -> Explanation:
    """One expectation in words.

    Args:
        id: a key of params section `validate`.
        validate: the section in force.

    Returns:
        What it checks and why, its threshold and severity.

    Raises:
        UsageError: there is none of that name; the message names the nearest.
    """
    entry = CATALOGUE.get(id)
    if entry is None:
        raise UsageError(
            f"no expectation {id!r}{nearest(id, CATALOGUE)} (expectations: {', '.join(sorted(CATALOGUE))})"
        )
    settings = validate.entry(id)
    return Explanation(
        id=id,
        suite=entry.suite,
        sentence=entry.sentence,
        why=entry.why,
        expected=expected(id, validate, "preprocess.image_size"),
        remedy=entry.remedy,
        severity=settings.severity,
        default_severity=settings.default_severity,
        because=settings.because or "",
    )


def expected(id: str, validate: Validate, image_size: int | str) -> str:
    """The threshold in force, as part of a sentence."""
    return CATALOGUE[id].expected.format(
        image_size=image_size, border=validate.probes.border, **validate.entry(id).model_dump()
    )
