"""Chains of kills: `dvc repro` is stopped at random moments in random ways until it comes to its end.

A chain has a seed, from which who is stopped, how and when follows: the stage, dvc, or both with all they started, by
KILL, TERM or INT. After each stop the next `dvc repro` begins at once, as `make repro` begins it.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil

from benchmarks.scratch import Scratch, commit, copy_project
from podium.console.dvc_files import mend
from podium.console.openings import read_openings
from podium.core.layout import Layout
from tests.small_project import GATES, SPLIT_SEED, draw_images

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("stage", "dvc", "group")
EXPORTS = ["onnx", "torch_export"] if os.environ.get("PODIUM_LONG") else []  # else `test_own_images.py` has them
_PATIENCE = 600.0


def build(root: Path) -> Scratch:
    """The whole DAG with one network of a few thousand weights, committed, not run yet."""
    project = copy_project(root)
    draw_images(root / "data" / "photos")
    project.change_params(
        experiment="killed",
        dataset={"source": "folder", "location": "data/photos", "licence": "CC0-1.0"},
        preprocess={"image_size": 32, "split_seed": SPLIT_SEED},
        models={"tiny": {"architecture": "test_resnet"}},
        runtime={"threads": 1},
        tune={"trials": 3, "epochs": 1},
        train={"epochs": 4, "batch_size": 8},
        evaluate={"bootstrap_samples": 50},
        explain={"checks": {"images": 6, "deletion": 3, "randomised": 2}},
        publish={"registered_model": "killed", "export": EXPORTS},
        **GATES,
    )
    commit(project)
    return project


@dataclass(frozen=True)
class Left:
    """What an experiment that came to its end left: a digest a file, `dvc.lock`, what MLflow holds, for which models
    the test split was opened; when and by which process is another matter each time."""

    files: dict[str, str]
    openings: list[tuple[str, str]]
    lock: str
    runs: list[tuple[str, str]]
    models: list[str]


def left_by(project: Scratch) -> Left:
    """What is the same however often a run was stopped; measured times are not among it."""
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("killed")
    runs = client.search_runs([experiment.experiment_id])
    folders = (project.root / "artifacts", project.root / "reports")
    left_out = ("report.html", "test_openings.jsonl")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name not in left_out]
    return Left(
        files={str(f.relative_to(project.root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)},
        openings=[opening.key for opening in read_openings(Layout(project.root))],
        lock=project.read("dvc.lock"),
        runs=sorted((run.data.tags["podium.kind"], run.info.status) for run in runs),
        models=[str(model.status) for model in client.search_logged_models([experiment.experiment_id])],
    )


def differences(left: Left, expected: Left) -> list[str]:
    """What is not as in a run that nobody stopped: files by name, and the other fields."""
    names = sorted(left.files.keys() | expected.files.keys())
    found = [name for name in names if left.files.get(name) != expected.files.get(name)]
    found += [name for name in ("openings", "lock", "runs") if getattr(left, name) != getattr(expected, name)]
    if set(left.models) not in ({"LoggedModelStatus.READY"}, set(expected.models)):
        found.append("models")
    return found


def run_chain(start: Path, root: Path, seed: int, *, stops: int, seconds: float, path: str) -> tuple[Left, list[str]]:
    """Runs one chain in a copy of a project that was not run yet.

    Args:
        start: the project.
        root: where its copy goes.
        seed: of the chain.
        stops: at most so many.
        seconds: a run is stopped within this time.
        path: the PATH.

    Returns:
        What is left in the end, and what was done to whom, when.

    Raises:
        AssertionError: the last run, which nobody stopped, did not come to its end.
    """
    shutil.copytree(start, root, symlinks=True)
    project, chance, told = Scratch(root), random.Random(seed), []
    for _ in range(stops):
        target, number = chance.choice(TARGETS), chance.choice(SIGNALS)
        after = chance.uniform(0, seconds)
        told.append(f"{number.name} to {target} after {after:.1f} s")
        if _stopped(project, target, number, after, path) == 0:
            break
    mend(Layout(project.root))  # as `make repro` does before all else
    last = project.run("dvc", "repro", timeout=_PATIENCE, PATH=path)
    assert last.returncode == 0, f"seed {seed}, {told}:\n{last.stdout[-3000:]}{last.stderr[-3000:]}"
    return left_by(project), told


def _stopped(project: Scratch, target: str, number: signal.Signals, after: float, path: str) -> int:
    """Starts a run, stops it, and waits for the end of `dvc`, not for what it may have left behind."""
    mend(Layout(project.root))  # as `make repro` does before all else
    dvc = subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.root,
        env={**project.environment, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with suppress(subprocess.TimeoutExpired):
        return dvc.wait(after)
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if target == "group":
            os.killpg(dvc.pid, number)
        elif target == "dvc":
            dvc.send_signal(number)
        else:
            _stage_of(dvc).send_signal(number)
    return dvc.wait(_PATIENCE)


def _stage_of(dvc: subprocess.Popen[bytes]) -> psutil.Process:
    """The process of the stage that runs now or next."""
    process = psutil.Process(dvc.pid)
    while not (children := process.children(recursive=True)):
        time.sleep(0.01)
        if dvc.poll() is not None:
            raise ProcessLookupError
    return children[-1]
