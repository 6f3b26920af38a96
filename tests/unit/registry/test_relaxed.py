"""A critical expectation that only warned is told by the version and by the report."""

from dataclasses import replace

import pytest

from podium.registry import versions
from podium.report import html as report
from podium.report.results import read_results


@pytest.fixture
def outcome(experiment):
    return read_results(experiment.layout, experiment.params)


@pytest.fixture
def relaxed(outcome):
    result = outcome.validation.results[0].model_copy(
        update={"id": "share_rejected", "severity": "warning", "relaxed": True, "because": "one file is planted"}
    )
    return replace(outcome, validation=outcome.validation.model_copy(update={"results": [result]}))


def test_the_version_has_the_reason_in_its_tags(relaxed):
    assert versions.version_tags(relaxed)["podium.relaxed"] == "share_rejected: one file is planted"


def test_without_one_there_is_no_such_tag(outcome):
    assert "podium.relaxed" not in versions.version_tags(outcome)


def test_the_report_shows_the_reason(relaxed):
    assert "Critical by default; only warns here, because one file is planted" in report.render_report(relaxed)


def test_the_report_says_where_a_threshold_is_looser(relaxed):
    results = [result.model_copy(update={"severity": "critical"}) for result in relaxed.validation.results]
    looser = replace(relaxed, validation=relaxed.validation.model_copy(update={"results": results}))

    assert "A looser threshold than by default, because one file is planted" in report.render_report(looser)
