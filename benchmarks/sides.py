"""One side of a comparison of training loops, in a process of its own: `python -m benchmarks.sides SIDE TASK.json`.

- `podium`: the engine itself (`fit`, with a checkpoint of every epoch), prepared splits, bfloat16, channels_last
- `reference`: ImageFolder, torchvision v2 on each image, two workers, a plain float32 loop
- `expert`: the same with what one adds by hand: bfloat16 autocast, channels_last, fused AdamW, workers that stay
- `fastai`: fastai's `vision_learner`, unfrozen, `fit_one_cycle`, its own transforms of a batch

All train ResNet-18 from random weights (speed does not depend on them) on the same images in batches of the same size
for the same epochs with the same number of threads, with crops or shifts, flips, brightness and contrast, and measure
the same validation images after every epoch. A few steps go before, untimed. The last line printed is `Timed` as JSON.
"""

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from podium.config.train import Augment, Loss, Train

ARCHITECTURE = "resnet18"
WORKERS = 2
CHANGE = 0.2
"""Largest change of brightness and of contrast."""
LEAST_CROP = 0.35
"""Least share of the area that a random crop takes, of photographs."""
PADDING = 4
"""Pixels that an image is shifted by at most, of small ones."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMOOTHING, DECAY, WARM_UP_EPOCHS = 0.1, 0.05, 0.5
Side = Literal["podium", "reference", "expert", "fastai"]
Named = TypeVar("Named")
Work = TypeVar("Work")


@dataclass(frozen=True)
class Task:
    """What every side has to do. `prepared` and `files` are those of `Photographs`; `small`: shift instead of crop."""

    prepared: str
    files: str
    image_size: int
    batch_size: int
    epochs: int
    threads: int
    seed: int = 0
    learning_rate: float = 1e-3
    small: bool = False


@dataclass(frozen=True)
class Timed:
    """What a side took. `images` are training images; validation is in the time. Accuracy: of the last epoch."""

    images: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    accuracy: float

    @property
    def per_cpu_second(self) -> float:
        """Training images per second of the processor."""
        return self.images / self.cpu_seconds

    @property
    def per_second(self) -> float:
        """Training images per second on the clock."""
        return self.images / self.seconds


def run(side: Side, task: Task) -> Timed:
    """Runs a side in a process of its own.

    Raises:
        RuntimeError: it failed; the message holds what it printed.
    """
    return Timed(**in_own_process("benchmarks.sides", side, json.dumps(asdict(task))))


def in_own_process(module: str, side: str, task: str) -> dict[str, Any]:
    """Runs `python -m MODULE SIDE FILE`, so that a side's memory and libraries are its own.

    Args:
        module: what is run.
        side: its first argument.
        task: JSON text of the file that is its second.

    Returns:
        The JSON object it printed last.

    Raises:
        RuntimeError: it failed; the message holds what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.json"
        file.write_text(task, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", module, side, str(file)],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"side {side} failed:\n{done.stdout}{done.stderr}")
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def recipe(task: Task) -> Train:
    """The recipe as Podium reads it."""
    augment = Augment(
        shift=PADDING / task.image_size if task.small else 0.0,
        crop_area=1.0 if task.small else LEAST_CROP,
        brightness=CHANGE,
        contrast=CHANGE,
    )
    return Train(
        epochs=task.epochs,
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        weight_decay=DECAY,
        warmup_epochs=WARM_UP_EPOCHS,
        loss=Loss(label_smoothing=SMOOTHING),
        augment=augment,
    )


def _podium(task: Task) -> Timed:
    """The engine, with a checkpoint after every epoch."""
    from benchmarks.trial_steps import measure, trial_job
    from podium.config.models import ModelConfig
    from podium.config.runtime import Runtime
    from podium.data.shards import open_for_fitting
    from podium.models import zoo
    from podium.models.checkpoint import Checkpoint
    from podium.models.compute import Compute
    from podium.models.engine import fit
    from podium.models.job import ActivationCache, Job

    runtime = Runtime(threads=task.threads, dtype="bfloat16", channels_last=True)
    train, val = (open_for_fitting(Path(task.prepared), split) for split in ("train", "val"))
    config = ModelConfig(architecture=ARCHITECTURE, train=recipe(task))
    measure(trial_job(config, train, runtime, task.seed), seconds=0)
    job = Job("podium", train, val, config, MEAN, STD, Compute.of(runtime), task.seed, ActivationCache(Path(), 0, {}))
    module = zoo.create(config, len(train.classes), task.seed)

    def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(job, module, checkpoint=Checkpoint(Path(folder)))
        return fitted.progress.history[-1].val_accuracy

    return _timed(work, len(train) * task.epochs)


def _loop(task: Task, *, expert: bool) -> Timed:
    """The reference recipe as one writes it by hand, or the `expert` one."""
    import timm

    torch.manual_seed(task.seed)
    train, val = loaders(task, expert=expert)
    layout = torch.channels_last if expert else torch.contiguous_format
    network: nn.Module = timm.create_model(ARCHITECTURE, num_classes=len(_classes(task)))
    network = network.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = torch.optim.AdamW(network.parameters(), task.learning_rate, weight_decay=DECAY, fused=expert)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_rate(task, len(train)))
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)

    def outputs(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=expert):
            logits: torch.Tensor = network(x.contiguous(memory_format=layout))
        return logits.float()

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        criterion(outputs(x), y).backward()
        optimizer.step()

    def work() -> float:
        for _ in range(task.epochs):
            network.train()
            for x, y in train:
                step(x, y)
                scheduler.step()
            network.eval()
            with torch.no_grad():
                right = [(outputs(x).argmax(1) == y) for x, y in val]
        train._iterator = val._iterator = None  # workers that stay end, and their time counts
        return torch.cat(right).double().mean().item()

    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(task.batch_size, 3, task.image_size, task.image_size)
    for _ in range(3):
        step(x, torch.zeros(task.batch_size, dtype=torch.int64))
    network.load_state_dict(before)
    optimizer.state.clear()
    return _timed(work, len(train.dataset) * task.epochs)  # type: ignore[arg-type]  # ImageFolder has a length


