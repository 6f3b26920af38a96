"""The validation page: one HTML file that needs nothing else, the same bytes for the same data. Depends on Jinja."""

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from podium.core.config.base import SPLITS
from podium.core.latin import with_latin
from podium.core.records.preprocess import Profile
from podium.core.records.validate import ValidationReport

_MOST_ROWS = 500  # of a list of files or groups; the files beside the page hold all


def render(report: ValidationReport, profile: Profile, rejected: pd.DataFrame) -> str:
    """Renders the page.

    Args:
        report: the verdict and all results.
        profile: counts and duplicates.
        rejected: columns `path label reason`; `label` is empty for files that are no images to use.

    Returns:
        HTML, everything from file names and labels escaped.
    """
    environment = Environment(
        loader=PackageLoader("podium.curation", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["with_latin"] = with_latin
    order = {False: 0, True: 1}
    return environment.get_template("validation.html.j2").render(
        report=report,
        splits=SPLITS,
        results=sorted(report.results, key=lambda r: (order[r.success], r.severity, r.id)),
        failed=[r for r in report.results if not r.success and r.severity == "critical"],
        warned=[r for r in report.results if not r.success and r.severity == "warning"],
        profile=profile,
        largest_cell=max((n for cells in profile.per_class_and_split.values() for n in cells.values()), default=1),
        rejected=list(rejected.head(_MOST_ROWS).itertuples(index=False)),
        rejected_count=len(rejected),
        duplicates=profile.duplicates[:_MOST_ROWS],
    )
