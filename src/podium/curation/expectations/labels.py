"""Suite `labels`: few labels look wrong. The candidates come from `curation.labels`."""

from podium.config.validate import Validate
from podium.curation.expectations.evidence import CannotCheck, Evidence, Figures, Offending


def label_noise(evidence: Evidence, validate: Validate) -> Figures:
    """The share of images whose label a cheap model doubts; they are named, the most doubtful first."""
    noise = evidence.label_noise
    if noise is None or noise.note:
        raise CannotCheck(noise.note if noise else "no candidates were looked for")
    paths = [candidate.path for candidate in noise.candidates]
    return Figures(
        values={"candidates / images judged": noise.share},
        most=validate.label_noise.maximum,
        observed=lambda _: (
            f"{noise.share:.4g} ({noise.count} of {noise.images}; "
            f"the model that doubts them has accuracy {noise.accuracy:.4g})"
        ),
        images=lambda _: Offending(paths, noise.count),
    )
