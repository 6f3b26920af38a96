"""Runs of the whole DAG that are hit at random points, and whether they end as a run that nothing hit, to the byte.

Command: python -m benchmarks.fault_walk [--points 100] [--nodes 0.2] [--seed 0] [--chain 8]

A point is a random moment of `dvc repro` at toy size. There the stage, dvc or both are killed (SIGKILL), and the next
`dvc repro` begins at once; or, of the share `--nodes`, one of the two nodes of a Ray cluster that the run uses is lost,
and the run goes on by itself, or with the next `dvc repro` where its own connection was to that node. After up to
`--chain` points, in the order of the DAG, the run comes to its end, and what it left is compared: every file,
`dvc.lock`, the openings of the test split, the runs in MLflow. Stages are forks of a process that has imported their
libraries (`tests/warm_python.py`), which spares minutes.
"""

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from benchmarks.scratch import Scratch, restart_with
from podium.config.runtime import Runtime
from podium.console.dvc_files import mend
from podium.core.errors import first_few
from podium.core.layout import Layout
from tests.kill_chains import Left, build, differences, left_by
from tests.ray_cluster import add_node, ray_cluster
from tests.warm_python import warm

TARGETS = ("stage", "dvc", "both")
START = "(start of dvc)"
_PATIENCE = 1800.0  # seconds of a run
_LINE = "Running stage '"


@dataclass(frozen=True)
class Moment:
    """A time of a run: so many seconds after a stage began."""

    stage: str
    seconds: float


@dataclass(frozen=True)
class Hit:
    """What was hit, and during which stage."""

    stage: str
    target: str


