"""Every file of an experiment is named in one place."""

import ast
from pathlib import Path

from podium.core import layout
from podium.core.layout import Layout

PACKAGE = Path(layout.__file__).parents[1]
NAMES = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str) and "." in value}
FOLDERS = ("artifacts/", "reports/", ".podium/")


def strings(file: Path) -> list[str]:
    """Every string of a module but its docstrings and the parts of f-strings, which are messages."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    free = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    free |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in free
    ]


def test_no_other_module_names_a_file_of_the_project():
    found = {
        f"{file.relative_to(PACKAGE)}: {text}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.name != "layout.py"
        for text in strings(file)
        if text in NAMES or (text.startswith(FOLDERS) and " " not in text)
    }
    assert not found


def test_a_throw_away_copy_of_an_experiment_knows_the_root_people_look_at():
    assert Layout(Path("/p/.dvc/tmp/exps/standalone/x1")).main_root == Path("/p")
    assert Layout(Path("/p")).main_root == Path("/p")
