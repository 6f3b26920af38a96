"""Suite `sizes`: images have enough pixels, on their own and for the size they are trained at. Depends on pandas."""

from podium.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures


def image_side(evidence: Evidence, validate: Validate) -> Figures:
    """The shorter side of the smallest image, in pixels; all images below `minimum` are named."""
    minimum = validate.image_side.minimum
    shorter = evidence.numbers("width", "height").min(axis=1)
    smallest, below = float(shorter.min()), shorter < minimum
    return Figures(
        values={"shorter side of the smallest image": smallest},
        least=minimum,
        observed=lambda _: f"smallest: {smallest:g} pixels; {int(below.sum())} images below",
        images=lambda _: evidence.paths(below),
    )


def training_resolution(evidence: Evidence, validate: Validate) -> Figures:
    """The share of images whose longer side is below the size of training, so that they are enlarged."""
    enlarged = evidence.numbers("width", "height").max(axis=1) < evidence.image_size
    share = float(enlarged.mean())
    return Figures(
        values={"share of images that are enlarged": share},
        most=validate.training_resolution.maximum,
        observed=lambda _: f"{share:.4g} ({int(enlarged.sum())} of {len(enlarged)})",
        images=lambda _: evidence.paths(enlarged),
    )
