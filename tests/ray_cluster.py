"""A Ray cluster on this machine: a head that runs no job, and nodes of one processor each."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

_TRIALS = 4
_MEMORY = 80 * 2**20  # bytes of a node's object store, the least Ray takes


def add_node(cluster: Any) -> Any:
    """One more node."""
    return cluster.add_node(num_cpus=1, object_store_memory=_MEMORY)


def lose_node(cluster: Any, files: Path) -> None:
    """Takes a node away, as a power cut would; its processes outlive it for a moment, so one of these is waited for.

    Args:
        cluster: what is running.
        files: a folder in which a process of every node has left a file `<its id>.pid`.
    """
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
    while all(map(_is_alive, files.glob("*.pid"))):
        time.sleep(0.05)


def _is_alive(file: Path) -> bool:
    try:
        return bool(psutil.Process(int(file.stem)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def ray_cluster(count: int, *, bound: bool = False) -> Iterator[Any]:
    """`ray.cluster_utils.Cluster` with so many nodes beside the head; its processes import what this one does.

    With `bound`, a node computes on one processor of this machine alone, as one of that size would.
    """
    root = Path(__file__).parents[1]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.update({"RAY_worker_niceness": "0"})  # Ray's 15 leaves it nothing on a machine that does something else
    os.environ.update({"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5"})  # until an elastic training makes do with fewer
    os.environ.setdefault("PYTHONPATH", os.pathsep.join((str(root / "src"), str(root))))
    os.environ.update({"RAY_agent_register_timeout_ms": "300000", "RAY_worker_register_timeout_seconds": "300"})
    cluster = _start(count, bound)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _start(count: int, bound: bool) -> Any:
    """All nodes; Ray waits 30 s for each, whatever is set, which a machine that does something else may not keep."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _MEMORY}
    own = os.sched_getaffinity(0)
    for trial in range(_TRIALS):
        cluster = None
        try:
            cluster = Cluster(initialize_head=True, head_node_args=head)
            for processor in sorted(own)[:count] if bound else [None] * count:
                os.sched_setaffinity(0, own if processor is None else {processor})  # what it starts inherits it
                add_node(cluster)
        except Exception:  # Ray's is of no type of its own
            if cluster is not None:
                cluster.shutdown()
            if trial == _TRIALS - 1:
                raise
        else:
            return cluster
        finally:
            os.sched_setaffinity(0, own)
    raise AssertionError
