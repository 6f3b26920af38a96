"""Where and how numbers are computed: threads, device, dtype, memory layout, and what to do when memory is not enough.

On one CPU type the same threads, dtype and layout give the same bytes (torch's CPU kernels used here are deterministic
without being asked), with `instructions: avx2` also with and without AVX-512; on CUDA deterministic kernels are asked
for.
"""

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from podium.config.runtime import Resources, Runtime, use_instructions
from podium.core.errors import ModelError
from podium.core.jobs import Cluster
from podium.core.machine import on_x86
from podium.models import distributed

_LOG = logging.getLogger(__name__)


def choose_device(runtime: Runtime) -> str:
    """The device that is computed on: `auto` is CUDA where torch finds it, else MPS, else the CPU.

    Raises:
        ModelError: `cuda` or `mps` is asked for where there is none.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if runtime.device == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if not there[runtime.device]:
        raise ModelError(
            f"runtime.device is {runtime.device}, but torch finds no {runtime.device.upper()} device: "
            "set runtime.device to cpu or auto, or install a build of torch for it"
        )
    return runtime.device


def find_cluster(root: Path, runtime: Runtime, resources: Resources, *, by_storage: bool = False) -> Cluster | None:
    """The cluster that jobs of torch run on, each with `runtime.threads` processors, and a GPU where CUDA computes.

    None where this machine runs them; so it is, too, where nodes get files by a storage, and these jobs cannot
    (`by_storage`). `root` is the project's folder.

    Raises:
        ModelError: `cuda` or `mps` is asked for where there is none.
    """
    if resources.storage is not None and not by_storage:
        return None
    return resources.cluster(root, cpus=runtime.threads, gpus=int(choose_device(runtime) == "cuda"))


@dataclass(frozen=True)
class Compute:
    """The resolved runtime; its `device` is never `auto`."""

    runtime: Runtime
    device: torch.device

    @classmethod
    def of(cls, runtime: Runtime) -> "Compute":
        """Sets torch's threads and resolves the section `runtime`.

        Raises:
            ModelError: `cuda` or `mps` is asked for where there is none, or torch was loaded with other instructions.
            ParamsError: the CPU lacks the instructions, or they were not set before torch was imported.
        """
        torch.set_num_threads(runtime.threads)
        runtime = runtime.model_copy(update={"device": choose_device(runtime)})
        _require_instructions(runtime)
        if runtime.device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with it
            torch.use_deterministic_algorithms(True, warn_only=True)
        several = distributed.world_size() > 1
        return cls(runtime, distributed.device() if several else torch.device(runtime.device))

    @property
    def dtype(self) -> torch.dtype:
        """Of activations; weights stay float32."""
        return torch.bfloat16 if self.runtime.dtype == "bfloat16" else torch.float32

    @property
    def memory_format(self) -> torch.memory_format:
        """How weights and images lie in memory."""
        return torch.channels_last if self.runtime.channels_last else torch.contiguous_format

    @property
    def identity(self) -> dict[str, str | int | float | bool]:
        """What of it changes bytes, with the number of processes that share the work."""
        return {**self.runtime.model_dump(exclude={"elastic"}), "processes": distributed.world_size()}

    def place(self, module: nn.Module) -> nn.Module:
        """Moves a module to the device, in the layout."""
        return module.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]  # torch's stub lacks this documented overload

    def place_batch(self, x: torch.Tensor) -> torch.Tensor:
        """Moves a batch (N, C, H, W) to the device, in the layout."""
        return x.to(self.device).contiguous(memory_format=self.memory_format)

    def pin(self, values: NDArray[np.generic]) -> torch.Tensor:
        """Values where the device can fetch them without being waited for: in pinned memory for CUDA."""
        tensor = torch.from_numpy(values)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def copy_to_device(self, pinned: torch.Tensor) -> torch.Tensor:
        """What `pin` gave, on the device; a copy from pinned memory goes on while Python does."""
        return pinned.to(self.device, non_blocking=True)

    def free_bytes(self) -> int:
        """Of the device's own memory; 0 where it is the machine's."""
        return torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else 0

    def copy_to_host(self, numbers: torch.Tensor) -> Callable[[], list[float]]:
        """Starts a copy of a few numbers to Python; the result waits for them to arrive, if they have not."""
        if self.device.type != "cuda":
            return numbers.tolist
        copy = torch.empty_like(numbers, device="cpu", pin_memory=True).copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        arrived.record()

        def read() -> list[float]:
            arrived.synchronize()
            values: list[float] = copy.tolist()
            return values

        return read

    def compile(self, module: nn.Module) -> nn.Module:
        """The module through `torch.compile` where `runtime.compile` is set; it shares parameters and buffers."""
        if not self.runtime.compile:
            return module
        compiled: nn.Module = torch.compile(module)  # type: ignore[assignment]  # of a module it makes a module
        return compiled

    @property
    def generator_devices(self) -> list[torch.device]:
        """Whose random generators are set while training, besides the CPU's."""
        return [self.device] if self.device.type == "cuda" else []

    def autocast(self) -> torch.autocast:
        """A context of mixed precision where `runtime.dtype` is bfloat16; weights stay float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16)


def instruction_set() -> str:
    """What torch computes with on this CPU: `x86_64 AVX2`, `x86_64 AVX512`, `aarch64 DEFAULT`."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _require_instructions(runtime: Runtime) -> None:
    """What torch itself says it computes with must be what is wanted.

    Raises:
        ModelError: it is something else.
        ParamsError: the CPU lacks the instructions, or they were not set before torch was imported.
    """
    use_instructions(runtime)
    held = runtime.device == "cpu" and runtime.instructions == "avx2" and on_x86()
    if held and not instruction_set().endswith(" AVX2"):
        raise ModelError(
            f"runtime.instructions is avx2, but torch computes with {instruction_set()}: it was loaded before that "
            "could be set; start a new process, or set runtime.instructions to native"
        )


