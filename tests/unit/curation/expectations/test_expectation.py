import subprocess
import sys
from pathlib import Path

import pytest

from podium.config.validate import Critical, Validate
from podium.core.errors import UsageError
from podium.curation.expectations.expectation import EXPECTATIONS, docs_table, explain


@pytest.mark.parametrize("id", EXPECTATIONS)
def test_every_expectation_of_the_params_is_explained_with_its_threshold(id):
    found = explain(id, Validate())

    assert found.sentence and found.why and found.remedy
    assert "{" not in found.expected
    assert (found.severity, found.default_severity, found.because) == (found.severity, found.severity, "")


def test_every_key_of_the_params_section_is_an_expectation_but_the_probes():
    assert set(EXPECTATIONS) == set(Validate.file_keys()) - {"probes"}


def test_an_explanation_has_the_severity_in_force_and_why_it_was_relaxed():
    validate = Validate(photo_in_one_split=Critical(severity="warning", because="crops are of different years"))

    found = explain("photo_in_one_split", validate)

    assert (found.severity, found.default_severity) == ("warning", "critical")
    assert found.because == "crops are of different years"


def test_the_nearest_name_is_suggested():
    with pytest.raises(UsageError, match="no expectation 'split_drft'; did you mean 'split_drift'?"):
        explain("split_drft", Validate())


def test_the_probes_are_no_expectation():
    with pytest.raises(UsageError, match="no expectation 'probes'"):
        explain("probes", Validate())


def test_explaining_does_not_load_great_expectations():
    code = (
        "import sys; import podium.curation.expectations.expectation;"
        "print([m for m in ('great_expectations', 'pandas', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_table_of_the_docs_is_that_of_the_code():
    assert docs_table() in (Path(__file__).parents[4] / "docs" / "data.md").read_text(encoding="utf-8")
