"""Suite `licences`: every image may be used, and under what terms is known. Depends on pandas."""

from podium.config.validate import Validate
from podium.curation.expectations.evidence import Evidence, Figures

UNKNOWN = frozenset({"", "-", "?", "n/a", "na", "none", "null", "other", "tbd", "unknown", "unspecified"})
"""What people write where they know no licence, in lower case."""
_NAMED = 5  # licences told one by one


def licence_known(evidence: Evidence, _: Validate) -> Figures:
    """Images whose licence is empty or says that it is not known."""
    given = evidence.columns("licence")["licence"].astype("string").fillna("")
    counts = given.value_counts()
    nameless = [name for name in counts.index if str(name).strip().casefold() in UNKNOWN]
    unknown = given.isin(nameless)
    known = sorted((-int(counts[name]), str(name)) for name in counts.index if name not in set(nameless))
    told = [f"{name} ({-count})" for count, name in known[:_NAMED]]
    rest = f" and {len(known) - _NAMED} more" if known[_NAMED:] else ""
    return Figures(
        values={"images without a licence": float(unknown.sum())},
        most=0,
        observed=lambda _: (
            f"{int(unknown.sum())} of {len(unknown)} without a licence"
            + (f"; others: {', '.join(told)}{rest}" if told else "")
        ),
        images=lambda _: evidence.paths(unknown),
    )
