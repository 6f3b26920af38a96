"""Params section `validate`: one entry per expectation on the prepared dataset, every one with a default.

Rule: an expectation that is critical by default becomes a warning, or gets a looser threshold than its default, only
with a `because`, which is shown wherever the result is and travels in the tags of the model versions made from such
data.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from podium.config.base import Fraction, Number, PositiveInt, Section, Severity, Whole

LONGEST_BECAUSE = 250
"""Characters; all of them together fit in one tag of MLflow (8,000)."""


def _one_line(text: str) -> str:
    """Line breaks become spaces: a reason is shown within a sentence."""
    return " ".join(text.split())


Because = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_BECAUSE), AfterValidator(_one_line)
]


class Expectation(Section):
    """What happens when an expectation fails: `critical` stops the DAG, `warning` is reported."""

    severity: Severity
    because: Because | None = None

    @property
    def default_severity(self) -> Severity:
        """The severity without an entry in the params file."""
        severity: Severity = type(self).model_fields["severity"].default
        return severity

    @property
    def looser(self) -> str:
        """How its threshold is looser than the default of one that stops the experiment; empty where it is not."""
        return ""

    @property
    def relaxed(self) -> bool:
        """Whether what would stop the experiment by default is only reported, or accepted up to a looser threshold."""
        return bool(self.looser) or (self.default_severity == "critical" and self.severity == "warning")


class Critical(Expectation):
    """Stops the experiment when it fails."""

    severity: Severity = "critical"

    @model_validator(mode="after")
    def _relaxed_for_a_reason(self) -> Self:
        if self.looser and self.because is None:
            raise ValueError(
                f"{self.looser}, and an expectation that is critical is loosened only for a reason: "
                "add `because: <why this is no danger here>`, or keep the default"
            )
        if self.relaxed and self.because is None:
            raise ValueError(
                "it is critical, and a warning only for a reason: "
                "add `because: <why this is no danger here>`, or set severity: critical"
            )
        return self


class Advisory(Expectation):
    """Is reported when it fails."""

    severity: Severity = "warning"


class MinimumRows(Critical):
    """`minimum`: images per class and split."""

    minimum: PositiveInt = 5

    @property
    def looser(self) -> str:
        """Fewer images are enough than by default."""
        default = type(self).model_fields["minimum"].default
        return f"minimum {self.minimum} is below the default {default}" if self.minimum < default else ""


class ShareRejected(Critical):
    """`maximum`: unreadable images / all images."""

    maximum: Fraction = 0.02

    @property
    def looser(self) -> str:
        """More unreadable images are accepted than by default."""
        default = type(self).model_fields["maximum"].default
        return f"maximum {self.maximum} is above the default {default}" if self.maximum > default else ""


class Ratio(Advisory):
    """`maximum`: largest / smallest."""

    maximum: Annotated[Number, Field(ge=1)]


class ImageSide(Advisory):
    """`minimum`: pixels."""

    minimum: PositiveInt = 64


class Share(Advisory):
    """`maximum`: of all images."""

    maximum: Fraction


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


class Probes(Section):
    """The cheap models that look for wrong labels and shortcuts in train and val.

    They are cross-validated in `folds`, on at most `images_per_class`; `border` is how many pixels at each edge the one
    that sees only the border sees.
    """

    folds: Annotated[Whole, Field(ge=2, le=20)] = 5
    images_per_class: PositiveInt = 1000
    border: PositiveInt = 8


class Validate(Section):
    """One entry per expectation, and how the probes behind some of them work; a file names what it changes."""

    columns: Critical = Critical()
    classes_in_every_split: Critical = Critical()
    minimum_rows: MinimumRows = MinimumRows()
    image_in_one_split: Critical = Critical()
    duplicates_in_one_split: Critical = Critical()
    photo_in_one_split: Critical = Critical()
    split_group_in_one_split: Critical = Critical()
    share_rejected: ShareRejected = ShareRejected()
    class_balance: Ratio = Ratio(maximum=3.0)
    source_balance: Ratio = Ratio(maximum=10.0)
    image_side: ImageSide = ImageSide()
    training_resolution: Share = Share(maximum=0.1)
    licence_known: Advisory = Advisory()
    image_quality: ImageQuality = ImageQuality()
    split_drift: SplitDrift = SplitDrift()
    label_noise: Share = Share(maximum=0.05)
    border_shortcut: Shortcut = Shortcut()
    source_shortcut: Shortcut = Shortcut()
    probes: Probes = Probes()

    def entry(self, id: str) -> Expectation:
        """One entry by the id of its expectation.

        Raises:
            KeyError: there is none of that name.
        """
        found = getattr(self, id, None)
        if not isinstance(found, Expectation):
            raise KeyError(id)
        return found
