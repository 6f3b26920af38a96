"""What it costs to hand jobs out: Ray against local processes, with jobs that sleep for a second.

Command: python -m benchmarks.executor_overhead [--jobs 100] [--seconds 1.0] [--rounds 3]

The clock runs from the moment the first job begins to the end of the last one, so that starting processes is not in it;
it is printed beside it. Two processes, or two nodes of one processor each on this machine.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from podium.core.executor import open_executor
from podium.core.jobs import Cluster, tell
from tests.ray_cluster import ray_cluster

WORKERS = 2


def sleep(seconds: float, number: int) -> int:
    """One job."""
    tell(number)
    time.sleep(seconds)
    return number


def seconds_of(jobs: int, seconds: float, cluster: Cluster | None) -> tuple[float, float]:
    """Seconds from opening the executor to the first job, and from there to the last one's end."""
    began: list[float] = []
    opened = time.perf_counter()
    with open_executor(
        partial(sleep, seconds),
        WORKERS,
        lower="nothing",
        cluster=cluster,
        on_event=lambda _: began.append(time.perf_counter()),
    ) as executor:
        results = list(executor.map(range(jobs)))
        ended = time.perf_counter()
    if results != list(range(jobs)):
        raise RuntimeError(f"the results are {results}")
    return began[0] - opened, ended - began[0]


def main() -> None:
    """Prints the median of a few rounds in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with TemporaryDirectory() as folder, ray_cluster(WORKERS) as running:
        there = Cluster(running.address, Path(folder))
        rounds = [
            [seconds_of(given.jobs, given.seconds, where) for where in (None, there)] for _ in range(given.rounds)
        ]
    least = given.jobs * given.seconds / WORKERS
    medians = []
    for name, column in zip(("local processes", "Ray"), zip(*rounds, strict=True), strict=True):
        start, work = (statistics.median(part) for part in zip(*column, strict=True))
        medians.append(work)
        print(
            f"{name}: {work:.2f} s for {given.jobs} jobs, {work / least - 1:+.1%} of {least:g} s; start {start:.1f} s"
        )
    print(f"Ray / local processes: {medians[1] / medians[0]:.3f}")


if __name__ == "__main__":
    main()
