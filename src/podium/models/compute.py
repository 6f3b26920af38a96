"""Where and how numbers are computed: threads, device, dtype, memory layout. The only reader of `runtime`.

On one CPU type the same threads, dtype and layout give the same bytes (torch's CPU kernels used here are
deterministic without being asked); on CUDA deterministic kernels are asked for.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from podium.config.runtime import Runtime
from podium.core.errors import ModelError


@dataclass(frozen=True)
class Compute:
    """The resolved runtime."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    compile: bool = False

    @classmethod
    def of(cls, runtime: Runtime, place: torch.device | None = None) -> "Compute":
        """Sets torch's threads and resolves the runtime.

        Args:
            runtime: the section of the params.
            place: which of the machine's devices, where there are several; None = the first.

        Returns:
            Device, dtype and layout to use.

        Raises:
            ModelError: `cuda` is asked for where there is none.
        """
        torch.set_num_threads(runtime.threads)
        if runtime.device == "cuda":
            if not torch.cuda.is_available():
                raise ModelError(
                    "runtime.device is cuda, but torch finds no CUDA device: set runtime.device to cpu, "
                    "or install a CUDA build of torch"
                )
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with it
            torch.use_deterministic_algorithms(True, warn_only=True)
        return cls(
            device=place or torch.device(runtime.device),
            dtype=torch.bfloat16 if runtime.dtype == "bfloat16" else torch.float32,
            memory_format=torch.channels_last if runtime.channels_last else torch.contiguous_format,
            compile=runtime.compile,
        )

    def place(self, module: nn.Module) -> nn.Module:
        """Moves a module to the device, in the layout."""
        return module.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]  # torch's stub lacks this documented overload

    def place_batch(self, x: torch.Tensor) -> torch.Tensor:
        """Moves a batch (N, C, H, W) to the device, in the layout."""
        return x.to(self.device).contiguous(memory_format=self.memory_format)

    def staged(self, values: NDArray[np.generic]) -> torch.Tensor:
        """Values where the device can fetch them without being waited for: in pinned memory for CUDA."""
        tensor = torch.from_numpy(values)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def fetched(self, staged: torch.Tensor) -> torch.Tensor:
        """What was `staged`, on the device; a copy from pinned memory goes on while Python does."""
        return staged.to(self.device, non_blocking=True)

    def sent_home(self, numbers: torch.Tensor) -> Callable[[], list[float]]:
        """Sends a few numbers from the device to Python; the result waits for them to arrive, if they have not."""
        if self.device.type == "cpu":
            return numbers.tolist
        home = torch.empty_like(numbers, device="cpu", pin_memory=True).copy_(numbers, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        arrived.record()

        def read() -> list[float]:
            arrived.synchronize()
            values: list[float] = home.tolist()
            return values

        return read

    def compiled(self, module: nn.Module) -> nn.Module:
        """The module through `torch.compile` where `runtime.compile` is set; it shares parameters and buffers."""
        if not self.compile:
            return module
        compiled: nn.Module = torch.compile(module)  # type: ignore[assignment]  # of a module it makes a module
        return compiled

    @property
    def generator_devices(self) -> list[torch.device]:
        """Whose random generators are set while training, besides the CPU's."""
        return [self.device] if self.device.type == "cuda" else []

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision where `runtime.dtype` is bfloat16; weights stay float32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            yield
