"""Suite `shortcuts`: nothing but the thing itself gives the label away. The numbers come from `curation.probes`."""

from podium.config.validate import Validate
from podium.curation.expectations.evidence import CannotCheck, Evidence, Figures, Offending
from podium.records.profile import Probe


def border_shortcut(evidence: Evidence, validate: Validate) -> Figures:
    """How well the label is told from a border alone, from 0 (guessing) to 1 (always right)."""
    found = evidence.shortcuts
    more = ""
    if found is not None and not found.label_from_aspect.note:
        alone = found.label_from_aspect.excess
        more = f"; the aspect ratio alone comes to {alone:.4g}, which padding shows in the border"
    return _probe(found.label_from_border if found else None, validate.border_shortcut.maximum, more)


def source_shortcut(evidence: Evidence, validate: Validate) -> Figures:
    """How well the source is told from the image, from 0 (guessing) to 1 (always right); one source cannot fail."""
    maximum = validate.source_shortcut.maximum
    if evidence.columns("source")["source"].nunique() == 1:
        return Figures(
            values={"sources to tell apart": 0.0},
            most=maximum,
            observed=lambda _: "one source, nothing to tell apart",
            images=lambda _: Offending([], 0),
        )
    return _probe(evidence.shortcuts.source_from_image if evidence.shortcuts else None, maximum)


def _probe(probe: Probe | None, maximum: float, more: str = "") -> Figures:
    """A probe held against its limit; `more` is said behind what was observed.

    Raises:
        CannotCheck: the probe was not run.
    """
    if probe is None or probe.note:
        raise CannotCheck(probe.note if probe else "the probe was not run")
    return Figures(
        values={f"{probe.predicted} from {probe.seen}": probe.excess},
        most=maximum,
        observed=lambda _: (
            f"{probe.excess:.4g} (balanced accuracy {probe.balanced_accuracy:.4g}, "
            f"95 % interval {probe.low:.4g} to {probe.high:.4g}, chance {probe.chance:.4g}, {probe.images} images)"
            f"{more}"
        ),
        images=lambda _: Offending(probe.giveaways, len(probe.giveaways)),
    )
