"""What the images are like: suites `quality`, `drift`, `labels` and `shortcuts`."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from podium.config.base import Fraction, Number
from podium.config.validate import Advisory, MaximumShare
from podium.curation.expectations.expectation import NOBODY, CannotCheck, DatasetFacts, Figures, Offending, expectation
from podium.records.profile import Probe

if TYPE_CHECKING:
    import pandas as pd

    from podium.records.base import ParquetTable

_MEASURES_NAMED = 3  # told one by one
_LISTED = 100  # test images whose paths are looked up


class ImageQuality(Advisory):
    """`maximum`: share of images that are `dark`, `blurred`, `uniform` or of an odd `aspect`; null = not looked for."""

    maximum: Fraction = 0.05
    dark: Fraction | None = 0.08
    blurred: Annotated[Number, Field(ge=0)] | None = 15.0
    uniform: Fraction | None = 0.03
    aspect: Annotated[Number, Field(ge=1)] | None = 4.0


class SplitDrift(Advisory):
    """`maximum`: Kolmogorov-Smirnov distance; `significance`: false discovery rate below which one is no accident."""

    maximum: Fraction = 0.1
    significance: Annotated[Number, Field(gt=0, lt=1)] = 0.01


class Shortcut(Advisory):
    """`maximum`: how far a probe may come from guessing (0) to always right (1)."""

    maximum: Fraction = 0.5


@expectation(
    ImageQuality(),
    suite="quality",
    sentence="Few images are dark, blurred, nearly uniform or oddly shaped",
    why="Such images show little of their class, and are often shots into a pocket, banners or placeholders.",
    expected="at most {maximum:g} of the images",
    remedy="look at the images named, remove what should not be there, or raise validate.image_quality.maximum",
)
def image_quality(facts: DatasetFacts, settings: ImageQuality) -> Figures:
    """The share of images with each flag; the worst of the flags that are raised too often are named.

    Raises:
        CannotCheck: the images were not measured.
    """
    if facts.quality is None or not len(facts.manifest):
        raise CannotCheck("the images were not measured")
    if not facts.quality:
        off = "no flag is on"
        return Figures(values={off: 0.0}, most=settings.maximum, observed=off)
    flags, total = sorted(facts.quality, key=lambda flag: flag.name), len(facts.manifest)
    too_many = [flag for flag in flags if flag.count / total > settings.maximum]
    worst = list(dict.fromkeys(image.path for flag in too_many for image in flag.worst))
    return Figures(
        values={flag.name: flag.count / total for flag in facts.quality},
        most=settings.maximum,
        observed=", ".join(f"{flag.name} {flag.count}" for flag in flags) + f" of {total}",
        images=Offending(worst, max([len(worst), *(flag.count for flag in too_many)])),
    )


@expectation(
    SplitDrift(),
    suite="drift",
    sentence="Train and test images look alike: no measure of the pixels is spread differently",
    why="A test split that is darker, sharper or greyer than train measures something else than was learned. Each "
    "measure is held against a two-sample Kolmogorov-Smirnov test: the distance is the largest difference between "
    "the shares of train and of test images below any value, so its limit means the same for small and large "
    "sets; only distances that are no accident count (Benjamini-Yekutieli, over all measures).",
    expected="distance at most {maximum:g} where the false discovery rate is below {significance:g}",
    remedy="draw the splits anew (dataset.splits: draw), or say in the results what differs",
)
def split_drift(facts: DatasetFacts, settings: SplitDrift) -> Figures:
    """Distances that are no accident; named are the test images that one split has too many of.

    Raises:
        CannotCheck: train and test were not measured.
    """
    if facts.measures is None or not facts.drift:
        raise CannotCheck("the images of train and test were not measured")
    values = {one.measure: one.distance if one.p_value < settings.significance else 0.0 for one in facts.drift}
    broken = [name for name, distance in values.items() if distance > settings.maximum]
    largest = sorted(facts.drift, key=lambda one: (one.measure not in broken, -one.distance))
    told = ", ".join(f"{one.measure} {one.distance:.3f} (p {one.p_value:.2g})" for one in largest[:_MEASURES_NAMED])
    return Figures(
        values=values,
        most=settings.maximum,
        observed=f"{len(broken)} of {len(values)} measures drift; largest distances: {told}",
        images=_unlike_train(facts, facts.measures, largest[0].measure) if broken else NOBODY,
    )


def _unlike_train(facts: DatasetFacts, measures: "pd.DataFrame | ParquetTable", measure: str) -> Offending:
    """The test images that train has too few of, by one measure."""
    from podium.curation.findings import surplus

    ids = surplus(measures, measure)
    paths = facts.columns("image_id", "path")
    path = paths[paths["image_id"].isin(ids[:_LISTED])].set_index("image_id")["path"]
    return Offending(path[ids[:_LISTED]].tolist(), len(ids))


@expectation(
    MaximumShare(maximum=0.05),
    suite="labels",
    sentence="Few labels look wrong",
    why="Wrong labels in test put a ceiling on every accuracy, and in train they teach mistakes. A cheap model, "
    "cross-validated on train and val, tells about how many are wrong, and which most likely; a person must look.",
    expected="at most {maximum:g} of the labels wrong, as estimated",
    remedy="look at the images named, correct their labels in the source, or raise validate.label_noise.maximum",
)
def label_noise(facts: DatasetFacts, settings: MaximumShare) -> Figures:
    """The estimated share of wrong labels; images whose label is likely wrong are named, the most doubtful first.

    Raises:
        CannotCheck: no labels were judged.
    """
    noise = facts.label_noise
    if noise is None or noise.note:
        raise CannotCheck(noise.note if noise else "no candidates were looked for")
    return Figures(
        values={"estimated share of wrong labels": noise.share},
        most=settings.maximum,
        observed=f"{noise.share:.4g} ({noise.count} of {noise.images} images are named; "
        f"the model that doubts them has accuracy {noise.accuracy:.4g})",
        images=Offending([candidate.path for candidate in noise.candidates], noise.count),
    )


@expectation(
    Shortcut(),
    suite="shortcuts",
    sentence="The label cannot be told from the border of the images alone",
    why="Where the outermost pixels give a class away, a model learns the studio or the scanner and not the thing. "
    "A cheap model sees nothing but the border; 0 means it guesses, 1 that it is always right.",
    expected="at most {maximum:g} of the way from guessing to always right, from {border} pixels at each edge",
    remedy="mix backgrounds within each class, crop tighter, or treat the results as those of this set-up",
)
def border_shortcut(facts: DatasetFacts, settings: Shortcut) -> Figures:
    """How well the label is told from a border alone, from 0 (guessing) to 1 (always right)."""
    found, more = facts.shortcuts, ""
    if found is not None and not found.label_from_aspect.note:
        alone = found.label_from_aspect.excess
        more = f"; the aspect ratio alone comes to {alone:.4g}, which padding shows in the border"
    return _judge_probe(found.label_from_border if found else None, settings.maximum, more)


@expectation(
    Shortcut(),
    suite="shortcuts",
    sentence="The source of an image cannot be told from the image",
    why="Where each source has its look and its classes, recognising the source is enough to guess the class. "
    "A cheap model tells the sources apart; 0 means it guesses, 1 that it is always right.",
    expected="at most {maximum:g} of the way from guessing to always right",
    remedy="give every class images from every source, or judge each source on its own",
)
def source_shortcut(facts: DatasetFacts, settings: Shortcut) -> Figures:
    """How well the source is told from the image, from 0 (guessing) to 1 (always right); one source cannot fail."""
    if facts.columns("source")["source"].nunique() == 1:
        one = "one source, nothing to tell apart"
        return Figures(values={"sources to tell apart": 0.0}, most=settings.maximum, observed=one)
    return _judge_probe(facts.shortcuts.source_from_image if facts.shortcuts else None, settings.maximum)


def _judge_probe(probe: Probe | None, maximum: float, more: str = "") -> Figures:
    """A probe held against its limit; `more` is said behind what was observed."""
    if probe is None or probe.note:
        raise CannotCheck(probe.note if probe else "the probe was not run")
    return Figures(
        values={f"{probe.predicted} from {probe.seen}": probe.excess},
        most=maximum,
        observed=f"{probe.excess:.4g} (balanced accuracy {probe.balanced_accuracy:.4g}, 95 % interval {probe.low:.4g} "
        f"to {probe.high:.4g}, chance {probe.chance:.4g}, {probe.images} images){more}",
        images=Offending(probe.giveaways, len(probe.giveaways)),
    )
