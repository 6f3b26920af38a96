"""A fingerprint changes with what can change a result, and with nothing else."""

import json
from pathlib import Path

import pytest

from podium.core import identity
from podium.core.errors import DataError
from podium.core.identity import Code, fingerprint, stage_code

TRAIN = '''
"""Stage train."""
from podium.models import engine
from podium.console.progress import show_progress
'''
ENGINE = '''
"""The loop."""
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from podium.report import page


class Loop:
    """What it is."""

    steps = 3
    """How many."""

    def fit(self, rate: float = 1.0) -> float:
        """Fits."""
        from podium.data import loader  # at the point of use

        return rate * loader.batches(self.steps)
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stage that imports an engine, which imports a loader inside a function; a report imported for types only."""
    files = {
        "stages/train.py": TRAIN,
        "src/podium/models/engine.py": ENGINE,
        "src/podium/models/__init__.py": '"""Models."""\n',
        "src/podium/models/losses.py": "FOCAL = 2\n",
        "src/podium/data/__init__.py": '"""Data."""\n',
        "src/podium/data/loader.py": 'PAGES = "pages"\n\n\ndef batches(n): return n\n',
        "src/podium/data/pages/page.html.j2": "<p>",
        "src/podium/data/unread/page.html.j2": "<p>",
        "src/podium/console/progress.py": "def show_progress(): ...\n",
        "src/podium/report.py": "page = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(identity, "_PACKAGE", tmp_path / "src/podium")
    return tmp_path


def test_order_of_parts_does_not_matter():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 1})


def test_the_code_of_a_stage_is_the_modules_and_libraries_it_imports(project):
    code = stage_code(project, "train")
    assert list(code.modules) == ["podium.data.loader", "podium.models.engine", "stages.train"]
    assert list(code.libraries) == ["numpy", "torch"]
    assert code.libraries["numpy"] == identity.version("numpy")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("models/engine.py", "  # at the point of use", ""),
        ("models/engine.py", "# at the point", "# elsewhere, at the point"),
        (
            "models/engine.py",
            '"""Fits."""',
            '"""Fits a network.\n\n        Args:\n            rate: of it.\n        """',
        ),
        ("models/engine.py", '"""How many."""', '"""Steps of an epoch."""'),
        ("models/engine.py", '"""The loop."""\n', ""),
        ("models/engine.py", "rate * loader", "(\n            rate\n            * loader"),
        ("data/loader.py", "def batches(n): return n", "def batches(n):\n    return n"),
        ("models/losses.py", "2", "3"),  # imported by nobody
        ("report.py", "1", "2"),  # for the type checker only
        ("console/progress.py", "...", "print(1)"),
        ("models/__init__.py", "Models", "Networks"),
        ("data/unread/page.html.j2", "<p>", "<b>"),
    ],
)
def test_comments_docstrings_line_breaks_and_code_that_is_not_imported_change_nothing(project, file, old, new):
    before = stage_code(project, "train")
    edit(project, file, old, f"{new}.batches(self.steps)\n        )\n#" if new.startswith("(\n") else new)
    assert stage_code(project, "train") == before


@pytest.mark.parametrize(
    ("file", "old", "new", "module"),
    [
        ("models/engine.py", "= 1.0", "= 2.0", "podium.models.engine"),
        ("models/engine.py", "steps = 3", "steps = 3.0", "podium.models.engine"),
        ("models/engine.py", "rate * loader", "rate / loader", "podium.models.engine"),
        ("data/loader.py", "return n", "return -n", "podium.data.loader"),
        ("data/loader.py", "(n)", "(n, m=None)", "podium.data.loader"),
        ("data/pages/page.html.j2", "<p>", "<b>", "podium.data.loader"),  # the folder it names
    ],
)
def test_code_of_an_imported_module_counts(project, file, old, new, module):
    before = stage_code(project, "train").modules
    edit(project, file, old, new)
    after = stage_code(project, "train").modules
    assert {name for name in after if after[name] != before[name]} == {module}


def test_a_new_import_is_part_of_it(project):
    edit(project, "models/engine.py", "import numpy as np", "import numpy\nfrom podium.models.losses import FOCAL")
    assert "podium.models.losses" in stage_code(project, "train").modules


def test_a_stage_without_script_is_named(project):
    with pytest.raises(DataError, match=r"stages/tune\.py does not exist"):
        stage_code(project, "tune")


def test_it_is_written_as_modules_and_libraries():
    assert Code({"a": "1"}, {"b": "2"}).json() == {"modules": {"a": "1"}, "libraries": {"b": "2"}}


def edit(project: Path, file: str, old: str, new: str) -> None:
    path = project / "src/podium" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_readings_are_kept_and_give_the_same_code(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = stage_code(project, "train")
    identity.keep_readings(project)
    identity._readings.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(identity, "_read", None)  # nothing is parsed again
        assert stage_code(project, "train") == code
        (project / "src/podium/data/pages/page.html.j2").write_text("<b>")
        assert stage_code(project, "train") != code
    (project / "src/podium/models/losses.py").write_text("FOCAL = 3\n")
    identity._readings.cache_clear()
    assert stage_code(project, "train").modules["podium.models.engine"] == code.modules["podium.models.engine"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"reader": "me", "modules": {}}'])
def test_damaged_readings_are_read_anew(project: Path, text: str) -> None:
    code = stage_code(project, "train")
    identity.keep_readings(project)
    (project / ".podium" / "modules.json").write_text(text)
    identity._readings.cache_clear()
    assert stage_code(project, "train") == code


def test_readings_of_another_shape_are_read_anew(project: Path) -> None:
    code = stage_code(project, "train")
    identity.keep_readings(project)
    file = project / ".podium" / "modules.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "modules": {key: [1, 2] for key in kept["modules"]}}))
    identity._readings.cache_clear()
    assert stage_code(project, "train") == code
