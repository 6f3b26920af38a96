"""Whatever is done to a project, each state of it is one run in MLflow, told once, with how each stage's results came.

A walk has a seed, from which what is done follows. The long form takes more and longer ones:
`PODIUM_LONG=1 python -m pytest -s tests/pipeline/test_state_runs.py`.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import mlflow
import psutil
import pytest

from benchmarks.scratch import Scratch
from podium.config.params import load
from podium.console.dag import list_stages
from podium.console.dvc_files import mend
from podium.console.origins import Origin
from podium.core.layout import Layout
from podium.report.results import read_results
from tests import kill_chains

SEEDS, STEPS = (range(8), 11) if os.environ.get("PODIUM_LONG") else ((29,), 4)
NOWHERE = "http://127.0.0.1:9"
ALWAYS = {"code", "publish"}
FULL = ("train", "tune", "repeat", "trial")  # kinds of runs that tell of a result in full
_DOUBLES = (
    "SELECT metrics.run_uuid, key, step, COUNT(*) FROM metrics JOIN runs ON runs.run_uuid = metrics.run_uuid "
    "WHERE lifecycle_stage = 'active' AND key NOT LIKE 'system/%' AND key NOT LIKE 'measured/%' "
    "GROUP BY metrics.run_uuid, key, step HAVING COUNT(*) > 1"
)


class Walk:
    """A project, what is done to it, and which run each of its states has."""

    def __init__(self, project: Scratch, seed: int, path: str) -> None:
        self.project, self.chance, self.path = project, random.Random(seed), path
        self.layout = Layout(project.root)
        self.runs: dict[str, str] = {}  # by state
        self.states: dict[str, str] = {}  # by params
        self.wipes = 0
        self.param = {"top_k": 3, "weight_decay": 0.05}

    @property
    def client(self) -> mlflow.MlflowClient:
        """Of the store that is there now: MLflow keeps what it opened under an address, also when it was deleted."""
        return mlflow.MlflowClient(f"sqlite:///{self.project.root}/{'./' * self.wipes}mlflow.db")

    def repro(self, folder: Path | None = None, **extra: str) -> set[str]:
        """A `dvc repro` that comes to its end; the stages that ran."""
        where = Scratch(folder) if folder else self.project
        mend(Layout(where.root))
        done = where.run("dvc", "repro", timeout=900, PATH=self.path, **extra)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}

    def flip(self) -> dict[str, object]:
        """Another value of a param, or the one that it had before; as arguments of `dvc exp run`."""
        name, values = self.chance.choice([("top_k", (2, 3)), ("top_k", (2, 3)), ("weight_decay", (0.05, 0.04))])
        self.param[name] = next(value for value in values if value != self.param[name])
        return {"evaluate.top_k": self.param["top_k"], "train.weight_decay": self.param["weight_decay"]}

    def apply(self) -> None:
        """Writes the params in force."""
        self.project.change_params(
            evaluate={"top_k": self.param["top_k"]}, train={"weight_decay": self.param["weight_decay"]}
        )

    def commit(self) -> None:
        self.project.check("git", "add", "-A")
        self.project.run("git", "commit", "-q", "-m", "results")

    # What is done. Each gives the stages that ran in the workspace, None where that is not known.

    def no_op(self) -> set[str] | None:
        return self.repro()

    def flipped(self) -> set[str] | None:
        self.flip()
        self.apply()
        return self.repro()

    def collected_and_pulled(self) -> set[str] | None:
        self.project.check("dvc", "push", "-q")
        self.project.check("dvc", "gc", "-q", "-w", "-f")
        shutil.rmtree(self.project.root / "artifacts")
        shutil.rmtree(self.project.root / ".dvc/cache")
        self.project.check("dvc", "pull", "-q")
        return self.repro()

    def from_run_cache(self) -> set[str] | None:
        shutil.rmtree(self.project.root / "artifacts")
        (self.project.root / "dvc.lock").unlink()
        return self.repro()

    def killed(self) -> set[str] | None:
        self.flip()
        self.apply()
        dvc = subprocess.Popen(
            ["dvc", "repro"],
            cwd=self.project.root,
            env={**self.project.environment, "PATH": self.path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            dvc.wait(self.chance.uniform(1, 15))
        with suppress(ProcessLookupError):
            os.killpg(dvc.pid, signal.SIGKILL)
        dvc.wait()
        self.repro()
        return None

    def second_clone(self) -> set[str] | None:
        self.project.check("dvc", "push", "-q")
        self.commit()
        clone = self.project.root.with_name("clone")
        self.project.check("git", "clone", "-q", str(self.project.root), str(clone))
        Scratch(clone).check("dvc", "pull", "-q")
        self.repro(clone, MLFLOW_TRACKING_URI=f"sqlite:///{self.project.root}/mlflow.db")
        shutil.rmtree(clone)
        return set()

    def wiped(self) -> set[str] | None:
        (self.project.root / "mlflow.db").unlink()
        shutil.rmtree(self.project.root / "mlruns")
        self.runs.clear()
        self.wipes += 1
        return self.repro()

    def server_down_then_up(self) -> set[str] | None:
        self.flip()
        self.apply()
        down = self.project.run("dvc", "repro", timeout=900, PATH=self.path, MLFLOW_TRACKING_URI=NOWHERE)
        assert down.returncode != 0 and "dvc repro publish" in down.stderr, down.stdout + down.stderr
        self.repro()
        return None

    def dvc_experiment(self) -> set[str] | None:
        self._experiment(self.flip())
        return None

    def temporary_experiment(self) -> set[str] | None:
        self._elsewhere("--temp")
        return set()

    def queued_experiment(self) -> set[str] | None:
        self._elsewhere("--queue")
        done = self.project.run("dvc", "exp", "run", "--run-all", timeout=900, PATH=self.path)
        assert done.returncode == 0, done.stdout + done.stderr
        return set()

    def mlflow_run(self) -> set[str] | None:
        command = ("mlflow", "run", ".", "-e", "main", "--env-manager", "local", "--experiment-name", "killed")
        done = self.project.run(*command, timeout=900, PATH=self.path)
        assert done.returncode == 0, done.stdout + done.stderr
        return set()

    def _experiment(self, values: dict[str, object], *arguments: str) -> None:
        self.commit()
        given = [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
        done = self.project.run("dvc", "exp", "run", *arguments, *given, timeout=900, PATH=self.path)
        assert done.returncode == 0, done.stdout + done.stderr

    def _elsewhere(self, where: str) -> None:
        """An experiment in a copy of the workspace, which stays as it is."""
        kept = dict(self.param)
        self._experiment(self.flip(), where)
        self.param = kept

    def check(self, ran: set[str] | None) -> None:
        """One run a state, nothing twice, and how each stage's results came to be."""
        runs = self.client.search_runs([self.client.get_experiment_by_name("killed").experiment_id], max_results=5000)
        kinds = {
            kind: [run for run in runs if run.data.tags.get("podium.kind") == kind] for kind in ("experiment", "link")
        }
        parents = {run.data.tags["podium.state"]: run for run in kinds["experiment"]}
        assert len(parents) == len(kinds["experiment"]), "a state has two runs"
        assert not {run.info.status for run in runs} - {"FINISHED", "KILLED"}
        told = Counter(
            tuple(run.data.tags.get(f"podium.{tag}", "") for tag in ("kind", "fingerprint", "trial", "evidence"))
            for run in runs
            if run.data.tags.get("podium.kind") in ("train", "tune", "repeat", "trial")
            and run.info.status == "FINISHED"
        )
        assert set(told.values()) <= {1}, f"told twice: {told.most_common(3)}"
        with closing(sqlite3.connect(self.project.root / "mlflow.db")) as database:
            assert database.execute(_DOUBLES).fetchall() == []
        state = read_results(self.layout, load(self.layout.params)).state
        assert self.states.setdefault(json.dumps(self.param), state) == state
        assert state in parents, "the state has no run"
        ids = {known: run.info.run_id for known, run in parents.items()}
        assert self.runs.items() <= ids.items(), "a state has another run than before"
        if state not in self.runs and ran is not None:
            self._check_origins(parents[state].data.tags, ran)
        self.runs = ids
        scripts = {path.stem for path in (self.project.root / "stages").glob("[!_]*.py")}
        stages = {each.name for each in list_stages(self.layout) if each.stage in scripts} - ALWAYS
        for run in parents.values():
            origins = {key: value for key, value in run.data.tags.items() if key.startswith("podium.stage.")}
            assert origins.keys() == {f"podium.stage.{name.replace('@', '.')}" for name in stages}
            assert set(origins.values()) <= set(Origin.__args__)

    def _check_origins(self, tags: dict[str, str], ran: set[str]) -> None:
        """A state that is new in the store: executed is what DVC has just run."""
        executed = {key for key, value in tags.items() if key.startswith("podium.stage.") and value == "executed"}
        here = {f"podium.stage.{name.replace('@', '.')}" for name in ran - ALWAYS if name.partition("@")[0] != "distil"}
        assert executed == here


