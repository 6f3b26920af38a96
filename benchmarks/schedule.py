"""How long tasks that wait for each other take on machines that share a store: list scheduling, simulated."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A piece of work for one machine: its stage, seconds, the tasks it waits for, seconds that the store moves it."""

    stage: str
    seconds: float
    needs: Sequence[int] = ()
    moved: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Seconds from start to end, and how many of those that decided it were of which stage."""

    seconds: float
    decided: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The two stages that most of the time is for, and their shares."""
        most = sorted(self.decided, key=self.decided.__getitem__, reverse=True)[:2]
        return ", ".join(f"{stage} {self.decided[stage] / self.seconds:.0%}" for stage in most)


@dataclass(frozen=True)
class Cluster:
    """Machines that are alike; all but the first start when the experiment does.

    Attributes:
        nodes: how many.
        cores: of each.
        gpu: images a second that its GPU trains on; 0 without one.
        store: bytes a second of what they share.
        start_up: seconds until a machine works.
    """

    nodes: int = 1
    cores: int = 16
    gpu: float = 0.0
    store: float = 1e9
    start_up: float = 60.0


def simulate(tasks: Sequence[Task], cluster: Cluster) -> Schedule:
    """List scheduling: what is ready first goes to the machine that is free first.

    In general such a schedule may become longer with one machine more (Graham, "Bounds on multiprocessing timing
    anomalies", SIAM 1969); a test holds that those made here do not.

    Args:
        tasks: need earlier ones only.
        cluster: where they run.
    """
    waits, dependents = [len(task.needs) for task in tasks], [list[int]() for _ in tasks]
    for number, task in enumerate(tasks):
        for need in task.needs:
            dependents[need].append(number)
    # beside a moment stands the task that made it, so that the way back from the end can be followed; -1: none
    ready = [(0.0, number, -1) for number, count in enumerate(waits) if not count]
    free = [(0.0 if node == 0 else cluster.start_up, -1) for node in range(cluster.nodes)]
    store, begins, ends, before = (0.0, -1), [0.0] * len(tasks), [0.0] * len(tasks), [-1] * len(tasks)
    while ready:
        at, number, last = heapq.heappop(ready)
        task = tasks[number]
        begins[number], before[number] = max((at, last), free[0], store if task.moved else (at, last))
        if task.moved:
            store = (begins[number] + task.moved, number)
        ends[number] = begins[number] + task.moved + task.seconds
        heapq.heapreplace(free, (ends[number], number))
        for dependent in dependents[number]:
            waits[dependent] -= 1
            if not waits[dependent]:
                slowest = max(tasks[dependent].needs, key=ends.__getitem__)
                heapq.heappush(ready, (ends[slowest], dependent, slowest))
    decided, number = defaultdict[str, float](float), max(range(len(tasks)), key=ends.__getitem__)
    end = seconds = ends[number]
    while number >= 0:
        moved = begins[number] + min(tasks[number].moved, end - begins[number])
        decided["shared store"] += moved - begins[number]
        decided[tasks[number].stage] += end - moved
        end, number = begins[number], before[number]
    return Schedule(seconds, {**decided, "start-up": end})
