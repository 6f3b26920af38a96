"""Suite `quality`: few images are doubtful as pictures. The flags come from `curation.quality`."""

from podium.config.validate import Validate
from podium.curation.expectations.evidence import CannotCheck, Evidence, Figures, Offending


def image_quality(evidence: Evidence, validate: Validate) -> Figures:
    """The share of images with each flag; the worst of the flags that are raised too often are named."""
    if evidence.quality is None or evidence.manifest.empty:
        raise CannotCheck("the images were not measured")
    flags, total = {flag.name: flag for flag in evidence.quality}, len(evidence.manifest)

    def worst(broken: list[str]) -> Offending:
        too_many = [flags[name] for name in sorted(flags) if name in broken]
        paths = list(dict.fromkeys(image.path for flag in too_many for image in flag.worst))
        return Offending(paths, max(len(paths), *(flag.count for flag in too_many)))

    if not flags:
        off = "no flag is on"
        return Figures(values={off: 0.0}, most=validate.image_quality.maximum, observed=lambda _: off, images=worst)
    return Figures(
        values={name: flag.count / total for name, flag in flags.items()},
        most=validate.image_quality.maximum,
        observed=lambda _: ", ".join(f"{name} {flags[name].count}" for name in sorted(flags)) + f" of {total}",
        images=worst,
    )
