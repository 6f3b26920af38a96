"""Runs jobs on a Ray cluster whose nodes give the same bytes as this machine. Ray places, repeats and cancels them.

A node must have this very version of Podium, the same libraries and the same type of processor, and, where there is no
storage, the project's folder at the same path; whichever differs is refused by name, when it is there at first and when
it joins later.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from podium.core.errors import PodiumError, first_few
from podium.core.jobs import POLL_SECONDS, Cluster, Failure, Job, Remote, Result, Tell, ignore, run_job
from podium.core.layout import Layout
from podium.core.machine import AVX2, NO_AVX512, PACKAGE, Machine

if TYPE_CHECKING:
    from ray import ObjectRef

_CONNECT_SECONDS = 5.0
_HEARTBEAT_SECONDS = 2.0
_ANSWER_SECONDS = 120.0  # of a node, whose first process starts
RETRIES = 10  # of a job whose node was lost
ROOM_SECONDS = 600.0  # in which nodes that are lost may come back, or others for them
_LEAST_SUBMITTED = 16  # so that a cluster that grows sees that there is work
_LONGEST = 300  # characters of a message of Ray's
_SHOWN = 3  # differences named
_PASSED_ON = (*AVX2, "PODIUM_LOG_LEVEL", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """A node of a cluster: Ray's id, a name for people, its processors."""

    id: str
    name: str
    cpus: int


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connects this process to a cluster.

    Raises:
        PodiumError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise PodiumError(
            "resources.executor is ray, but Ray is not installed: pip install 'podium[scale]', or set it to local"
        ) from error
    _require_head(cluster.address)
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if variables.items() >= AVX2.items():  # a node may have AVX-512 though this machine has not
        variables |= NO_AVX512
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=cluster.address,
            runtime_env={"env_vars": {**variables, "PYTHONPATH": os.pathsep.join(paths)}},
            logging_level="ERROR",
            log_to_driver=False,  # jobs tell what is to be seen; the rest stays in Ray's own logs
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PodiumError(_unreachable(cluster.address, error)) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own ends the process without closing what is open
    try:
        yield
    finally:
        ray.shutdown()


class _HeadLost(PodiumError):
    """Nobody listens at the address of a cluster."""


def _require_head(address: str) -> None:
    """Ray itself tries for two minutes, and then ends the process.

    Raises:
        _HeadLost: nobody listens there.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if address == "auto" and (address := canonicalize_bootstrap_address(address)) is None:
        return  # Ray says at once that none was started here
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _HeadLost(_unreachable(address, error)) from error


def in_short(error: BaseException) -> str:
    """A message of Ray's in one line: it has several, and the first says little."""
    return " ".join(str(error).split())[:_LONGEST]


def _unreachable(address: str, error: Exception) -> str:
    return (
        f"no Ray cluster at resources.address {address} ({in_short(error)}): start one (ray start --head), correct "
        "the address, or set resources.executor to local; `dvc repro` then goes on"
    )


def nodes() -> list[Node]:
    """The living nodes of the cluster this process is connected to."""
    import ray

    alive = [(each["NodeID"], each["NodeManagerHostname"], each["Resources"]) for each in ray.nodes() if each["Alive"]]
    return [Node(key, f"{name} ({key[:8]})", int(resources.get("CPU", 0))) for key, name, resources in alive]


def room(cluster: Cluster) -> int:
    """For how many processes of jobs the living nodes have processors, busy or not."""
    return sum(node.cpus // cluster.cpus for node in nodes())


def ask(asked: Collection[Node], question: Callable[..., Any], *arguments: object) -> Mapping[Node, Any]:
    """Calls a function on each node, side by side.

    Returns:
        What it returned; an exception where it raised one, or where the node did not answer. Nodes that are gone are
        left out.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(question)
    refs = {
        node: task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*arguments)
        for node in asked
    }
    ray.wait(list(refs.values()), num_returns=len(refs), timeout=_ANSWER_SECONDS)
    answers = {node: _answer(ref) for node, ref in refs.items()}
    gone = (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError)
    return {node: answer for node, answer in answers.items() if not isinstance(answer, gone)}


def _answer(ref: "ObjectRef[Any]") -> Any:
    import ray

    try:
        return ray.get(ref, timeout=0)
    except ray.exceptions.RayTaskError as error:
        return error.cause
    except ray.exceptions.RayError as error:
        return error


@contextmanager
def shared_file(cluster: Cluster) -> Iterator[Path | None]:
    """A file in the project's folder, by which nodes tell whether they see that very folder; None: they need not."""
    if cluster.storage is not None:
        yield None
        return
    work = Layout(cluster.root).work
    work.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=work, prefix="shared-") as shared:
        yield Path(shared.name)


def find_differences(expected: Machine, shared: Path | None) -> list[str]:
    """Asked of a node: what keeps it from doing the same as the machine that gives out jobs."""
    missing = []
    if shared is not None and not shared.is_file():
        missing = [f"it does not see {shared.parent}, a folder that all nodes must share without resources.storage"]
    return missing + expected.differences(Machine.here())


def refuse_differences(found: Mapping[Node, list[str] | BaseException]) -> None:
    """Refuses a cluster by what `find_differences` found on its nodes.

    Raises:
        PodiumError: a node differs, or cannot answer.
    """
    for node, said in found.items():
        if isinstance(said, BaseException):
            raise PodiumError(
                f"node {node.name} of the Ray cluster cannot run Podium ({in_short(said)}): "
                "install the same version there, or remove the node"
            )
        if said:
            raise refusal(node.name, said)


def refusal(name: str, differences: list[str]) -> PodiumError:
    """What to say where `find_differences` found some."""
    return PodiumError(
        f"node {name} of the Ray cluster differs from this machine, so its results could: "
        f"{first_few(differences, _SHOWN, '; ')}: make it the same, or remove it"
    )


