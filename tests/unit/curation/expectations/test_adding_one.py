"""Adding an expectation is one decorated function in one place: all that speaks of expectations then knows it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from podium.config import validate as section
from podium.config.params import load
from podium.core.errors import ParamsError
from podium.core.layout import Layout
from podium.curation.expectations import expectation, validator
from tests import dataset_facts as made
from tests.unit.cli.calls import podium

SAMPLE = Path(__file__).parents[4] / "experiments" / "sample.yaml"
MODULE = '''
from podium.config.base import PositiveInt
from podium.config.validate import Advisory
from podium.curation.expectations.expectation import DatasetFacts, Figures, expectation


class Paths(Advisory):
    """`maximum`: characters."""

    maximum: PositiveInt = 10


@expectation(
    Paths(),
    suite="names",
    sentence="Paths are short",
    why="Long ones are cut off on the page.",
    expected="at most {maximum} characters",
    remedy="rename the files",
)
def path_length(facts: DatasetFacts, settings: Paths) -> Figures:
    """The longest path."""
    lengths = facts.columns("path")["path"].str.len()
    return Figures(
        values={"longest path": float(lengths.max())},
        most=settings.maximum,
        observed=f"{lengths.max()} characters",
        images=facts.paths(lengths > settings.maximum),
    )
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Layout]:
    """A project, and a module with one more expectation; both are gone afterwards."""
    before = (dict(expectation._expectations), dict(section._defaults))
    (tmp_path / "more_expectations.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("more_expectations")
    layout = Layout(tmp_path)
    layout.params.write_bytes(SAMPLE.read_bytes())
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    yield layout
    for held, was in zip((expectation._expectations, section._defaults), before, strict=True):
        held.clear()
        held.update(was)
    del sys.modules["more_expectations"]


def write(layout: Layout, **entry: object) -> None:
    params = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    params["validate"]["path_length"] = entry
    layout.params.write_text(yaml.safe_dump(params), encoding="utf-8")


def test_its_entry_is_checked_with_the_params(added: Layout) -> None:
    assert load(added.params).validate_.entry("path_length").model_dump()["maximum"] == 10
    write(added, maximum=20)
    assert load(added.params).validate_.entry("path_length").model_dump() == {
        "severity": "warning",
        "because": None,
        "maximum": 20,
    }

    write(added, maximum=0)
    with pytest.raises(ParamsError, match=r"validate\.path_length\.maximum"):
        load(added.params)
    write(added, maximun=3)
    with pytest.raises(ParamsError, match=r"'validate\.path_length\.maximun'; did you mean 'maximum'\?"):
        load(added.params)


def test_it_is_listed_and_explained(added: Layout) -> None:
    write(added, maximum=20)

    said = json.loads(podium("validate", "--explain", "path_length", "--json").stdout)

    assert (said["suite"], said["expected"], said["severity"]) == ("names", "at most 20 characters", "warning")
    assert "path_length" in podium("validate").stdout
    assert "| `path_length` | warning | Paths are short | at most 10 characters |" in expectation.docs_table()


def test_it_stands_in_the_report_with_the_images(added: Layout) -> None:
    write(added, maximum=16)

    results = validator.check(made.facts(), load(added.params).validate_)

    found = next(result for result in results if result.id == "path_length")
    assert (found.success, found.suite, found.observed) == (False, "names", "17 characters")
    assert found.offending[0] == "orange/train0.jpg" and found.offending_count == 4


def test_two_of_one_name_are_refused(added: Layout) -> None:
    with pytest.raises(ValueError, match=r"validate\.columns is there already"):
        section.register("columns", section.Critical())
