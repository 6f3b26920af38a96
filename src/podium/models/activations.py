"""What a network's frozen front gives for every image, kept on disk for a study.

With `train.views: K` every image has K changed versions, taken in turn by the epochs, so what never learns
needs to see each of them once. Its outputs are rounded to bfloat16 and memory-mapped. A view is written, whole or not
at all, when an epoch first needs it: a run that was killed goes on with the views that are there, and the trials of a
study and the final training take them from each other. Where the disk budget is too small, each batch is computed
when it is needed, with the same rounding.
"""

import hashlib
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import nn

from podium.console.progress import show_progress
from podium.core.errors import DataError
from podium.core.files import replacing, sha256_file, write_text
from podium.core.identity import fingerprint
from podium.data import loader
from podium.data.augment.batch import apply
from podium.data.augment.parameters import Augmentation
from podium.data.shards import PreparedSplit
from podium.models.job import Job

_LOG = logging.getLogger(__name__)

BATCH = 32  # images at once; a constant, so that the bytes kept do not hang on who asked for them first

_GIB = 2**30
_BYTES = 2  # of a bfloat16


class Activations:
    """Inputs of the trainable part: kept on disk, or computed when asked for. `entry`: its folder, or None."""

    def __init__(self, job: Job, frozen: nn.Sequential) -> None:
        """Decides whether outputs are kept; nothing is computed yet but one image.

        Args:
            job: without `views`, training images are not changed. Each combination of data, settings and weights has
                an entry of its own in the cache's folder. Sizes alone decide whether there is room, never what happens
                to be free.
            frozen: `Plan.frozen`, on the device, in evaluation mode.
        """
        self._job, self._frozen, self._views = job, frozen, job.recipe.views
        self._kept: dict[str, NDArray[np.uint16]] = {}
        self._on_device: dict[str, torch.Tensor] = {}
        self._drawn: tuple[int, Augmentation] | None = None
        self._shape = tuple(self._compute(job.val, None, np.zeros(1, np.int64)).shape[1:])
        # whether values lie on disk as (N, H, W, C), which is how channels_last memory lies
        self._channels_last = len(self._shape) == 3 and job.compute.memory_format is torch.channels_last
        self._kept_shape = (*self._shape[1:], self._shape[0]) if self._channels_last else self._shape
        count = (self._views or 1) * len(job.train) + len(job.val)
        gib = count * math.prod(self._shape) * _BYTES / _GIB
        self.entry = job.cache.folder / self._digest() if gib <= job.cache.gib else None
        if self.entry is None and job.cache.gib > 0:
            _LOG.info(
                f"{job.label}: what the frozen layers give would take {gib:.1f} GiB on disk, more than "
                f"resources.cache_gib ({job.cache.gib:g}): it is computed again in every epoch"
            )

    def prepare(self, epoch: int) -> None:
        """Computes what an epoch (from 0) needs and is not kept yet, with progress; `train` and `val` then only read.

        Raises a `DataError` where the disk is full, or where what is kept is damaged; so do `train` and `val`.
        """
        if self.entry is not None:
            self._load_view(self.entry, self._job.train, self._view(epoch))
            self._load_view(self.entry, self._job.val, None)

    def train(self, rows: NDArray[np.int64], epoch: int) -> torch.Tensor:
        """The trainable part's input for some training images, as the epoch's view shows them.

        Args:
            rows: int64, shape (B,), any order.
            epoch: from 0.

        Returns:
            Shape (B, ...), on the device, in the layout and the dtype of `runtime`; its values are bfloat16's.
        """
        return self._batch(self._job.train, self._view(epoch), rows)

    def val(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """The trainable part's input for some validation images, unchanged; else like `train`."""
        return self._batch(self._job.val, None, rows)

    def _view(self, epoch: int) -> int | None:
        """The view that an epoch shows; None: the unchanged images."""
        return None if self._views is None else epoch % self._views

    def _batch(self, split: PreparedSplit, view: int | None, rows: NDArray[np.int64]) -> torch.Tensor:
        if self.entry is None:
            values = self._compute(split, view, rows)
        else:
            values = self._read(self._load_view(self.entry, split, view), _name(split, view), rows)
            values = values.permute(0, 3, 1, 2) if self._channels_last else values
        compute = self._job.compute
        values = values.to(compute.device, compute.dtype)
        return compute.place_batch(values) if values.dim() == 4 else values

    def _read(self, kept: NDArray[np.uint16], name: str, rows: NDArray[np.int64]) -> torch.Tensor:
        """Some rows of a view, bfloat16; of a copy in the device's memory where half of what is free there holds it."""
        if name not in self._on_device:
            if 2 * kept.nbytes > self._job.compute.free_bytes():
                return torch.from_numpy(kept[rows]).view(torch.bfloat16)
            whole = torch.from_numpy(np.array(kept)).view(torch.bfloat16)
            self._on_device[name] = self._job.compute.copy_to_device(whole)
        there = self._on_device[name]
        return there[torch.from_numpy(rows).to(there.device)]

    def _compute(self, split: PreparedSplit, view: int | None, rows: NDArray[np.int64]) -> torch.Tensor:
        """The frozen part's output of some images, bfloat16, on the device."""
        return self._forward(split.images(rows), None if view is None else self._changes(view).take(rows))

    def _forward(self, images: NDArray[np.uint8], change: Augmentation | None) -> torch.Tensor:
        job = self._job
        pixels = torch.from_numpy(images).to(job.compute.device)
        x = job.compute.place_batch(apply(pixels, change, job.mean, job.std))
        with torch.no_grad(), job.compute.autocast():
            out: torch.Tensor = self._frozen(x)
        return out.to(torch.bfloat16)

    def _changes(self, view: int) -> Augmentation:
        """Of `Job.draw_view`; the last one asked for is remembered."""
        if self._drawn is None or self._drawn[0] != view:
            self._drawn = view, self._job.draw_view(view)
        return self._drawn[1]

    def _load_view(self, entry: Path, split: PreparedSplit, view: int | None) -> NDArray[np.uint16]:
        """The memory map of a view (None: the unchanged images), computed first where it is not kept yet."""
        name = _name(split, view)
        if name not in self._kept:
            path = entry / f"{name}.bin"
            entry.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(entry.parent / "lock"):  # of trials side by side one writes, and none removes meanwhile
                entry.mkdir(exist_ok=True)
                if not _digest_file(path).is_file():
                    self._make_room(entry, math.prod((len(split), *self._shape)) * _BYTES)
                    self._write(path, split, view)
                    write_text(_digest_file(path), sha256_file(path))
                self._kept[name] = _open_memory_map(path, (len(split), *self._kept_shape))
        return self._kept[name]

    def _make_room(self, entry: Path, needed: int) -> None:
        """Removes other entries, those not written to for the longest first, until the budget allows more bytes.

        A study whose trials change images or freeze other layers has an entry for each kind. What another process
        reads at the moment stays readable for it.
        """
        entries = sorted((e for e in entry.parent.iterdir() if e.is_dir()), key=lambda e: e.stat().st_mtime_ns)
        sizes = {e: sum(file.stat().st_size for file in e.glob("*.bin")) for e in entries}
        for other in entries:
            if other != entry and sum(sizes.values()) + needed > self._job.cache.gib * _GIB:
                shutil.rmtree(other)
                del sizes[other]

    def _write(self, path: Path, split: PreparedSplit, view: int | None) -> None:
        def read(bounds: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
            rows = np.arange(*bounds)
            return rows, split.images(rows)

        changes = None if view is None else self._changes(view)
        what = f"unchanged {split.name} images" if view is None else f"view {view + 1} of {self._views}"
        with (
            replacing(path) as temporary,
            temporary.open("wb") as out,
            show_progress(f"{self._job.label}: frozen layers, {what}", len(split), transient=True) as advance,
        ):
            for rows, images in loader.prefetch(read, loader.batch_boundaries(len(split), BATCH)):
                values = self._forward(images, None if changes is None else changes.take(rows))
                values = values.permute(0, 2, 3, 1) if self._channels_last else values
                out.write(values.contiguous().view(torch.uint16).cpu().numpy().data)
                advance(len(rows))

    def _digest(self) -> str:
        """Names all that decides what is kept, but for the number of views; unchanged images know no chance."""
        job = self._job
        drawn = {"changes": job.recipe.augment.model_dump(mode="json"), "seed": job.seed} if self._views else {}
        weights = hashlib.sha256()
        for name, tensor in self._frozen.state_dict().items():
            weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            weights.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return fingerprint(
            {
                "data": {"train": job.train.digest, "val": job.val.digest},
                "weights": weights.hexdigest(),
                "shape": self._kept_shape,
                "blocks": str(self._frozen),  # what has no weights counts too: average or maximum pooling
                "normalisation": [job.mean, job.std],
                **drawn,
                **job.cache.identity,
            }
        )


def _name(split: PreparedSplit, view: int | None) -> str:
    """Of the file of a view; None: of the unchanged images."""
    return f"unchanged-{split.name}" if view is None else f"view-{view:03d}"


def remove_other_entries(folder: Path, entry: Path | None) -> None:
    """Removes from a model's folder what earlier recipes, weights or data left behind; `entry` stays."""
    for other in folder.iterdir() if folder.is_dir() else ():
        if other.is_dir() and other != entry:
            shutil.rmtree(other)


def _digest_file(path: Path) -> Path:
    """Where the digest of a kept view lies; it is written last, so a view with one is whole."""
    return path.with_suffix(".sha256")


def _open_memory_map(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """A kept view, its bytes checked first: one pass over a file that the epoch reads anyway.

    The file is the values alone: numpy reads the header of an `.npy` with Python's parser, which fails now and then
    where two threads do so at once (`SystemError: AST constructor recursion depth mismatch`, CPython 3.11).
    """
    try:
        if sha256_file(path) != _digest_file(path).read_text(encoding="utf-8"):
            raise DataError(f"{path} is damaged (its digest is another): delete {path.parent} and run the stage again")
        values: NDArray[np.uint16] = np.memmap(path, dtype="<u2", mode="r", shape=shape)
    except OSError as error:
        raise DataError(f"{path} cannot be read: delete {path.parent} and run the stage again") from error
    return values
