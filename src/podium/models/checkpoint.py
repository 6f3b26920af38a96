"""The state of a training run after an epoch, in one file that is replaced whole: no kill can leave a half of it.

Tensors are safetensors, the rest is JSON in the file's metadata; nothing is pickled. No generator state is kept,
because every random number is a function of (seed, epoch or step). The folder holds one run at a time.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import safetensors.torch
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from podium.core.errors import ModelError
from podium.core.layout import CHECKPOINT
from podium.data.tensors import Tensors, save_weights
from podium.models import distributed
from podium.records.base import Record
from podium.records.training import EpochResult


class Progress(Record):
    """How far a run is: one result, one measured time (seconds) and the number of processes per finished epoch.

    `micro_batch_size`: images computed at once, at the end; less than wanted where memory was not enough.
    """

    history: tuple[EpochResult, ...] = ()
    seconds: tuple[float, ...] = ()
    processes: tuple[int, ...] = ()
    micro_batch_size: int = 0

    @property
    def val_losses(self) -> list[float]:
        """Validation loss of each epoch so far, in nats."""
        return [row.val_loss for row in self.history]

    @property
    def monitored(self) -> list[float]:
        """The loss of each epoch so far that early stopping looks at."""
        return [row.monitored for row in self.history]

    @property
    def trained_by(self) -> int | str:
        """How many processes trained: a number, or `2 x 3, 1 x 4` for three epochs by two and then four by one."""
        runs = [(count, len(list(epochs))) for count, epochs in groupby(self.processes)]
        return runs[0][0] if len(runs) == 1 else ", ".join(f"{count} x {epochs}" for count, epochs in runs)

    @property
    def best(self) -> EpochResult:
        """The epoch whose weights are kept: that with the lowest monitored loss, the first of equals."""
        return min(self.history, key=lambda row: (row.monitored, row.epoch))


@dataclass(frozen=True)
class FitResult:
    """The outcome of a run.

    Attributes:
        best: weights of the whole network, of the epoch with the lowest monitored loss (the first of equals).
        progress: all epochs.
        activations: where those of the frozen blocks are kept on disk; None where they are not.
    """

    best: dict[str, torch.Tensor]
    progress: Progress
    activations: Path | None


@dataclass(frozen=True)
class Checkpoint:
    """Saves and restores a run in one file of a folder; of several processes the first one alone has the file."""

    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / CHECKPOINT

    def save(self, progress: Progress, tensors: Tensors) -> None:
        """Replaces the saved state by what is finished and the tensors needed to go on, by name.

        Raises a `DataError` where the disk is full; the state saved before is still there.
        """
        if distributed.is_main_process():
            save_weights(self._file, tensors, {"progress": progress.model_dump_json()})

    def restore(self) -> tuple[Progress, dict[str, torch.Tensor]]:
        """Reads the saved state, for all processes; empty when nothing was saved.

        Raises:
            ModelError: the file is damaged.
        """
        found = distributed.is_main_process() and self._file.is_file()
        data = distributed.broadcast(self._file.read_bytes() if found else b"")
        if not data:
            return Progress(), {}
        try:
            tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return Progress.model_validate(json.loads(header["__metadata__"]["progress"])), tensors
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ModelError(
                f"checkpoint {self._file} is damaged: delete {self.folder} to train from the start"
            ) from error


@contextmanager
def lock_folder(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Holds a work folder, made if needed; the system lets go of it when the process ends, however it ends.

    Args:
        folder: of one run.
        patience: seconds to wait for another process that holds it.

    Raises:
        ModelError: it still does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock"), timeout=patience):
            yield
    except Timeout as error:
        raise ModelError(f"another process is at work in {folder}: wait for it, or stop it") from error
