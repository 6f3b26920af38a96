"""params.yaml, the config classes, dvc.yaml, stages/, pipeline/ and MLproject say the same thing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from podium.config.params import Params, load
from podium.config.runtime import CHANGES_NO_BYTE, Runtime

ROOT = Path(__file__).parents[2]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = list(DVC)
# A watcher is told what happens and answers nothing (models/watcher.py), so MLflow's live view cannot change a byte:
# the one import of tune and train that is not a dep. Everything it leads to is not one either.
WATCHERS = {"podium.registry.tracking"}
# Runs on every import of the package and holds nothing but the version and the schemas torchvision may lack.
EXEMPT = {ROOT / "src/podium/__init__.py"}


def body(stage: str) -> dict:
    return DVC[stage].get("do", DVC[stage])


def module_file(name: str) -> Path | None:
    base = ROOT / "src" / Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imported_modules(file: Path) -> set[str]:
    """Every podium module a file imports, at its top or inside a function, parents included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "podium":
                parts = name.split(".")
                found.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return {name for name in found if module_file(name) is not None}


def reachable_files(stage: str) -> set[Path]:
    pending, seen = [ROOT / "stages" / f"{stage}.py"], set()
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        names = imported_modules(file)
        if stage in {"tune", "train"}:
            names = {n for n in names if n not in WATCHERS and n != "podium.registry"}
        pending.extend(found for n in names if (found := module_file(n)) is not None)
    # The rooms' __init__ files hold a docstring only (tested below), so a room that is only passed through is free.
    return {f for f in seen if f.name != "__init__.py"} - EXEMPT


def code_deps(stage: str) -> list[Path]:
    return [ROOT / d for d in body(stage)["deps"] if d.startswith(("src/", "stages/"))]


def test_a_stage_is_a_script_a_module_and_an_entry_point_of_the_same_name():
    scripts = {p.stem for p in (ROOT / "stages").glob("*.py")} - {"__init__"}
    modules = {p.stem for p in (ROOT / "src/podium/pipeline").glob("*.py")} - {"__init__"}
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    assert scripts == modules == set(STAGES)
    assert set(project["entry_points"]) == {"main", *STAGES}
    for stage in STAGES:
        command = body(stage)["cmd"]
        assert command.split(" --model")[0] == f"python -m stages.{stage}"
        per_model = "foreach" in DVC[stage]
        assert per_model == ("--model ${key}" in command)
        expected = f"dvc repro {stage}" + ("@{model}" if per_model else "")
        assert project["entry_points"][stage]["command"] == expected


def test_every_stage_but_none_other_has_its_params_section():
    fields = {f.alias or n for n, f in Params.model_fields.items()}
    # `dataset` is what to fetch, `promote` is read by the command line.
    others = {"experiment", "seed", "runtime", "dataset", "models", "promote"}
    assert fields == others | set(STAGES)
    assert list(yaml.safe_load((ROOT / "params.yaml").read_text())) == [
        f.alias or n for n, f in Params.model_fields.items()
    ], "params.yaml is not in the order of the Params class"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_every_import_of_a_stage(stage):
    deps = code_deps(stage)
    uncovered = [f for f in reachable_files(stage) if not any(f == d or d in f.parents for d in deps)]
    assert not uncovered, f"{stage} imports what dvc.yaml does not list: {uncovered}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dep_of_a_stage_is_imported(stage):
    files = reachable_files(stage)
    unused = [d for d in code_deps(stage) if not any(f == d or d in f.parents for f in files)]
    assert not unused, f"dvc.yaml lists what {stage} does not import: {unused}"


FRONTS = {"podium.data.augment", "podium.models.zoo"}  # several modules that are used as one


def test_a_room_passed_through_runs_no_code():
    rooms = [init for init in (ROOT / "src/podium").glob("*/**/__init__.py") if init.parent.name != "cli"]  # no stage's
    for init in rooms:
        tree = ast.parse(init.read_text())
        package = ".".join(init.parent.relative_to(ROOT / "src").parts)
        rest = tree.body[1:]
        if package in FRONTS:  # nothing but names of its own modules
            own = [n for n in rest if isinstance(n, ast.ImportFrom) and (n.module or "").startswith(package)]
            rest = [n for n in rest if n not in own and "__all__" not in ast.unparse(n)]
        assert ast.get_docstring(tree) and not rest, f"{init} must hold a docstring and nothing else"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_tracks_exactly_the_params_a_stage_script_reads(stage):
    uses = {
        "contender": {"train", "models"},
        "search": {"tune", "models"},
        "warm_start": {"models"},
        "model": {"models"},
        "validate_": {"validate"},
    }
    read: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "stages" / f"{stage}.py").read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params":
            read |= uses.get(node.attr, {node.attr})
    if stage == "publish":
        read = {"experiment", "seed", "runtime", "dataset", "models", "publish", "promote"}
    tracked = {p.split(".")[0] for p in body(stage)["params"]}
    # `experiment` only names MLflow's experiment for the watcher; the number of workers changes no byte.
    free = {"tune": {"experiment"}, "train": {"experiment"}, "preprocess": {"runtime"}}.get(stage, set())
    assert tracked == read - free


@pytest.mark.parametrize("stage", ["tune", "train", "evaluate"])
def test_dvc_tracks_what_of_the_runtime_changes_bytes(stage):
    changing = {f"runtime.{key}" for key in Runtime.model_fields if key not in CHANGES_NO_BYTE}
    unused = {"evaluate": {"runtime.cache_gib", "runtime.compile"}}.get(stage, set())
    assert {p for p in body(stage)["params"] if p.startswith("runtime")} == changing - unused


def test_tune_and_train_cannot_see_the_test_split():
    for stage in ("tune", "train"):
        deps = " ".join(body(stage)["deps"])
        assert "prepared/test" not in deps
        assert "manifest" not in deps


def test_every_kept_experiment_is_valid():
    kept = sorted((ROOT / "experiments").glob("*.yaml"))
    assert [k.stem for k in kept]
    for file in kept:
        assert load(file).experiment == file.stem


def test_the_committed_params_are_those_of_the_sample():
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    if shown.returncode or load(ROOT / "params.yaml").experiment != "sample":
        pytest.skip("another experiment is in force, or this is no git checkout")
    assert (ROOT / "params.yaml").read_text() == (ROOT / "experiments/sample.yaml").read_text()


# What takes half a second or more to import, and which stages cannot begin without it. Everything else is imported
# where it is used (plots, Great Expectations, MLflow) or never by this stage.
HEAVY = ("cleanlab", "cv2", "fsspec", "great_expectations", "imagehash", "kagglehub", "matplotlib", "mlflow", "optuna")
HEAVY += ("requests", "scipy", "skimage", "sklearn", "timm", "torch", "torchvision")
FROM_THE_START = {
    "fetch": {"requests"},
    "preprocess": {"cv2", "imagehash", "scipy", "skimage"},
    "tune": {"optuna", "timm", "torch", "torchvision"},
    "train": {"timm", "torch", "torchvision"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_nothing_heavy_that_it_does_not_begin_with(stage):
    """The figures are in `benchmarks/stage_start.py`; this keeps the imports as they were measured."""
    watcher = ", podium.registry.tracking" if stage in {"tune", "train"} else ""
    code = f"import sys, stages.{stage}, podium.pipeline.{stage}{watcher}; print(*sys.modules.keys() & set({HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= FROM_THE_START.get(stage, set())
