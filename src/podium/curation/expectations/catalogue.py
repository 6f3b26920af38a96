"""All expectations, in words: a module that declares some is imported here, and nowhere else has to know of it."""

from dataclasses import dataclass

from podium.config.base import Severity
from podium.config.problems import nearest
from podium.config.validate import Validate
from podium.core.errors import UsageError
from podium.curation.expectations import completeness, distribution, pixels
from podium.curation.expectations.expectation import EXPECTATIONS

__all__ = ["EXPECTATIONS", "MODULES", "Explanation", "docs_table", "explain", "threshold"]

MODULES = (completeness, distribution, pixels)


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
    entry = EXPECTATIONS.get(id)
    if entry is None:
        raise UsageError(
            f"no expectation {id!r}{nearest(id, EXPECTATIONS)} (expectations: {', '.join(sorted(EXPECTATIONS))})"
        )
    settings = validate.entry(id)
    return Explanation(
        id=id,
        suite=entry.suite,
        sentence=entry.sentence,
        why=entry.why,
        expected=threshold(id, validate, "preprocess.image_size"),
        remedy=entry.remedy,
        severity=settings.severity,
        default_severity=settings.default_severity,
        because=settings.because or "",
    )


def threshold(id: str, validate: Validate, image_size: int | str) -> str:
    """The threshold in force, as part of a sentence."""
    return EXPECTATIONS[id].expected.format(
        image_size=image_size, border=validate.probes.border, **validate.entry(id).model_dump()
    )


def docs_table() -> str:
    """All expectations with their defaults, as the table of docs/data.md."""
    validate = Validate()
    rows = [
        f"| `{id}` | {one.default.severity} | {one.sentence} | {threshold(id, validate, '`preprocess.image_size`')} |"
        for id, one in EXPECTATIONS.items()
    ]
    return "\n".join(["| id | severity | what holds | expected by default |", "|---|---|---|---|", *rows])