STEPS_OF_A_WALK: tuple[Callable[[Walk], set[str] | None], ...] = (
    Walk.no_op,
    Walk.flipped,
    Walk.collected_and_pulled,
    Walk.from_run_cache,
    Walk.killed,
    Walk.second_clone,
    Walk.wiped,
    Walk.server_down_then_up,
    Walk.dvc_experiment,
    Walk.temporary_experiment,
    Walk.queued_experiment,
    Walk.mlflow_run,
)


@pytest.fixture(scope="module")
def cold(tmp_path_factory, warm_path):
    """The project after its first run, in which every stage was executed."""
    project = kill_chains.build(tmp_path_factory.mktemp("walks") / "project")
    walk = Walk(project, 0, warm_path)
    walk.check(walk.repro())
    assert {tag for run in walk.runs.values() for tag in walk.client.get_run(run).data.tags if "stage.train" in tag}
    return project.root


@pytest.mark.parametrize("seed", SEEDS)
def test_each_state_of_a_walk_is_one_run(cold, warm_path, tmp_path, seed):
    root = tmp_path / "project"
    shutil.copytree(cold, root, symlinks=True)
    walk = Walk(Scratch(root), seed, warm_path)
    walk.project.check("podium", "status")  # which mends the places in the copied store
    walk.repro()
    walk.check(None)
    steps = list(STEPS_OF_A_WALK) * (STEPS // len(STEPS_OF_A_WALK) + 1)
    walk.chance.shuffle(steps)
    for step in steps[:STEPS]:
        print(f"walk {seed}: {step.__name__} {walk.param}", flush=True)
        walk.check(step(walk))
    shown = psutil.process_iter(["cmdline", "cwd"])  # DVC's worker ends when it has had nothing to do for a while
    left = [each for each in shown if str(root) in f"{each.info['cmdline']} {each.info['cwd']}"]
    assert psutil.wait_procs(left, timeout=600)[1] == []
    shutil.rmtree(root)


def test_origins_are_told_apart(cold, warm_path, tmp_path):
    """Executed here, left as it was, brought by DVC: of a state that is told anew."""
    root = tmp_path / "project"
    shutil.copytree(cold, root, symlinks=True)
    walk = Walk(Scratch(root), 0, warm_path)
    walk.param["top_k"] = 2
    walk.apply()
    walk.wiped()
    (run,) = (r for r in walk.client.search_runs(["1"]) if r.data.tags.get("podium.kind") == "experiment")
    found = {key.removeprefix("podium.stage."): value for key, value in run.data.tags.items() if ".stage." in key}
    assert (found["train.tiny"], found["evaluate.tiny"]) == ("restored", "executed"), "a copy is no file of before"
    walk.param["top_k"] = 3
    walk.apply()
    walk.wiped()
    (run,) = (r for r in walk.client.search_runs(["1"]) if r.data.tags.get("podium.kind") == "experiment")
    found = {key.removeprefix("podium.stage."): value for key, value in run.data.tags.items() if ".stage." in key}
    assert (found["train.tiny"], found["evaluate.tiny"]) == ("cached", "restored"), "back from the run cache"
