"""Several processes that train one network together, started by `start`, by Ray Train, or by hand with torchrun.

Every process computes its part of each batch and of the validation split; gradients and sums are added up by torch's
DDP and `torch.distributed` (gloo on CPUs, nccl on CUDA), so that all processes hold the same weights and the same
figures. A step takes the images that one process alone would take, and its gradient is their mean; results differ from
those of one process by rounding, so the number of processes is part of every fingerprint. The first process alone
writes files, prints and tells callbacks; the others wait for it. No other module knows torch's process group.

Batch normalisation sees a process's own part of a batch on CPUs; on CUDA it becomes SyncBatchNorm and sees all of it.
Running averages are averaged over the processes after each epoch.
"""

import logging
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import timedelta
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn

from podium.console.process import set_up_logging
from podium.core.errors import ModelError, PodiumError, UsageError
from podium.core.jobs import POLL_SECONDS, Failure, Job, run_job, tell

_PATIENCE = timedelta(days=1)  # the first process may work for long while the others wait; a dead one ends them all
_CPU = torch.device("cpu")
_FROM_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the process that writes, prints and tells callbacks."""
    return rank() == 0


def device() -> torch.device:
    """Of this process, where tensors must lie to be sent."""
    return torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else _CPU


def own_part(count: int) -> NDArray[np.int64]:
    """This process's part of `count` things: int64 positions, contiguous; empty where there are too few."""
    return np.arange(count * rank() // world_size(), count * (rank() + 1) // world_size())


def all_reduce(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, the same bits in each; changes `values` in place."""
    if world_size() > 1:
        distributed.all_reduce(values)
    return values


def average_buffers(module: nn.Module) -> None:
    """Gives all processes the mean of their running averages (of batch normalisation)."""
    if world_size() > 1:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                all_reduce(buffer).div_(world_size())


def broadcast(data: bytes) -> bytes:
    """What the first process holds, in all of them; the others' own is not looked at."""
    if world_size() == 1:
        return data
    length = torch.tensor([len(data)], device=device())
    distributed.broadcast(length, src=0)
    content = torch.empty(int(length), dtype=torch.uint8)
    if is_main_process() and data:
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    content = content.to(device())
    distributed.broadcast(content, src=0)
    return content.cpu().numpy().tobytes()


def barrier() -> None:
    """Waits until all processes are here."""
    if world_size() > 1:
        distributed.barrier()


def to_be(wanted: int) -> int:
    """How many processes train together, or will once `wanted` are started."""
    return wanted if not distributed.is_initialized() else distributed.get_world_size()


def refuse_several_processes(stage: str, instead: str) -> None:
    """Ends a stage that does not share its work in this way; `instead` is a sentence on what it has for that.

    Raises:
        UsageError: torchrun started several processes.
    """
    if (processes := started()) > 1:
        raise UsageError(
            f"torchrun started {processes} processes, but {stage} does not share its work among them ({instead}): "
            f"start it as `python -m stages.{stage}`"
        )


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Joins the processes that torchrun started; without it, or with one process, there is nothing to join.

    Only the first process can be heard on standard output. A group that was joined already is left as it is.
    `device` is that of `compute.choose_device`. Raises a `ModelError` where more processes were started than CUDA
    devices are here.
    """
    if started() == 1 or distributed.is_initialized():
        yield
        return
    if device == "cuda":
        _set_cuda_device()
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    with ExitStack() as stack:
        stack.callback(distributed.destroy_process_group)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of depthwise convolutions: not an error
        if not is_main_process():
            quiet = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(quiet))
        yield
        barrier()


def start(function: Callable[[Job], object], job: Job, processes: int) -> None:
    """Runs a function on one job in several processes of this machine at once, as torchrun starts them.

    What they tell is told here.

    Raises:
        PodiumError: what one of them raised, or one was ended from outside.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it says is said here
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port
        local_addr="localhost",
        max_restarts=0,
    )
    events = multiprocessing.get_context(config.start_method).SimpleQueue()
    failures: list[BaseException] = []
    with ThreadPoolExecutor(1, thread_name_prefix="torchrun") as launcher:
        # in a thread, where torch's launcher leaves signals to this process
        launched = launcher.submit(elastic_launch(config, _run), function, job, events)
        try:
            while not launched.done() or not events.empty():
                if events.empty():
                    wait([launched], POLL_SECONDS)
                elif isinstance(event := events.get(), Failure):
                    failures.append(event.error)
                else:
                    tell(event)
        except BaseException:
            while not launched.done():  # it may be about to start one more
                for process in multiprocessing.active_children():
                    process.terminate()
                wait([launched], POLL_SECONDS)
            raise
    try:
        launched.result()
    except ChildFailedError as error:
        if failures:
            raise failures[0] from error
        if any(failure.exitcode == -signal.SIGKILL for failure in error.failures.values()):
            raise PodiumError(
                "a process of the training was ended from outside, perhaps for want of memory: lower "
                "train.micro_batch_size, or run the stage again to go on"
            ) from error
        raise


def _run(function: Callable[[Job], object], job: Job, events: "SimpleQueue[Any]") -> None:
    """In a process that was started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # of Ctrl-C, and of the end of the process that started this one
    set_up_logging()
    try:
        run_job(function, job, events.put)
    except PodiumError as error:
        events.put(Failure(error))
        raise


def started() -> int:
    """How many processes torchrun started for this run; 1 without it.

    Raises:
        UsageError: something else set WORLD_SIZE, and not what goes with it.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    missing = [name for name in _FROM_TORCHRUN if name not in os.environ]
    if size == "1" or not missing:
        return int(size)
    raise UsageError(
        f"WORLD_SIZE is {size!r} in the environment, but {', '.join(missing)} is missing, so torchrun did not start "
        "this: start it with torchrun, or unset WORLD_SIZE"
    )


def _set_cuda_device() -> None:
    """Makes this process's own device torch's current one."""
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise ModelError(
            f"torchrun started a process for CUDA device {local}, but this machine has "
            f"{torch.cuda.device_count()}: lower --nproc-per-node, or set runtime.device to cpu"
        )
    torch.cuda.set_device(local)
