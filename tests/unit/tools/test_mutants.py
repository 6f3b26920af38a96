"""The mutants: each changes one thing and no message; a change that a test sees is told from one that it misses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools import mutants

SOURCE = '''"""A module. 1 + 1."""
from podium import x


def rate(a: int = 1, *, b: int = 2) -> float:
    """Returns a < b."""
    if a < b:
        raise ValueError(f"{a + 1} is below")
    return max(a, b) - score(left=a, right=b)
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src/podium").mkdir(parents=True)
    (tmp_path / "src/podium/rate.py").write_text(SOURCE)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "TARGETS", {"rate.py": ("test_rate.py",)})
    return tmp_path


def test_each_mutant_changes_one_thing_and_no_words(project: Path) -> None:
    found = mutants.mutants("rate.py")
    assert [(m.line, m.before, m.after) for m in found] == [
        (5, "1", "0"),
        (5, "1", "2"),
        (5, "2", "1"),
        (5, "2", "3"),
        (7, "a < b", "a <= b"),
        (7, "a < b", "a > b"),
        (9, "max", "min"),
        (9, "max(a, b) - score(left=a, right", "max(a, b) + score(left=a, right"),
        (9, "score(left=a, right=b)", "score(left=b, right=a)"),
    ]
    assert [m.name for m in found] == [f"rate:{number}" for number in range(9)]
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in found:
        assert sum(old != new for old, new in zip(plain, mutant.text.splitlines(), strict=True)) == 1


def test_the_draw_is_repeatable_and_one_mutant_can_be_asked_for(project: Path) -> None:
    first = [m.name for _, m in mutants.draw([], 4, seed=1)]
    assert len(first) == 4 and first == [m.name for _, m in mutants.draw([], 4, seed=1)]
    assert [m.name for _, m in mutants.draw(["rate:6"], 4, seed=1)] == ["rate:6"]


def test_every_target_and_its_tests_exist() -> None:
    for module, tests in mutants.TARGETS.items():
        assert (mutants.ROOT / "src/podium" / module).is_file()
        assert all((mutants.ROOT / "tests/unit" / name).is_file() for name in tests)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_failing_test_kills(tmp_path: Path) -> None:
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests/unit/test_good.py").write_text("def test_it():\n    assert 1 == 1\n")
    (tmp_path / "tests/unit/test_bad.py").write_text("def test_it():\n    assert 1 == 2\n")
    assert not mutants.tests_fail(tmp_path, ["test_good.py"])
    assert mutants.tests_fail(tmp_path, ["test_bad.py"])