class Run:
    """`dvc repro` in a process group of its own; which stage it is at is read from what it prints."""

    def __init__(self, project: Scratch, path: str) -> None:
        mend(Layout(project.root))  # as `make repro` does before all else
        self.began: list[tuple[str, float]] = [(START, time.monotonic())]
        self.said: list[str] = []
        self._news = threading.Condition()
        self.dvc = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.root,
            env={**project.environment, "PATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.dvc.stdout or ():
            with self._news:
                self.said.append(line)
                if line.startswith(_LINE):
                    self.began.append((line.removeprefix(_LINE).partition("'")[0], time.monotonic()))
                self._news.notify_all()

    @property
    def stage(self) -> str:
        """The one it is at."""
        return self.began[-1][0]

    def reach(self, moment: Moment) -> bool:
        """Waits for a moment, at most until the stage after it begins; False where the run ends before."""
        until = time.monotonic() + _PATIENCE
        with self._news:
            while time.monotonic() < until and self.dvc.poll() is None:
                at = [number for number, (name, _) in enumerate(self.began) if name == moment.stage]
                if at and (at[0] < len(self.began) - 1 or time.monotonic() > self.began[at[0]][1] + moment.seconds):
                    return True
                self._news.wait(0.1)
        return False

    def kill(self, target: str) -> None:
        """KILL to the process of the stage, to dvc, or to both and all they started."""
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if target == "both":
                os.killpg(self.dvc.pid, signal.SIGKILL)
                return
            stages = psutil.Process(self.dvc.pid).children(recursive=True) if target == "stage" else []
            (stages[-1] if stages else self.dvc).kill()

    def end(self) -> int:
        """Waits for it; its exit code."""
        return self.dvc.wait(_PATIENCE)

    def end_well(self) -> None:
        """Waits for it.

        Raises:
            RuntimeError: it failed.
        """
        if self.end():
            raise RuntimeError("".join(self.said[-30:]))


def copied(start: Scratch, root: Path, cluster: Any = None) -> Scratch:
    """A copy of a project that has not run yet; its stages use the Ray cluster, where there is one."""
    shutil.copytree(start.root, root, symlinks=True)
    project = Scratch(root)
    if cluster:
        project.change_params(resources={"executor": "ray", "address": cluster.address})
    return project


def undisturbed(project: Scratch, path: str) -> tuple[Left, list[tuple[str, float]]]:
    """What a run leaves that nothing hits, and how many seconds each of its stages took, in order."""
    run = Run(project, path)
    run.end_well()
    times = [begun for _, begun in run.began] + [time.monotonic()]
    stages = [(name, times[at + 1] - times[at]) for at, (name, _) in enumerate(run.began)]
    print(f"a run that nothing hits takes {times[-1] - times[0]:.0f} s in {project.root.name}", flush=True)
    return left_by(project), stages


@dataclass(frozen=True)
class Walk:
    """Chains of points; `stages`: how many seconds each takes in a run that nothing hits, in order."""

    start: Scratch
    expected: Left
    stages: list[tuple[str, float]]
    path: str
    chance: np.random.Generator
    chain: int
    cluster: Any = None

    def go(self, wanted: int) -> list[tuple[Hit, bool]]:
        """Chains until so many points were hit; each point with whether its chain ended as expected.

        Raises:
            RuntimeError: a chain did not come to its end.
        """
        found: list[tuple[Hit, bool]] = []
        for number in itertools.count():
            if len(found) >= wanted:
                break
            root = self.start.root.with_name(f"chain-{'ray' if self.cluster else 'local'}-{number}")
            project = copied(self.start, root, self.cluster)
            moments = self._draw(min(self.chain, wanted - len(found)))
            hits = self._lose_nodes(project, moments) if self.cluster else self._kill(project, moments)
            different = differences(left_by(project), self.expected)
            found += [(hit, not different) for hit in hits]
            told = ", ".join(f"{hit.target} in {hit.stage}" for hit in hits)
            ended = f"NOT the same in {first_few(different, 5)}" if different else "the same"
            print(f"{len(found)} of {wanted}: {ended} after {told}", flush=True)
            shutil.rmtree(root)
        return found

    def _draw(self, number: int) -> list[Moment]:
        """So many moments, evenly over the time that a run takes, in order."""
        ends = np.cumsum([seconds for _, seconds in self.stages])
        drawn = np.sort(self.chance.uniform(0, ends[-1], number))
        moments = []
        for at, seconds in zip(np.searchsorted(ends, drawn), drawn, strict=True):
            name, taken = self.stages[at]
            moments.append(Moment(name, float(seconds - (ends[at] - taken))))
        return moments

    def _kill(self, project: Scratch, moments: list[Moment]) -> list[Hit]:
        """Kills at each of the moments and starts again; the last run comes to its end."""
        hits = []
        for moment in moments:
            run, target = Run(project, self.path), TARGETS[self.chance.integers(len(TARGETS))]
            if run.reach(moment):
                hits.append(Hit(run.stage, target))
                run.kill(target)
            if run.end() == 0:  # it was over, or what was killed had nothing left to do
                break
        Run(project, self.path).end_well()
        return hits

    def _lose_nodes(self, project: Scratch, moments: list[Moment]) -> list[Hit]:
        """Takes a node away at each of the moments of one run, and gives the cluster another one."""
        hits, run = [], Run(project, self.path)
        for moment in moments:
            if not run.reach(moment):
                continue
            hits.append(Hit(run.stage, "node"))
            nodes = [node for node in self.cluster.list_all_nodes() if node is not self.cluster.head_node]
            self.cluster.remove_node(nodes[self.chance.integers(len(nodes))], allow_graceful=False)
            add_node(self.cluster)
        if run.end():  # it was connected through that node, so it was lost with it
            print(f"ended with: {run.said[-1].strip()}", flush=True)
            Run(project, self.path).end_well()
        return hits


def table(found: Sequence[tuple[Hit, bool]], stages: Sequence[tuple[str, float]]) -> str:
    """Points by the stage during which they were, in the order of a run, and by what was hit."""
    targets = (*TARGETS, "node")
    counted = Counter((hit.stage, hit.target) for hit, _ in found)
    same = Counter(hit.stage for hit, ended in found if ended)
    lines = [f"| hit during | {' | '.join(targets)} | ended the same |", "|---|" + "---|" * (len(targets) + 1)]
    for stage, _ in stages:
        numbers = [counted[stage, target] for target in targets]
        lines.append(f"| {stage} | {' | '.join(map(str, numbers))} | {same[stage]} of {sum(numbers)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints a table and a line of JSON; exit code 1 where a chain ended with other bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--nodes", type=float, default=0.2, help="share of the points that are losses of a node")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chain", type=int, default=8, help="points before a run comes to its end")
    given = parser.parse_args()
    restart_with(Runtime(instructions="avx2"))
    chance, losses = np.random.default_rng(given.seed), round(given.points * given.nodes)
    with TemporaryDirectory(prefix="podium-") as folder, warm(Path(folder) / "bin") as commands:
        path = f"{commands}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        start = build(Path(folder) / "start")
        expected, stages = undisturbed(copied(start, Path(folder) / "whole"), path)
        walk = Walk(start, expected, stages, path, chance, given.chain)
        found = walk.go(given.points - losses)
        if losses:
            with ray_cluster(2) as cluster:
                left, stages = undisturbed(copied(start, Path(folder) / "whole-ray", cluster), path)
                if different := differences(left, expected):
                    raise SystemExit(f"on the cluster a run that nothing hits differs in {first_few(different, 5)}")
                found += replace(walk, stages=stages, cluster=cluster).go(losses)
    print(table(found, stages))
    same = sum(ended for _, ended in found)
    print(json.dumps({"points": len(found), "same": same, "nodes": losses, "seed": given.seed}))
    return 0 if same == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
