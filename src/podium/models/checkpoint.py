"""The state of a training run after an epoch, in one file that is replaced whole: no kill can leave a half of it.

Tensors are safetensors, the rest is JSON in the file's metadata; nothing is pickled. No generator state is kept,
because every random number is a function of (seed, epoch or step). The folder holds one run at a time.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import nn, optim

from podium.core.errors import ModelError
from podium.core.records.base import Record
from podium.core.records.training import EpochResult
from podium.models.weights import Tensors, save_weights


class Progress(Record):
    """How far a run is: one result and one measured time (seconds) per finished epoch."""

    history: tuple[EpochResult, ...] = ()
    seconds: tuple[float, ...] = ()

    @property
    def val_losses(self) -> list[float]:
        return [row.val_loss for row in self.history]


@dataclass(frozen=True)
class Checkpoint:
    """Saves and restores a run in one file of a folder."""

    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def save(self, progress: Progress, best: Tensors, module: nn.Module, optimiser: optim.Optimizer) -> None:
        """Replaces the saved state.

        Args:
            progress: what is finished.
            best: the best weights so far, by name.
            module: its present weights and buffers are saved.
            optimiser: its moments are saved; its settings come from the recipe.

        Raises:
            DataError: the disk is full; the state saved before is still there.
        """
        tensors = {
            **{f"model/{name}": tensor for name, tensor in module.state_dict().items()},
            **{f"best/{name}": tensor for name, tensor in best.items()},
            **{
                f"optimiser/{index}/{name}": tensor
                for index, state in optimiser.state_dict()["state"].items()
                for name, tensor in state.items()
            },
        }
        save_weights(self._file, tensors, {"progress": progress.model_dump_json()})

    def restore(self, module: nn.Module, optimiser: optim.Optimizer) -> tuple[Progress, dict[str, torch.Tensor]]:
        """Brings module and optimiser to the saved state, if there is one.

        Args:
            module: placed as it was when saved; changed in place.
            optimiser: of this module, fresh; changed in place.

        Returns:
            Progress and best weights; empty ones when nothing was saved.

        Raises:
            ModelError: the file is damaged.
        """
        if not self._file.is_file():
            return Progress(), {}
        try:
            with safe_open(self._file, framework="pt") as stored:
                progress = Progress.model_validate(json.loads(stored.metadata()["progress"]))
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # not a mapping
        except (SafetensorError, KeyError, ValueError) as error:
            raise ModelError(
                f"checkpoint {self._file} is damaged: delete {self.folder} to train from the start"
            ) from error
        module.load_state_dict(_below("model/", tensors))
        _restore_moments(optimiser, _below("optimiser/", tensors))
        return progress, _below("best/", tensors)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Holds a work folder for this process; the system lets go of it when the process ends, however it ends.

    Args:
        folder: made if needed; `discard` removes it.

    Raises:
        ModelError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise ModelError(f"another process is at work in {folder}: wait for it, or stop it") from error


def discard(folder: Path) -> None:
    """Removes a work folder once its results are written."""
    shutil.rmtree(folder, ignore_errors=True)


def _below(prefix: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore_moments(optimiser: optim.Optimizer, saved: Tensors) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in saved.items():
        index, name = key.split("/", 1)
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # fused kernels walk raw memory: a moment must lie in memory as its parameter does
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)  # noqa: PLW2901
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
