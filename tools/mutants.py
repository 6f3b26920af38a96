"""Do the tests notice a wrong number? Change one thing in the code that makes numbers, run its tests, see who survives.

    python -m tools.mutants                        # 100 mutants, drawn evenly from all targets
    python -m tools.mutants --limit 0              # all of them
    python -m tools.mutants --only statistics      # of one module; statistics:12 is one mutant, as the list numbers it

The tree is copied, and one file of the copy changes at a time: comparisons, signs, constants by one, `not`,
conditions, `min` for `max`, keyword arguments with each other's values. Messages, docstrings and types are left alone.
A survivor is a test that is missing, or a change that no user could notice (another way to the same number).

POSIX only: each run is a fork of a process that has imported the heavy libraries, so that it takes a second or two.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Module below src/podium -> its tests below tests/unit. A module that moves moves here too.
TARGETS = {
    "analysis/calibration.py": ("analysis/test_calibration.py",),
    "analysis/metrics.py": ("analysis/test_metrics.py",),
    "analysis/statistics.py": ("analysis/test_statistics.py",),
    "core/identity.py": ("core/test_identity.py",),
    "curation/splits.py": ("curation/test_splits.py",),
    "models/learner.py": ("models/test_learner.py", "models/test_engine.py"),
    "models/optimisers.py": ("models/test_optimisers.py",),
    "registry/gates.py": ("registry/test_gates.py",),
}
HEAVY: tuple[str, ...] = ("cv2", "hypothesis", "matplotlib.pyplot", "mlflow.pyfunc", "optuna", "pandas", "pyarrow")
HEAVY += ("pytest", "safetensors.torch", "scipy.sparse.csgraph", "scipy.stats", "sklearn.metrics", "torch")
KEPT = "podium.core.vision"  # imports torchvision and timm; the one module of ours that is not imported anew each time
TIMEOUT = 300.0  # seconds of the tests of one mutant; a loop that never ends counts as noticed
LOG = "mutants.log"  # what the last tests printed, in the copy

LARGEST = 1000  # constants above it are limits of memory, where one more is no mistake

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.RShift: ast.LShift,
    ast.LShift: ast.RShift,
}
NAMES = {"min": "max", "argmin": "argmax", "any": "all", "floor": "ceil", "sum": "mean", "minimum": "maximum"}
NAMES |= {"precision": "recall", "weighted": "macro"}
NAMES |= {new: old for old, new in NAMES.items()}
WORDS = {"macro": "weighted", "weighted": "macro", "true": "false", "critical": "warning"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file: where, what stood there, what stands there now, and the file's new text."""

    name: str
    line: int
    before: str
    after: str
    text: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may stand in a node's place, each a new node."""
    match node:
        case ast.Compare(ops=ops):
            for place, operator in enumerate(ops):
                for other in COMPARISONS[type(operator)]:
                    yield ast.Compare(node.left, [*ops[:place], other(), *ops[place + 1 :]], node.comparators)
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(op)](), node.right)
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(op)](), node.value)
        case ast.BoolOp():
            yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.If(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield ast.If(ast.UnaryOp(ast.Not(), test), node.body, node.orelse)
        case ast.Call(keywords=keywords):
            for place in range(len(keywords) - 1):
                left, right = keywords[place : place + 2]
                swapped = [ast.keyword(left.arg, right.value), ast.keyword(right.arg, left.value)]
                yield ast.Call(node.func, node.args, [*keywords[:place], *swapped, *keywords[place + 2 :]])
        case ast.Constant() | ast.Name() | ast.Attribute():
            yield from _changed_leaf(node)


def _changed_leaf(node: ast.Constant | ast.Name | ast.Attribute) -> Iterator[ast.AST]:
    """What may stand in the place of a constant or a name."""
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as number) if abs(number) <= LARGEST:
            yield ast.Constant(number + 1)
            yield ast.Constant(number - 1)
        case ast.Constant(value=str(word)) if word in WORDS:
            yield ast.Constant(WORDS[word])
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], node.ctx)
        case ast.Attribute(attr=name) if name in NAMES:
            yield ast.Attribute(node.value, NAMES[name], node.ctx)