_OF_A_CPU = ("DefaultCPUAllocator", "not enough memory")  # a CPU's comes as a plain RuntimeError

Result = TypeVar("Result")


@contextmanager
def memory_named_in_errors(batch_size: str) -> Iterator[None]:
    """Turns running out of memory, on a CPU or an accelerator, into a message for a person; also a decorator.

    `batch_size` is the key of the params that sets how many images are computed at once.

    Raises:
        ModelError: there was not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory: lower {batch_size} or preprocess.image_size, or use a smaller network"
        ) from error


class MicroBatchLimit:
    """How many images are computed at once: halved, with a notice, whenever memory is not enough for them.

    Attributes:
        images: at most so many at once; as many as a batch has, or more, is no limit.
        least: images without which the network cannot be computed.
    """

    def __init__(self, label: str, images: int, batch_size: int, *, least: int = 1, may_halve: bool = True) -> None:
        """Starts with as many as are wanted.

        Args:
            label: of the run, for the notice.
            images: at least `least`.
            batch_size: images of a batch; the last batch of an epoch may have one more (see `loader.batch_boundaries`).
            least: see the attributes.
            may_halve: False where other processes wait for the same number of computations.
        """
        self.images = images
        self._unlimited = batch_size
        self._label = label
        self.least = least
        self._may_halve = may_halve

    def run_within(self, count: int, work: Callable[[int], Result], undo: Callable[[], None] | None = None) -> Result:
        """Does some work, again and again until memory is enough for it.

        Args:
            count: images the work is about, at least 1.
            work: is given the number of images to compute at once, at most `count`.
            undo: brings back the state before `work`, where a failed attempt leaves another.

        Returns:
            What `work` returned.

        Raises:
            MemoryError: there was not enough for the fewest images, or halving is not allowed.
            RuntimeError: the same, as torch says it; or anything else that went wrong.
        """
        while True:
            tried = count if self.images >= self._unlimited else min(self.images, count)
            try:
                return work(tried)
            except (MemoryError, RuntimeError) as error:
                if tried <= self.least or not self._may_halve or not _is_out_of_memory(error):
                    raise
            # outside of the handler, which holds on to the tensors of the failed attempt
            self.images = max(self.least, tried // 2)
            self._unlimited = self.images + 1  # of a batch of 3, halved where batches are of 2, 2 is a limit
            if undo is not None:
                undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            _LOG.info(
                f"{self._label}: not enough memory for {tried} images at once: goes on with {self.images} "
                "(train.micro_batch_size); the batch of a step stays as it is"
            )


def _is_out_of_memory(error: BaseException) -> bool:
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or any(text in str(error) for text in _OF_A_CPU)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_KEPT = 2**30  # bytes of one piece
_ALL_KEPT = 2**31 - 1  # bytes of free memory at the end of the heap: mallopt takes an int


def keep_memory() -> bool:
    """Tells glibc to keep what this process gives back; False where another library, or too old a one, has memory."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_M_TRIM_THRESHOLD, _ALL_KEPT))
