"""Measure the shape of the code: how many modules, how long, who imports whom, what is documented.

    python -m tools.house                     # the working tree, beside the targets
    python -m tools.house --rev HEAD~20       # an older revision, measured by the same script, beside it
    python -m tools.house --list              # also names what is counted: lone modules, cycles, missing docstrings
    python -m tools.house --check             # exit 1 when a target is missed

Both columns come from the text alone (`ast`), nothing is imported. Every definition stands beside its measure below.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import statistics
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREES = ("src", "stages", "tests")
# Where an image passes on its way to the report. Training is a branch of its own.
IMAGE_TO_REPORT = ("preprocess", "validate", "evaluate", "compare", "publish")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """The measures of one revision; the fields are rows of the table, in its order."""

    modules: int  # files *.py below src, packages' __init__ included
    lines: int  # of all of them, blank lines and comments included
    median_lines: float
    max_lines: int
    longest_function: int  # lines from `def` to the end, signature and docstring included, decorators not
    single_importers: int  # modules (no __init__) that exactly one other module of src imports
    cycles: int  # strongly connected components of two or more modules; imports in functions and for types count
    names_used_twice: int  # file names (without __init__) that more than one folder of src has
    image_to_report: int  # modules (no __init__) in the import closure of the stages in IMAGE_TO_REPORT
    accuracy_to_gate: int  # the same of the registry's module `gates`: what its reader may have to open
    documented: float  # share of public modules, classes, functions, methods and properties with a docstring
    raises_documented: float  # share with `Raises:` of the public functions whose own body raises; cli/ not counted
    dvc_yaml_lines: int
    test_functions: int  # `def test_...` at the top of a module below tests, before parameters multiply them
    listed: dict[str, list[str]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Target:
    """The bound a measure must keep: at most (`<=`), below (`<`) or at least (`>=`) a value."""

    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a measured value keeps the bound."""
        return {"<=": value <= self.bound, "<": value < self.bound, ">=": value >= self.bound}[self.sign]


TARGETS = {
    "modules": Target("<=", 165),
    "lines": Target("<=", 24_000),
    "max_lines": Target("<=", 350),
    "longest_function": Target("<", 50),
    "single_importers": Target("<=", 35),
    "cycles": Target("<=", 0),
    "documented": Target(">=", 1.0),
    "raises_documented": Target(">=", 1.0),
    "dvc_yaml_lines": Target("<", 120),
}


def read_revision(revision: str | None) -> dict[str, str]:
    """Returns the texts by path of the measured files, from a git revision or (None) from the working tree."""
    if revision is None:
        files = [p for tree in TREES for p in (ROOT / tree).rglob("*.py")] + [ROOT / "dvc.yaml"]
        return {p.relative_to(ROOT).as_posix(): p.read_text() for p in sorted(files)}
    command = ["git", "archive", revision, *TREES, "dvc.yaml"]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    texts = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith((".py", "dvc.yaml")) else None
            if content is not None:
                texts[member.name] = content.read().decode()
    return texts


def module_name(path: str) -> str:
    """Returns the dotted name of a file: `src/podium/core/files.py` is `podium.core.files`."""
    parts = path.removesuffix(".py").removeprefix("src/").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    """Returns the known modules that a module imports, anywhere in it; not a package it only passes through."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in known else node.module for name in names)
    return found & known


def closure(graph: Mapping[str, set[str]], starts: Sequence[str]) -> set[str]:
    """Returns the starts and everything they lead to."""
    seen: set[str] = set()
    pending = list(starts)
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(graph.get(name, ()))
    return seen


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the sets of two or more modules that import each other, directly or not (quadratic, which is enough)."""
    reached = {name: closure(graph, sorted(targets)) for name, targets in graph.items()}
    components = {tuple(sorted(o for o in reached[n] if o in graph and n in reached[o])) for n in graph}
    return [list(component) for component in sorted(components) if len(component) > 1]


def public_nodes(tree: ast.Module) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    """Yields the module, its public classes and functions, and their public methods and properties, by dotted name."""
    yield "", tree
    pending: list[tuple[str, list[ast.stmt]]] = [("", tree.body)]
    while pending:
        prefix, body = pending.pop()
        for node in body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    pending.append((f"{prefix}{node.name}.", node.body))


def raises(function: Function) -> bool:
    """Whether a function's own body raises; a bare `raise` and what nested functions raise do not count."""
    pending: list[ast.AST] = [*function.body]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    return False


