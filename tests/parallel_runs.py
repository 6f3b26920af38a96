"""What the processes of `test_parallel` do."""

import contextlib
import hashlib
import json
import os
import signal
import threading
from pathlib import Path

from podium.config.models import ModelConfig
from podium.config.train import Augment, Loss
from podium.core.errors import DataError
from podium.core.jobs import tell
from podium.models import distributed, zoo
from podium.models.checkpoint import Checkpoint, FitResult
from podium.models.engine import fit
from podium.models.job import ActivationCache
from tests.small_jobs import Interrupting, job
from tests.small_splits import RECIPE

STRONG = Augment(shift=0.08, brightness=0.2, contrast=0.2)
CONVNEXT, RESNET = "test_convnext", "test_resnet"  # without and with batch norm
RECIPES: dict[str, tuple[str, str, dict[str, object]]] = {
    "mixed, accumulated, averaged": (
        CONVNEXT,
        "all",
        {"augment": Augment(cutmix=1.0), "micro_batch_size": 3, "ema_decay": 0.5, "clip_norm": 0.5},
    ),
    "unfrozen": (
        CONVNEXT,
        "all",
        {
            "unfreeze_every": 1,
            "loss": Loss(class_weights="balanced"),
            "batch_size": 10,
            "optimizer": "sgd",  # which, unlike AdamW, moves twice as far for twice the gradient
            "learning_rate": 0.02,
        },
    ),
    "cached": (CONVNEXT, "last_stage", {"views": 2}),
    "batch norm": (RESNET, "all", {"optimizer": "sgd", "augment": STRONG}),
    "batch norm, averaged": (RESNET, "all", {"optimizer": "sgd", "augment": STRONG, "ema_decay": 0.5}),
}


def run(prepared: Path, name: str, folder: Path, dies: bool = False, keep: bool = False) -> FitResult:
    """Trains by one of the recipes; `dies` after two epochs, `keep`s checkpoints to go on from."""
    architecture, trainable, changes = RECIPES[name]
    section = ModelConfig.model_validate({"architecture": architecture, "trainable": trainable, "train": RECIPE})
    recipe = RECIPE.model_copy(update=changes)
    module = zoo.create(section, 3, 0)

    task = job(prepared, recipe, section=section, cache=ActivationCache(folder / "features", 1.0, {}))
    return fit(task, module, [Interrupting(at=2)] if dies else [], Checkpoint(folder / name) if keep else None)


def run_all(root: Path) -> None:
    """All recipes, once through and once killed and resumed; each process writes what it has found."""
    for name in RECIPES:
        whole = run(root / "prepared", name, root)
        with contextlib.suppress(InterruptedError):
            run(root / "prepared", name, root, dies=True, keep=True)
        resumed = run(root / "prepared", name, root, keep=True)
        losses = [
            [row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy] for row in whole.progress.history
        ]
        told = {"losses": losses, "whole": _digest(whole), "resumed": _digest(resumed)}
        (root / f"{name} {distributed.rank()}.json").write_text(json.dumps(told))


def _digest(fitted: FitResult) -> str:
    """Of the best weights, names and bytes."""
    weights = hashlib.sha256()
    for name, tensor in fitted.best.items():
        weights.update(name.encode() + tensor.numpy().tobytes())
    return weights.hexdigest()


def refuse(message: str) -> None:
    """What a process that meets a user's mistake does; the others wait for it."""
    with distributed.process_group("cpu"):
        if distributed.is_main_process():
            raise DataError(message)
        distributed.barrier()


def be_killed(_: object) -> None:
    """What a process does that the system ends for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def never_end(_: object) -> None:
    """Tells that it runs, and does so until it is stopped."""
    tell("running")
    threading.Event().wait()
