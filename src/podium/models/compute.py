"""Where and how numbers are computed: threads, device, dtype, memory layout. The only reader of `runtime`.

On one CPU type the same threads, dtype and layout give the same bytes (torch's CPU kernels used here are
deterministic without being asked); on CUDA deterministic kernels are asked for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from podium.core.config.runtime import Runtime
from podium.core.errors import ModelError

_NO_MEMORY = ("DefaultCPUAllocator", "not enough memory")


@contextmanager
def memory_named_in_errors(batch_size: str) -> Iterator[None]:
    """Turns running out of memory, on a CPU or an accelerator, into a message for a person; also a decorator.

    Args:
        batch_size: the key of the params that sets how many images are computed at once.

    Raises:
        ModelError: there was not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        named = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not named and not any(text in str(error) for text in _NO_MEMORY):  # a CPU's comes as a plain RuntimeError
            raise
        raise ModelError(f"out of memory: lower {batch_size} or preprocess.image_size") from error


@dataclass(frozen=True)
class Compute:
    """The resolved runtime."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, runtime: Runtime) -> "Compute":
        """Sets torch's threads and resolves the runtime.

        Args:
            runtime: the section of the params.

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
            device=torch.device(runtime.device),
            dtype=torch.bfloat16 if runtime.dtype == "bfloat16" else torch.float32,
            memory_format=torch.channels_last if runtime.channels_last else torch.contiguous_format,
        )

    def place(self, module: nn.Module) -> nn.Module:
        """Moves a module to the device, in the layout."""
        return module.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]  # torch's stub lacks this documented overload

    def place_batch(self, x: torch.Tensor) -> torch.Tensor:
        """Moves a batch (N, C, H, W) to the device, in the layout."""
        return x.to(self.device).contiguous(memory_format=self.memory_format)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision where `runtime.dtype` is bfloat16; weights stay float32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            yield
