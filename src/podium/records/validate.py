"""What `validate` leaves: every expectation with what was seen, and the leak that grouped splits prevented.

Fields with a default are younger than the first registered versions, whose packages hold such a report.
"""

from podium.config.base import Severity
from podium.records.base import Record


class ExpectationResult(Record):
    """One expectation on the dataset and what was seen. `offending` holds at most 20 of `offending_count` paths.

    `checked` is false when it could not be computed (a column is missing, ...); then `success` is false and `observed`
    says why. `relaxed`: critical by default, a warning or with a looser threshold here; `because` says why, and is
    empty where nothing was said.
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
    why: str = ""
    relaxed: bool = False
    because: str = ""


class NaiveSplitLeak(Record):
    """What a draw image by image, with the same shares and seed, would have leaked.

    `groups` of images that belong together (duplicates, crops of one photograph) would have been on two sides.
    `test_images_with_twin` of its `test_images` would have had a member of their group in train; `share` is their part
    of that test split, 0 to 1.
    """

    groups: int
    test_images: int
    test_images_with_twin: int
    share: float


class MeasureDrift(Record):
    """One measure of the images, train against test.

    `distance` is the Kolmogorov-Smirnov statistic, 0 to 1; `p_value` belongs to it, adjusted for the number of
    measures. `drifts`: the distance is above `threshold` and no accident.
    """

    measure: str
    distance: float
    p_value: float
    threshold: float
    drifts: bool


class ValidationReport(Record):
    """`artifacts/validation/validation.json`. `passed` is false when a critical expectation failed.

    `drift` is empty where there was nothing to compare.
    """

    passed: bool
    manifest_sha256: str
    images: int
    rejected: int
    naive_split: NaiveSplitLeak | None = None
    drift: list[MeasureDrift] = []
    results: list[ExpectationResult]