@contextmanager
def open_ray(
    function: Callable[[Job], Result], cluster: Cluster, *, prepare: Callable[[], None] | None, on_event: Tell
) -> Iterator["RayExecutor[Job, Result]"]:
    """An executor on a cluster; arguments are those of `open_executor`. When the block is left, what runs is ended.

    Raises:
        PodiumError: no cluster answers, it was lost, a node differs from this machine, or none has so many processors.
    """
    with connected(cluster), shared_file(cluster) as shared:
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        wide = [node for node in nodes() if node.cpus >= cluster.cpus]
        able = ask(wide, find_differences, Machine.here(), shared)
        if not able:
            raise PodiumError(
                f"no node of the Ray cluster has {cluster.cpus} processors, as many as a job takes (runtime.threads): "
                "add one that has"
            )
        refuse_differences(able)
        slots, here = room(cluster), ray.get_runtime_context().get_node_id()
        _LOG.info("%d jobs at once on %d nodes of the Ray cluster", slots // cluster.processes, len(able))
        # where this process is, which is lost last
        placed = {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)}
        told = None if on_event is ignore else Queue(actor_options=placed)
        of_job = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus} if cluster.processes == 1 else placed
        task = ray.remote(_run).options(**of_job, max_retries=RETRIES)
        worker = _Worker(ray.put((function, prepare)), Machine.here(), shared, told)
        head = cluster.address if "://" in cluster.address else ray.get_runtime_context().gcs_address
        try:
            at_once = max(_LEAST_SUBMITTED, 2 * slots) if cluster.processes == 1 else 1
            yield RayExecutor(at_once, cluster, task, ray.put(worker), on_event, told, head)
        except (ray.exceptions.RayError, _HeadLost) as error:  # a job's own errors are not wrapped here any more
            raise PodiumError(
                f"the Ray cluster at {head} is gone: start it again, or set resources.executor to local, and run "
                "`dvc repro`, which goes on where it was"
            ) from error


@dataclass
class RayExecutor(Remote[Job, Result, "ObjectRef[Result]"]):
    """Hands jobs to the cluster; made by `open_ray`."""

    at_once: int
    cluster: Cluster
    task: Any
    worker: "ObjectRef[_Worker]"
    on_event: Tell
    told: Any
    head: str
    seen: float = field(default_factory=time.monotonic)
    without_room: float | None = None

    def submit(self, job: Job) -> "ObjectRef[Result]":
        """Ray runs it on a node with room, and on another one if that is lost."""
        return self.task.remote((self.worker,), job)

    def wait(self, handles: Collection["ObjectRef[Result]"]) -> Collection["ObjectRef[Result]"]:
        """Those that ended; also asks now and then whether the head is still there, and nodes for a job.

        Raises:
            PodiumError: the head is not, or the nodes have not come back in time.
        """
        import ray

        if time.monotonic() - self.seen > _HEARTBEAT_SECONDS:
            _require_head(self.head)
            self._require_room()
            self.seen = time.monotonic()
        handles = list(handles)
        ended, _ = ray.wait(handles, num_returns=1, timeout=POLL_SECONDS)
        return ray.wait(handles, num_returns=len(handles), timeout=0)[0] if ended else []

    def _require_room(self) -> None:
        """Says what is waited for when nodes are gone, and for how long."""
        if (found := room(self.cluster)) >= (1 if self.cluster.elastic else self.cluster.processes):
            self.without_room = None
            return
        wanted = f"{found} of a job's {self.cluster.processes} processes of {self.cluster.cpus} processors each"
        lacking = f"the living nodes of the Ray cluster have room for {wanted}"
        if self.without_room is None:
            self.without_room = time.monotonic()
            _LOG.warning("%s: waiting up to %.0f s for nodes to join", lacking, ROOM_SECONDS)
        elif time.monotonic() - self.without_room > ROOM_SECONDS:
            raise PodiumError(
                f"{lacking}, and in {ROOM_SECONDS:.0f} s no more joined: start nodes, or set resources.executor to "
                "local, and run `dvc repro`, which goes on where it was"
            )

    def outcome(self, handle: "ObjectRef[Result]") -> Result | Failure:
        """Ray wraps what a job raised."""
        import ray

        try:
            result: Result = ray.get(handle)
            return result
        except ray.exceptions.RayTaskError as error:
            error.cause.__cause__ = error  # holds the traceback of the node
            return Failure(error.cause)
        except ray.exceptions.RayError as error:
            lost = f"a job was lost on the Ray cluster ({in_short(error)}): run the stage again to go on"
            return Failure(PodiumError(lost))

    def pass_on(self) -> None:
        """Empties the queue."""
        if self.told is not None:
            for event in self.told.get_nowait_batch(self.told.qsize()):
                self.on_event(event)


# On a node


@dataclass(frozen=True)
class _Worker:
    """What a process of the cluster needs for all jobs: the function, and what its machine must be like."""

    function: "ObjectRef[tuple[Callable[[Any], Any], Callable[[], None] | None]]"
    expected: Machine
    shared: Path | None
    told: Any


def _run(worker: "tuple[ObjectRef[_Worker]]", job: Any) -> Any:
    function, told = _start(worker[0])
    return run_job(function, job, told)


@cache
def _start(ref: "ObjectRef[_Worker]") -> tuple[Callable[[Any], Any], Tell]:
    """Makes this process ready, once."""
    import ray

    worker = ray.get(ref)
    if differences := find_differences(worker.expected, worker.shared):
        raise refusal(socket.gethostname(), differences)
    function, prepare = ray.get(worker.function)
    if prepare is not None:
        prepare()
    return function, ignore if worker.told is None else worker.told.put
