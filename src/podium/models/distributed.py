"""Several processes that train one network together, started by `torchrun --nproc-per-node N -m stages.train ...`.

Every process computes its part of each batch and of the validation split; gradients and sums are added up by torch's
DDP and `torch.distributed` (gloo on CPUs, nccl on CUDA), so that all processes hold the same weights and the same
figures. A step takes the images that one process alone would take, and its gradient is their mean; results differ from
those of one process by rounding, so the number of processes is part of every fingerprint. The first process alone
writes files, prints and is watched; the others wait for it.

Batch normalisation sees a process's own part of a batch on CPUs; on CUDA it becomes SyncBatchNorm and sees all of it.
Running averages are averaged over the processes after each epoch.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
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


@dataclass(frozen=True)
class World:
    """The processes at work, as one of them sees them.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        device: of this process, where tensors must lie to be sent.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, prints and is watched."""
        return self.rank == 0

    def part(self, count: int) -> NDArray[np.int64]:
        """This process's part of `count` things: int64 positions, contiguous; empty where there are too few."""
        return np.arange(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, the same bits in each; changes `values` in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def average_buffers(self, module: nn.Module) -> None:
        """Gives all processes the mean of their running averages (of batch normalisation)."""
        if self.size > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    self.summed(buffer).div_(self.size)

    def told_by_first(self, data: bytes) -> bytes:
        """What the first process holds, in all of them; the others' own is not looked at."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)], device=self.device)
        distributed.broadcast(length, src=0)
        content = torch.empty(int(length), dtype=torch.uint8)
        if self.leads and data:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        content = content.to(self.device)
        distributed.broadcast(content, src=0)
        return content.cpu().numpy().tobytes()

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = World()


def refuse_several_processes(stage: str, instead: str) -> None:
    """Ends a stage that torchrun started and that does not share its work in this way.

    Args:
        stage: its name.
        instead: what it has for that, a sentence.

    Raises:
        UsageError: torchrun started several processes.
    """
    if (started := _started()) > 1:
        raise UsageError(
            f"torchrun started {started} processes, but {stage} does not share its work among them ({instead}): "
            f"start it as `python -m stages.{stage}`"
        )


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Joins the processes that torchrun started; without it, or with one process, there is nothing to join.

    Args:
        device: `runtime.device`.

    Yields:
        The world as this process sees it, also to those who are in it already. Only the first process can be heard on
        standard output.

    Raises:
        ModelError: more processes were started on this machine than it has CUDA devices.
    """
    if _started() == 1:
        yield ALONE
        return
    place = _place(device)
    if distributed.is_initialized():
        yield _seen_from(place)
        return
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    with ExitStack() as stack:
        stack.callback(distributed.destroy_process_group)
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of depthwise convolutions: not an error
        world = _seen_from(place)
        if not world.leads:
            quiet = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(quiet))
        yield world
        world.wait()


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


def _place(device: str) -> torch.device:
    """Where this process computes; becomes torch's current CUDA device."""
    if device == "cpu":
        return _CPU
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise ModelError(
            f"torchrun started a process for CUDA device {local}, but this machine has "
            f"{torch.cuda.device_count()}: lower --nproc-per-node, or set runtime.device to cpu"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _seen_from(place: torch.device) -> World:
    return World(distributed.get_rank(), distributed.get_world_size(), place)
