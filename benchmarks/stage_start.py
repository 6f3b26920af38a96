"""How long each stage takes to start working: `python -m benchmarks.stage_start`.

A small experiment is run to its end in a throw-away copy. Then each stage script is started three times as `dvc.yaml`
starts it, and stopped at its first piece of work (`FIRST_WORK`). Measured are the seconds from starting the process to
that point: Python, every import, params, opening the inputs. The files are in the page cache; what `dvc repro` itself
takes before it starts a stage is not in the figure. The quickest of three counts: whatever else the machine does only
adds to it. The processor seconds beside it hardly depend on that.

Decoding runs in the stage's own process here (`resources.workers: 0`), so the start of worker processes is left out.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from benchmarks.scratch import ROOT, Scratch

LIMIT = 6.0  # seconds
ROUNDS = 3
_STARTED = 86  # exit code of a stage that was stopped at its first piece of work
FIRST_WORK = {
    "fetch": ("podium.data.manifest", "RawWriter.add", "the first image is packed"),
    "preprocess": ("podium.curation.decoding", "Decoder.__call__", "the first images are decoded"),
    "validate": ("podium.curation.linear_probe", "draw_images", "images are drawn for the probes"),
    "tune": ("podium.models.engine", "_Run._epoch", "the first epoch of the first trial"),
    "train": ("podium.models.engine", "_Run._epoch", "the first epoch"),
    "evaluate": ("podium.models.inference", "Classifier.logits", "the first images are classified"),
    "compare": ("podium.pipeline.compare", "rank", "the models are ranked"),
    "publish": ("podium.tracking.runs", "find_experiment_run", "MLflow has answered and is asked for the run"),
}
"""Where a stage's work begins: module, function, in words."""


def finished_project(root: Path) -> Scratch:
    """A copy of this repository in which a small experiment has run to its end."""
    from tests import small_project

    project = small_project.build(root)
    project.change_params(resources={"workers": 0})
    project.check("dvc", "repro", timeout=900)
    return project


def seconds_to_start(project: Scratch, stage: str) -> tuple[float, float]:
    """Starts a stage and waits for its first piece of work.

    Returns:
        Seconds on the clock and of the processor.

    Raises:
        RuntimeError: it ended without any; the message holds what it printed.
    """
    model = ["--model", "small_resnet"] if stage in ("tune", "train", "repeat", "evaluate", "explain") else []
    command = [sys.executable, "-m", "benchmarks.stage_start", stage, *model]
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))  # the copy has no benchmarks/
    environment = {**project.environment, "PYTHONPATH": path}
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(
        command, cwd=project.root, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode != _STARTED:
        raise RuntimeError(f"{stage} did not come to {FIRST_WORK[stage][1]}:\n{done.stdout}{done.stderr}")
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, processor


def until_first_work(stage: str, *arguments: str) -> None:
    """Runs a stage in this process, which ends at the first piece of work."""
    module, name, _ = FIRST_WORK[stage]
    import_module(f"podium.pipeline.{stage}")  # as the stage does; only then what the work itself is in
    owner: object = import_module(module)
    *outer, last = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    getattr(owner, last)  # it must exist
    setattr(owner, last, _stop)
    sys.argv = [f"stages/{stage}.py", *arguments]
    runpy.run_module(f"stages.{stage}", run_name="__main__")


def _stop(*arguments: object, **named: object) -> NoReturn:
    """Put in the place of a stage's first work: ends the process there and then."""
    os._exit(_STARTED)


def main() -> int:
    """Prints a table and one JSON line."""
    quickest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = finished_project(Path(folder) / "project")
        print(f"{'stage':<12}{'quickest':>10}{'slowest':>10}{'processor':>10}  until")
        for stage, (_, _, words) in FIRST_WORK.items():
            rounds = sorted(seconds_to_start(project, stage) for _ in range(ROUNDS))
            quickest[stage] = round(rounds[0][0], 2)
            print(
                f"{stage:<12}{rounds[0][0]:>8.2f} s{rounds[-1][0]:>8.2f} s{rounds[0][1]:>9.2f} s  {words}", flush=True
            )
    print(
        json.dumps(
            {
                "claim": "no stage takes more than 6 s to start working",
                "baseline": "the start of the process",
                "figure": quickest,
                "target": f"<= {LIMIT:g} for every stage",
                "holds": max(quickest.values()) <= LIMIT,
                "unit": "seconds, quickest of 3",
            }
        )
    )
    return 0


if __name__ == "__main__":
    if sys.argv[1:]:
        until_first_work(*sys.argv[1:])
        sys.exit(1)
    sys.exit(main())