def measure(texts: Mapping[str, str]) -> House:
    """Measures one revision from the texts of its files."""
    trees = {path: ast.parse(text) for path, text in texts.items() if path.endswith(".py")}
    src = {module_name(path): path for path in trees if path.startswith("src/")}
    lines = {path: texts[path].count("\n") for path in src.values()}
    stages = {module_name(path): path for path in trees if path.startswith("stages/")}
    graph = {name: imports(trees[path], set(src)) - {name} for name, path in {**src, **stages}.items()}
    plain = {name for name, path in src.items() if not path.endswith("__init__.py")}
    importers = Counter(target for name in src for target in graph[name])
    lone = sorted(name for name in plain if importers[name] == 1)
    twice = sorted(s for s, n in Counter(name.rpartition(".")[2] for name in plain).items() if n > 1)
    rings = cycles({name: graph[name] for name in src})
    longest = max(
        ((f.end_lineno or f.lineno) - f.lineno + 1, f"{path}: {f.name}")
        for path in src.values()
        for f in ast.walk(trees[path])
        if isinstance(f, Function)
    )
    public = [(f"{path}: {n}".strip(": "), node) for path in src.values() for n, node in public_nodes(trees[path])]
    undocumented = [name for name, node in public if not ast.get_docstring(node)]
    # The docstring of a command is what its --help shows; its errors are listed once, in the runbook.
    raising = [
        (name, node) for name, node in public if isinstance(node, Function) and "/cli/" not in name and raises(node)
    ]
    silent = [name for name, node in raising if "Raises:" not in (ast.get_docstring(node) or "")]
    gates = [name for name in src if name.startswith("podium.registry.") and name.endswith(".gates")]
    return House(
        modules=len(src),
        lines=sum(lines.values()),
        median_lines=statistics.median(lines.values()),
        max_lines=max(lines.values()),
        longest_function=longest[0],
        single_importers=len(lone),
        cycles=len(rings),
        names_used_twice=len(twice),
        image_to_report=len(closure(graph, [f"stages.{stage}" for stage in IMAGE_TO_REPORT]) & plain),
        accuracy_to_gate=len(closure(graph, gates) & plain),
        documented=1 - len(undocumented) / len(public),
        raises_documented=1 - len(silent) / max(len(raising), 1),
        dvc_yaml_lines=texts["dvc.yaml"].count("\n"),
        test_functions=sum(len(re.findall(r"^def test_", texts[p], re.M)) for p in trees if p.startswith("tests/")),
        listed={
            "longest_function": [longest[1]],
            "longest modules": [f"{n} {path}" for path, n in sorted(lines.items(), key=lambda item: -item[1])[:5]],
            "single_importers": lone,
            "cycles": [" <-> ".join(ring) for ring in rings],
            "names_used_twice": twice,
            "without docstring": undocumented,
            "raise without Raises:": silent,
        },
    )


def missed(house: House) -> list[str]:
    """Returns the names of the measures that miss their target."""
    return [name for name, target in TARGETS.items() if not target.holds(getattr(house, name))]


def table(now: House, before: House | None, revision: str | None) -> Iterator[str]:
    """Yields the lines of the table: measure, before (when a revision was asked for), now, target."""
    yield f"{'measure':20}" + (f"{(revision or '')[:9]:>10}" if before else "") + f"{'now':>10}  target"
    for name in (n for n in House.__dataclass_fields__ if n != "listed"):
        values = [getattr(house, name) for house in (before, now) if house is not None]
        shown = [f"{v:.2%}" if name.endswith("documented") else f"{v:,g}" if v < 1e6 else f"{v:,}" for v in values]
        target = TARGETS.get(name)
        bound = "" if target is None else f"{target.sign} {target.bound:g}"
        verdict = "" if target is None or target.holds(values[-1]) else "  missed"
        yield f"{name.replace('_', ' '):20}" + "".join(f"{v:>10}" for v in shown) + f"  {bound}{verdict}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the measures; returns 1 when --check finds a missed target, else 0."""
    parser = argparse.ArgumentParser(description="Measure the shape of the code.")
    parser.add_argument("--rev", help="a git revision to measure beside the working tree")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--list", action="store_true", help="also name what is counted")
    parser.add_argument("--check", action="store_true", help="exit 1 when the working tree misses a target")
    asked = parser.parse_args(arguments)
    now = measure(read_revision(None))
    before = measure(read_revision(asked.rev)) if asked.rev else None
    if asked.json:
        print(json.dumps({"now": vars(now), "before": vars(before) if before else None, "missed": missed(now)}))
    else:
        print("\n".join(table(now, before, asked.rev)))
        if asked.list:
            print("\n".join(f"\n{n}\n" + "\n".join(f"  {item}" for item in items) for n, items in now.listed.items()))
    return int(asked.check and bool(missed(now)))


if __name__ == "__main__":
    sys.exit(main())
