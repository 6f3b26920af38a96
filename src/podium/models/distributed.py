"""Several processes that train one network together, started by `torchrun --nproc-per-node N -m stages.train ...`.

Every process computes its part of each batch and of the validation split; gradients and sums are added up by torch's
DDP and `torch.distributed` (gloo on CPUs, nccl on CUDA), so that all processes hold the same weights and the same
figures. A step takes the images that one process alone would take, and its gradient is their mean; results differ from
those of one process by rounding, so the number of processes is part of every fingerprint. The first process alone
writes files, prints and tells callbacks; the others wait for it. No other module knows torch's process group.

Batch normalisation sees a process's own part of a batch on CPUs; on CUDA it becomes SyncBatchNorm and sees all of it.
Running averages are averaged over the processes after each epoch.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn

from podium.core.errors import ModelError, UsageError

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


def refuse_several_processes(stage: str, instead: str) -> None:
    """Ends a stage that does not share its work in this way; `instead` is a sentence on what it has for that.

    Raises:
        UsageError: torchrun started several processes.
    """
    if (started := _started()) > 1:
        raise UsageError(
            f"torchrun started {started} processes, but {stage} does not share its work among them ({instead}): "
            f"start it as `python -m stages.{stage}`"
        )


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Joins the processes that torchrun started; without it, or with one process, there is nothing to join.

    Only the first process can be heard on standard output. A group that was joined already is left as it is.
    `device` is that of `compute.choose_device`. Raises a `ModelError` where more processes were started than CUDA
    devices are here.
    """
    if _started() == 1 or distributed.is_initialized():
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


def _started() -> int:
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
