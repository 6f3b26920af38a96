"""`podium repro`: `dvc repro` with stages that do not wait for each other side by side.

DVC runs one stage at a time. Its processes agree on who reads and writes what, and take turns to write `dvc.lock`; so
each stage that has to run gets a `dvc repro --single-item` of its own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from podium.console.dvc_files import mend, order_stages, parse_lock, read_lock
from podium.console.process import STARTED_BY, Terminated, stoppable
from podium.console.terminal import project
from podium.core.errors import DataError, PodiumError, one_line
from podium.core.layout import DVC_YAML, Layout

if TYPE_CHECKING:
    from dvc.stage import Stage

_PATIENCE = 60.0  # seconds that stages have to end in, and DVC to write what it was writing
_POLL_SECONDS = 0.1
_DVC = (sys.executable, "-m", "dvc")
_HINTS = (
    "To track the changes",
    "\tgit add ",
    "To enable auto staging",
    "\tdvc config core.autostage",
    "Use `dvc push`",
)
"""How lines begin that every DVC says anew, and that nobody needs to hear once a stage."""


def repro(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages, with those they need; none = all.", show_default=False)
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="So many stages at once; 1 is `dvc repro` itself.")
    ] = 1,
) -> None:
    """Rebuild what changed, with stages that do not wait for each other side by side; same results, same dvc.lock."""
    layout = project()
    os.chdir(layout.root)  # DVC names stages as they are seen from here
    mend(layout)
    if jobs == 1:
        _become_dvc(targets or [])
    try:
        with stoppable():
            graph, before = _plan(layout, targets or [DVC_YAML])
            try:
                failed, left = _SideBySide(graph, jobs).run()
            finally:
                order_stages(layout, [*before, *(stage.addressing for stage in graph)])
    except KeyboardInterrupt as stopped:
        print("interrupted: run `podium repro` to go on", file=sys.stderr)
        raise typer.Exit(143 if isinstance(stopped, Terminated) else 130) from None
    if failed:
        waiting = f"; not run, since they need what failed: {', '.join(left)}" if left else ""
        raise PodiumError(f"failed: {', '.join(sorted(failed))}{waiting}")


def _become_dvc(targets: Sequence[str]) -> NoReturn:
    """Goes on as `dvc repro` in this process."""
    sys.stdout.flush()
    os.execv(sys.executable, [*_DVC, "repro", *targets])  # noqa: S606  # DVC, with what the user gave


def _plan(layout: Layout, targets: Sequence[str]) -> "tuple[dict[Stage, list[Stage]], list[str]]":
    """The stages that `dvc repro` would look at, in its order, each with those it waits for; what `dvc.lock` names.

    Raises:
        DataError: DVC knows no such stage, or cannot read `dvc.yaml`.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    try:
        repo = Repo(layout.root, _wait_for_lock=True)
        with lock_repo(repo):
            graph = repo.index.graph
            planned = plan_repro(get_active_graph(graph), collect_stages(repo, targets))
            locked = read_lock(layout)
    except DvcException as error:
        raise DataError(f"DVC refuses: {one_line(error)}") from error
    needed: dict[Stage, list[Stage]] = {stage: [] for stage in planned}
    for pair in graph.edges(planned):
        if needed.keys() >= set(pair):  # a frozen stage may come before one whose output it reads
            first, second = sorted(pair, key=planned.index)
            needed[second].append(first)
    return needed, list(parse_lock(locked)["stages"]) if locked else []


class _SideBySide:
    """Stages that run at once, as processes of DVC whose output comes line by line with the stage's name before it."""

    def __init__(self, graph: "dict[Stage, list[Stage]]", jobs: int) -> None:
        """Starts nothing yet."""
        self._graph, self._jobs = graph, jobs
        self._width = max(len(stage.addressing) for stage in graph)
        self._processes: list[subprocess.Popen[str]] = []

    def run(self) -> tuple[list[str], list[str]]:
        """Runs what has to run; where a stage fails, all that does not need it comes to its end.

        Returns:
            The stages that failed, and those that were not looked at for that.
        """
        order = TopologicalSorter(self._graph)
        order.prepare()
        ready: list[Stage] = []
        running: dict[Future[int], Stage] = {}
        failed: list[str] = []
        left = [stage.addressing for stage in self._graph]
        with ThreadPoolExecutor(self._jobs) as threads:
            try:
                while True:
                    ready += order.get_ready()
                    while ready and len(running) < self._jobs:
                        stage = ready.pop(0)
                        left.remove(stage.addressing)
                        if _is_unchanged(stage):
                            self._say(stage, "did not change")
                            order.done(stage)
                            ready += order.get_ready()
                        else:
                            running[threads.submit(self._follow, stage, self._start(stage))] = stage
                    if not running:
                        return failed, left
                    for ended in wait(running, return_when=FIRST_COMPLETED).done:
                        stage = running.pop(ended)
                        if ended.result() == 0:
                            order.done(stage)
                        else:
                            failed.append(stage.addressing)
            except BaseException:
                self._stop()
                raise

    def _start(self, stage: "Stage") -> subprocess.Popen[str]:
        """A process of DVC that runs one stage; in a session of its own, so that Ctrl-C does not stop it writing."""
        process = subprocess.Popen(
            [*_DVC, "--wait-for-lock", "repro", "--single-item", stage.addressing],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, STARTED_BY: str(os.getpid())},
            start_new_session=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._processes.append(process)
        return process

    def _follow(self, stage: "Stage", process: subprocess.Popen[str]) -> int:
        """Shows what a stage says until it ends; its exit code."""
        for line in process.stdout or ():
            if line.strip() and not line.startswith(_HINTS):
                self._say(stage, line.rstrip())
        return process.wait()

    def _say(self, stage: "Stage", line: str) -> None:
        print(f"{stage.addressing:<{self._width}} | {line}\n", end="", flush=True)

    def _stop(self) -> None:
        """Ends the stages and waits for DVC, which may be writing; kills what is left then, or at the next Ctrl-C."""
        import psutil

        started = [each for each in self._processes if each.poll() is None]
        deadline = time.monotonic() + _PATIENCE
        told: set[psutil.Process] = set()
        try:
            while time.monotonic() < deadline and any(each.poll() is None for each in started):
                for dvc in started:
                    with suppress(psutil.NoSuchProcess):
                        for stage in set(psutil.Process(dvc.pid).children()) - told:
                            told.add(stage)
                            stage.terminate()
                time.sleep(_POLL_SECONDS)
        finally:
            for dvc in started:
                with suppress(ProcessLookupError):
                    os.killpg(dvc.pid, signal.SIGKILL)  # also what a stage left behind


def _is_unchanged(stage: "Stage") -> bool:
    """Whether DVC would leave a stage as it is; false where it cannot say, which the DVC that runs it then tells."""
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    try:
        with lock_repo(stage.repo):
            return not stage.changed()
    except DvcException:
        return False
