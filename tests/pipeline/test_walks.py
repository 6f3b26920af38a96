"""From one set of models to another and back: `dvc.lock` and all files are those of a fresh run of the same params.

The DAG and the stage `code` are real; the other stages write a digest of what they read, which takes no time.
"""

import json
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil
import pytest
import yaml

from benchmarks.scratch import ROOT, Scratch, commit, copy_project
from podium.console.dag import list_stages
from podium.core.layout import Layout
from tests import kill_chains

_PYTHON = """\
import hashlib, json, os, pathlib, sys
from podium.console.dag import list_stages, read_yaml, value_at
from podium.core.layout import Layout
_, _, module, *rest = sys.argv
if module == "stages.code":
    os.execv(os.environ["WARM"], [os.environ["WARM"], *sys.argv[1:]])
layout, name = Layout(pathlib.Path.cwd()), "@".join([module.removeprefix("stages."), *rest[1:]])
(stage,) = [each for each in list_stages(layout) if each.name == name]
params = {key: value_at(read_yaml(layout.params), key) for key in stage.params}
seen = hashlib.sha256(json.dumps(params, sort_keys=True).encode())
for dep in map(pathlib.Path, stage.deps):
    for file in sorted(dep.rglob("*")) if dep.is_dir() else [dep]:
        seen.update(str(file).encode() + (file.read_bytes() if file.is_file() else b""))
for out in map(pathlib.Path, stage.outs):
    file = out if out.suffix else out / "result"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(seen.hexdigest() + "\\n")
for folder in ["artifacts/weights"] if module == "stages.fetch" else []:
    for model in read_yaml(layout.params)["models"]:
        pathlib.Path(folder, model).mkdir()
        pathlib.Path(folder, model, "weights.json").write_text(model)
    pathlib.Path(folder, "trained_on.json").write_text("none")
for name in ["passed.json", "validation.json"] if module == "stages.validate" else []:
    pathlib.Path("artifacts/validation", name).write_text("passed")
for name in ["best.json"] if module == "stages.tune" else []:
    pathlib.Path(stage.outs[0], name).write_text("best")
"""
A, B, C = {"architecture": "resnet10t"}, {"architecture": "convnext_atto"}, {"architecture": "resnet18"}
WISH = {"teacher": "a", "temperature": 2.0, "weight": 0.5}
FIRST: tuple[dict[str, object], dict[str, object]] = ({"a": A, "b": B}, {})
WALK: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"a": A, "b": B, "c": C}, {"c": WISH}),  # added, a student
    ({"a": A, "renamed": C}, {"renamed": WISH}),  # renamed, and another one removed
    ({"b": B, "a": A}, {}),  # as at first, in another order
]


@pytest.fixture
def repro(tmp_path: Path, warm_path: str) -> Callable[..., list[str]]:
    """Sets models and students, rebuilds, and gives the names of the stages that ran."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!{sys.executable}\n{_PYTHON}", encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def run(project: Scratch, models: dict[str, object], distil: dict[str, object]) -> list[str]:
        project.replace_params(models=models, distil=distil)
        path = f"{python.parent}:{project.environment['PATH']}"
        warm = f"{warm_path.partition(':')[0]}/python"
        done = project.run("dvc", "repro", PATH=path, PYTHONPATH=str(project.root / "src"), WARM=warm)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]

    return run


def left_in(project: Scratch) -> tuple[dict[str, object], dict[str, bytes]]:
    """`dvc.lock`, and every file of results; the order of the lock's entries is that in which stages ran first."""
    folders = (project.root / "artifacts", project.root / "reports")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return yaml.safe_load(project.read("dvc.lock")), {str(f.relative_to(project.root)): f.read_bytes() for f in files}


def test_a_walk_through_other_models_ends_as_it_began_and_a_pull_brings_all(tmp_path, repro):
    project = copy_project(tmp_path / "project")
    (project.root / "data" / "a.txt").write_text("a")
    commit(project)
    repro(project, *FIRST)
    fresh = left_in(project)
    for models, distil in WALK:
        repro(project, models, distil)
        stages = list_stages(Layout(project.root))
        assert set(yaml.safe_load(project.read("dvc.lock"))["stages"]) == {stage.name for stage in stages}
        for folder in ("models", "tuning", "evaluation", "teachers"):
            assert {place.name for place in (project.root / "artifacts" / folder).iterdir()} == set(models)
    assert left_in(project) == fresh
    shutil.rmtree(project.root / "artifacts")
    project.check("dvc", "checkout")  # what `dvc pull` does once it has the bytes
    assert set(json.loads(project.check("dvc", "status", "--json"))) == {"code", "publish"}  # which always run
    assert repro(project, *FIRST) == ["code", "publish"]
    for place in ("artifacts", "reports", "dvc.lock"):  # as after `git checkout` of what was committed before the run
        shutil.rmtree(project.root / place) if (project.root / place).is_dir() else (project.root / place).unlink()
    # what DVC does not clear away before it runs is in no run cache; without further seeds there is nothing to train
    ran = [stage for stage in repro(project, *FIRST) if not stage.startswith("repeat@")]
    assert ran == ["code", "publish"], "DVC's run cache lacks a stage"
    assert left_in(project) == fresh


def test_a_stage_runs_the_code_of_its_own_project_whichever_the_environment_holds(tmp_path):
    """Of a second clone, and of the copy that an experiment of DVC works in: results are fingerprinted with it."""
    project = copy_project(tmp_path / "clone")
    (project.root / "data" / "a.txt").write_text("a")
    commit(project)
    module = project.root / "src/podium/pipeline/code.py"
    module.write_text(f"{module.read_text(encoding='utf-8')}\nprint('edited in the clone', flush=True)\n", "utf-8")
    for command in (("dvc", "repro", "code"), ("dvc", "exp", "run", "--temp", "-f", "code")):
        done = project.run(*command, PYTHONPATH=str(ROOT / "src"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "edited in the clone" in done.stdout, command


def test_a_queued_experiment_runs_its_own_code_and_leaves_runs_but_no_version_and_no_process(tmp_path, warm_path):
    project = kill_chains.build(tmp_path / "project")
    module = project.root / "src/podium/pipeline/publish.py"
    module.write_text(f"{module.read_text(encoding='utf-8')}\nprint('edited in the clone', flush=True)\n", "utf-8")
    project.check("dvc", "exp", "run", "--queue", "-n", "one")
    module.write_text("raise SystemExit('of the clone, not of the copy')\n", "utf-8")
    done = project.run("dvc", "exp", "run", "--run-all", PATH=warm_path, timeout=900)
    said = project.check("dvc", "queue", "logs", "one")
    assert done.returncode == 0 and "edited in the clone" in said, done.stdout + done.stderr + said
    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    found = sorted(run.data.tags["podium.kind"] for run in runs)
    assert found == ["experiment", "train", "trial", "trial", "trial", "tune"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert client.search_registered_models() == []
    assert not (project.root / "artifacts").exists()
    assert [file.name for file in (project.root / "reports").rglob("*")] == ["test_openings.jsonl"], "it looked, too"
    shown = psutil.process_iter(["cmdline", "cwd"])  # DVC's worker ends when it has had nothing to do for a while
    left = [each for each in shown if str(project.root) in f"{each.info['cmdline']} {each.info['cwd']}"]
    assert psutil.wait_procs(left, timeout=600)[1] == []
