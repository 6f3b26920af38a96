"""The measures of the code's shape, on a small tree where each can be counted by hand."""

from __future__ import annotations

import json

import pytest

from tools import house

TREE = {
    "dvc.yaml": "stages:\n  train: {}\n",
    "stages/evaluate.py": "def main():\n    from podium.pipeline import evaluate\n",
    "src/podium/__init__.py": '"""Podium."""\n',
    "src/podium/pipeline/__init__.py": '"""Verbs."""\n',
    "src/podium/pipeline/evaluate.py": '"""Evaluate."""\nfrom podium.analysis import metrics, rounding\n',
    "src/podium/analysis/__init__.py": '"""Nouns."""\n',
    "src/podium/analysis/metrics.py": '"""Metrics."""\nfrom podium.analysis.rounding import to_digits\n',
    "src/podium/analysis/rounding.py": (
        '"""Rounding."""\n\n\ndef to_digits(x):\n    """Rounds.\n\n    Raises:\n        ValueError: Below 0.\n    """\n'
        "    if x < 0:\n        raise ValueError(x)\n    return x\n"
    ),
    "src/podium/registry/__init__.py": '"""Registry."""\n',
    "src/podium/registry/gates.py": (
        '"""Gates."""\nfrom podium.registry import metrics\n\n\nclass Gate:\n    def judge(self):\n'
        '        """Judges."""\n        raise ValueError\n'
    ),
    "src/podium/registry/metrics.py": (
        '"""Evidence."""\n\n\ndef _one():\n    from podium.registry.gates import Gate\n    return Gate\n'
    ),
    "tests/test_a.py": "def test_one():\n    pass\n\n\ndef helper():\n    pass\n",
}


@pytest.fixture(scope="module")
def measured() -> house.House:
    return house.measure(TREE)


def test_modules_and_lines_are_those_of_src(measured: house.House) -> None:
    assert (measured.modules, measured.lines, measured.max_lines) == (9, 34, 12)
    assert (measured.median_lines, measured.longest_function) == (2, 9)
    assert (measured.test_functions, measured.dvc_yaml_lines) == (1, 2)


def test_a_lone_module_has_one_importer_in_src(measured: house.House) -> None:
    # rounding has two; evaluate is imported by a stage alone, which is outside src
    assert measured.listed["single_importers"] == [
        "podium.analysis.metrics",
        "podium.registry.gates",
        "podium.registry.metrics",
    ]


def test_imports_inside_functions_close_a_cycle(measured: house.House) -> None:
    assert measured.listed["cycles"] == ["podium.registry.gates <-> podium.registry.metrics"]


def test_names_and_ways_are_counted_without_packages(measured: house.House) -> None:
    assert measured.listed["names_used_twice"] == ["metrics"]
    assert measured.image_to_report == 3  # evaluate, metrics, rounding
    assert measured.accuracy_to_gate == 2  # gates, metrics


def test_documentation_counts_public_names_and_what_the_body_itself_raises(measured: house.House) -> None:
    assert measured.listed["without docstring"] == ["src/podium/registry/gates.py: Gate"]
    assert measured.documented == pytest.approx(11 / 12)
    assert measured.listed["raise without Raises:"] == ["src/podium/registry/gates.py: Gate.judge"]
    assert measured.raises_documented == 0.5


def test_a_target_that_is_missed_is_named(measured: house.House) -> None:
    assert house.missed(measured) == ["cycles", "documented", "raises_documented"]


def test_the_working_tree_and_a_revision_are_measured_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(["--json", "--rev", "HEAD"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert set(both) == {"now", "before", "missed"}
    assert both["before"]["modules"] > 100
