"""What the commands of every day cost: `python -m benchmarks.command_times`, on an idle machine.

A small experiment is run to its end in a throw-away copy. Then each command is given three times, and the quickest
counts: whatever else the machine does only adds to it. Processor seconds, of the command and of all it starts, hardly
depend on that and are what is held against the limits.
"""

import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.scratch import Scratch
from benchmarks.stage_start import finished_project

ROUNDS = 3
LIMITS = {"podium --help": 0.3, "podium status": 1.5, "podium history": 1.5, "dvc repro": 5.0}
"""Seconds by command; the experiment is finished, so that `dvc repro` finds nothing to do."""


def seconds_of(project: Scratch, command: str) -> tuple[float, float]:
    """Seconds of the processor and on the clock that a command takes.

    Raises:
        RuntimeError: it failed.
    """
    started, before = time.perf_counter(), os.times()
    project.check(*command.split())
    seconds, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, seconds


def main() -> int:
    """Prints a table and one JSON line."""
    figure: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = finished_project(Path(folder) / "project")
        project.check("dvc", "repro")  # what it finds for the first time it keeps
        print(f"{'command':<18}{'processor':>12}{'clock':>10}{'limit':>8}")
        for command, limit in LIMITS.items():
            used, seconds = min(seconds_of(project, command) for _ in range(ROUNDS))
            figure[command] = round(used, 2)
            print(f"{command:<18}{used:>10.2f} s{seconds:>8.2f} s{limit:>6.1f} s", flush=True)
    print(
        json.dumps(
            {
                "claim": "the commands of every day answer at once",
                "baseline": "the start of the process",
                "figure": figure,
                "target": LIMITS,
                "holds": all(figure[command] <= limit for command, limit in LIMITS.items()),
                "unit": "processor seconds, quickest of 3",
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