def changeable(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yields the nodes that may change, with the field of their parent (and place in it) in which they stand.

    Left out: annotations, decorators, docstrings, f-strings, what is raised, and conditions on TYPE_CHECKING.
    """
    pending: list[ast.AST] = [tree]
    while pending:
        parent = pending.pop()
        for field, value in ast.iter_fields(parent):
            if field in {"annotation", "returns", "decorator_list"}:
                continue
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                left_out = docstring or isinstance(child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom)
                if not isinstance(child, ast.AST) or left_out or "TYPE_CHECKING" in ast.dump(child)[:60]:
                    continue
                yield parent, field, place
                pending.append(child)


def mutants(path: str) -> list[Mutant]:
    """Returns every mutant of a module below src/podium, in the order of its lines."""
    source = (ROOT / "src/podium" / path).read_text()
    tree = ast.parse(source)
    found: list[tuple[int, str, str, str]] = []
    for parent, field, place in list(changeable(tree)):
        value = getattr(parent, field)
        node = value if place is None else value[place]
        for changed in changes(node):
            _put(parent, field, place, changed)
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, place, node)
            before, after = (ast.unparse(n.test if isinstance(n, ast.If) else n) for n in (node, changed))
            found.append((getattr(node, "lineno", 0), *difference(before, after), text))
    stem = Path(path).stem
    return [Mutant(f"{stem}:{number}", *rest) for number, rest in enumerate(sorted(found))]


def difference(before: str, after: str, around: int = 20) -> tuple[str, str]:
    """Returns two texts without the long beginning and end that they share."""

    def shared(one: str, other: str) -> int:
        return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

    start = shared(before, after)
    end = shared(before[start:][::-1], after[start:][::-1])
    first, last = max(start - around, 0), max(end - around, 0)
    return before[first : len(before) - last], after[first : len(after) - last]


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    """Sets a field of a node, or one place of it."""
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def draw(asked: Sequence[str], limit: int, seed: int) -> list[tuple[str, Mutant]]:
    """Returns the mutants to run with their modules: the same number of each module, as far as it has so many."""
    drawn = []
    of_module = {path: mutants(path) for path in TARGETS}
    for path, every in of_module.items():
        chosen = [m for m in every if not asked or m.name in asked or m.name.split(":")[0] in asked]
        most = -(-limit // len(TARGETS)) if limit and not asked else len(chosen)
        kept = random.Random(f"{seed}{path}").sample(chosen, min(most, len(chosen)))
        drawn += [(path, m) for m in sorted(kept, key=lambda m: int(m.name.split(":")[1]))]
    return drawn


def copy_tree(target: Path) -> None:
    """Copies what git knows, or does not ignore, of the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith("dvcstore/") and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def _import_heavy(tree: Path) -> None:
    """Imports what the tests need and mutants are not made of, so that every fork has it."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    sys.path[:0] = [str(tree / "src"), str(tree)]
    sys.dont_write_bytecode = True
    for module in (*HEAVY, KEPT):
        importlib.import_module(module)
    for name in [n for n in sys.modules if n.split(".")[0] == "podium" and n != KEPT]:
        del sys.modules[name]


def _run_tests(tree: Path, tests: Sequence[str]) -> None:
    """In a process of its own: the tests of one module, stopped at the first failure; ends with pytest's code."""
    import pytest

    log = os.open(tree / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(tree)
    files = [f"tests/unit/{name}" for name in tests]
    early = "ignore::pytest.PytestAssertRewriteWarning"  # HEAVY holds a plugin of pytest
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-W", early, "--rootdir", str(tree)]
    code = pytest.main([*options, *files])
    os._exit(int(code))


def tests_fail(tree: Path, tests: Sequence[str], timeout: float = TIMEOUT) -> bool:
    """Whether the tests of a module fail, or do not end, in a copy of the project."""
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(tree, tests))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the mutants and prints the survivors; returns 2 when tests fail without any mutant, else 0."""
    parser = argparse.ArgumentParser(description="Do the tests notice a wrong number?")
    parser.add_argument("--only", nargs="*", default=[], help="modules (statistics) or mutants (statistics:12)")
    parser.add_argument("--limit", type=int, default=100, help="how many, 0 for all; ignored with --only")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--list", action="store_true", help="name the mutants, run none")
    asked = parser.parse_args(arguments)
    drawn = draw(asked.only, asked.limit, asked.seed)
    lines = [f"{m.name:16} line {m.line:3}  {m.before}  ->  {m.after}" for _, m in drawn]
    if asked.list:
        print("\n".join(lines))
        return 0
    survivors = []
    with tempfile.TemporaryDirectory(prefix="podium-mutants-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        _import_heavy(tree)
        for path in dict.fromkeys(path for path, _ in drawn):
            if tests_fail(tree, TARGETS[path]):
                print((tree / LOG).read_text(), file=sys.stderr)
                print(f"the tests of {path} fail without any change: mend them first", file=sys.stderr)
                return 2
        for (path, mutant), line in zip(drawn, lines, strict=True):
            file = tree / "src/podium" / path
            original = file.read_text()
            file.write_text(mutant.text)
            killed = tests_fail(tree, TARGETS[path])
            file.write_text(original)
            print(("killed   " if killed else "SURVIVED ") + line, flush=True)
            survivors += [] if killed else [line]
    print(f"\n{len(drawn) - len(survivors)} of {len(drawn)} mutants killed; survivors:", *survivors, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
