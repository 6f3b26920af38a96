"""What `validate` leaves: every expectation with what was seen."""

from podium.core.config.base import Severity
from podium.core.records.base import Record


class ExpectationResult(Record):
    """One expectation on the dataset and what was seen. `offending` holds at most 20 of `offending_count`.

    `checked` is false when it could not be computed (a column is missing, ...); then `success` is false and `observed`
    says why.
    """

    id: str
    suite: str
    severity: Severity
    sentence: str
    success: bool
    expected: str
    observed: str
    offending: list[str]
    offending_count: int
    checked: bool = True


class ValidationReport(Record):
    """`reports/validation.json`. `passed` is false when a critical expectation failed."""

    passed: bool
    manifest_sha256: str
    images: int
    rejected: int
    results: list[ExpectationResult]