def loaders(task: Task, *, expert: bool) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation images from files, decoded and changed by workers."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    size = task.image_size
    crop = (
        v2.RandomCrop(size, padding=PADDING, padding_mode="edge")
        if task.small
        else v2.RandomResizedCrop(size, scale=(LEAST_CROP, 1.0))
    )
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    changed = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.ColorJitter(CHANGE, CHANGE), *last])
    plain = v2.Compose([v2.Resize(size), v2.CenterCrop(size), *last])
    made = [
        DataLoader(
            ImageFolder(f"{task.files}/{split}", transform),
            task.batch_size,
            shuffle=split == "train",
            num_workers=WORKERS,
            persistent_workers=expert,
        )
        for split, transform in (("train", changed), ("val", plain))
    ]
    return made[0], made[1]


def share_of_rate(task: Task, steps_per_epoch: int) -> Callable[[int], float]:
    """Linear warm-up, then cosine: the formula that `Schedule` documents."""
    warm_up = round(WARM_UP_EPOCHS * steps_per_epoch)
    total = task.epochs * steps_per_epoch - warm_up

    def share(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        return (1 + math.cos(math.pi * (step - warm_up) / total)) / 2

    return share


def _classes(task: Task) -> list[str]:
    return sorted(path.name for path in Path(task.files, "train").iterdir())


def _fastai(task: Task) -> Timed:
    """The loop, transforms and schedule of fastai, which only the extra `bench` brings."""
    from fastai.vision.all import (  # type: ignore[import-untyped,unused-ignore]
        Brightness,
        Contrast,
        Flip,
        ImageDataLoaders,
        Normalize,
        RandomResizedCrop,
        accuracy,
        resnet18,
        vision_learner,
    )

    torch.manual_seed(task.seed)
    loaders = ImageDataLoaders.from_folder(
        Path(task.files),
        train="train",
        valid="val",
        item_tfms=RandomResizedCrop(task.image_size, min_scale=LEAST_CROP),
        batch_tfms=[Flip(), Brightness(CHANGE), Contrast(CHANGE), Normalize.from_stats(MEAN, STD)],
        bs=task.batch_size,
        num_workers=WORKERS,
    )
    learner = vision_learner(loaders, resnet18, pretrained=False, metrics=accuracy)
    learner.unfreeze()

    def work() -> float:
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(task.epochs, task.learning_rate, wd=DECAY)
        return float(learner.recorder.values[-1][-1])

    x = torch.randn(task.batch_size, 3, task.image_size, task.image_size)
    for _ in range(3):
        learner.model.train()(x).mean().backward()
        learner.model.zero_grad()
    return _timed(work, len(loaders.train_ds) * task.epochs)


def _timed(work: Callable[[], float], images: int) -> Timed:
    """Runs the work and measures it, with the processes it started and waited for."""
    start, before = time.perf_counter(), used_cpu_seconds()
    accuracy = work()
    seconds, cpu_seconds = time.perf_counter() - start, used_cpu_seconds() - before
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Timed(images, seconds, cpu_seconds, 1024 * (own + WORKERS * workers), accuracy)


def used_cpu_seconds() -> float:
    """Of this process so far, and of those it started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


SIDES: dict[Side, Callable[[Task], Timed]] = {
    "podium": _podium,
    "reference": lambda task: _loop(task, expert=False),
    "expert": lambda task: _loop(task, expert=True),
    "fastai": _fastai,
}


def chosen(sides: Mapping[Named, Work], name: str) -> Work:
    """The side of a name from the command line; ends with the known names where there is none."""
    for known, work in sides.items():
        if known == name:
            return work
    raise SystemExit(f"there is no side {name!r}: choose one of {', '.join(map(str, sides))}")


def main(name: str, file: str) -> None:
    """Runs a side in this process and prints what it took."""
    work = chosen(SIDES, name)
    task = Task(**json.loads(Path(file).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    print(json.dumps(asdict(work(task))))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
