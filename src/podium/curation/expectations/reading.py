"""Suite `reading`: the images could be read. Depends on nothing but its neighbours."""

from podium.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures, offending


def share_rejected(evidence: Evidence, validate: Validate) -> Figures:
    """Unreadable images / all images."""
    rejected, total = len(evidence.rejected), len(evidence.manifest) + len(evidence.rejected)
    share = rejected / max(1, total)
    return Figures(
        values={"rejected / all images": share},
        most=validate.share_rejected.maximum,
        observed=lambda _: f"{share:.4g} ({rejected} of {total})",
        images=lambda _: offending(evidence.rejected),
    )
