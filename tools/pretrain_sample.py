"""Pretrain the two checkpoints of the sample on random shape classes, none of them one of the twelve.

    python tools/pretrain_sample.py --out data

The drawn set is kept as .npy files in a work folder, so that a second run skips the drawing. A run is seeded;
the files it writes hold float16 weights without the classifier's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from sample_kinds import Kind, random_kinds
from sample_scene import draw_picture
from torch import Tensor, nn

import podium  # noqa: F401  (defines operator schemas that torchvision lacks on CPU builds)

INPUT_SIZE = 64
HELD_OUT = 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Plan:
    """How one architecture is pretrained.

    Attributes:
        architecture: timm name.
        head: prefix of the classifier's weights, which are not saved.
        epochs: passes over the set.
        rate: peak learning rate of AdamW.
    """

    architecture: str
    head: str
    epochs: int
    rate: float


PLANS = (Plan("convnext_atto", "head.fc.", 10, 2e-3), Plan("resnet18", "fc.", 5, 1.5e-3))


@cache
def _kinds(seed: int, classes: int) -> tuple[Kind, ...]:
    """Return the shape classes, once per process."""
    return random_kinds(seed, classes)


def _draw_class(task: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Draw all pictures of one class, shape (per_class, 64, 64, 3)."""
    seed, classes, number, per_class = task
    kinds = _kinds(seed, classes)
    pictures = [
        draw_picture(seed, kinds[number], index, size=INPUT_SIZE, others=kinds).pixels for index in range(per_class)
    ]
    return np.stack(pictures)


def shape_set(seed: int, classes: int, per_class: int, work: Path, processes: int) -> NDArray[np.uint8]:
    """Draw the shape set, or load it from the work folder.

    Args:
        seed: seed of kinds and pictures.
        classes: number of classes.
        per_class: pictures of each.
        work: folder for the cache.
        processes: how many processes draw.

    Returns:
        uint8 RGB, shape (classes, per_class, 64, 64, 3); it does not depend on `processes`.
    """
    path = work / f"shapes-{seed}-{classes}x{per_class}.npy"
    if path.exists():
        stored: NDArray[np.uint8] = np.load(path)
        return stored
    tasks = [(seed, classes, number, per_class) for number in range(classes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pictures = np.stack(pool.map(_draw_class, tasks, chunksize=2))
    partial = path.with_suffix(".part.npy")
    np.save(partial, pictures)
    partial.replace(path)
    return pictures


def _normalised(images: Tensor) -> Tensor:
    """Return uint8 (n, 64, 64, 3) as float32 (n, 3, 64, 64) with ImageNet mean and deviation, channels last."""
    scaled = (images.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return scaled.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _batches(images: Tensor, labels: Tensor, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled batches; half of each is mirrored, and the batch is moved by up to 5 pixels."""
    order = torch.randperm(len(labels), generator=generator)
    for start in range(0, len(order) - size + 1, size):
        chosen = order[start : start + size]
        batch = _normalised(images[chosen])
        mirrored = torch.rand(size, generator=generator) < 0.5
        batch[mirrored] = batch[mirrored].flip(-1)
        down, right = (int(step) for step in torch.randint(0, 11, (2,), generator=generator))
        padded = nn.functional.pad(batch, (5, 5, 5, 5), mode="reflect")
        moved = padded[:, :, down : down + INPUT_SIZE, right : right + INPUT_SIZE]
        yield moved.contiguous(memory_format=torch.channels_last), labels[chosen]


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose class the model names first.

    Args:
        model: classifier.
        images: uint8, shape (n, 64, 64, 3).
        labels: int64, shape (n,).

    Returns:
        A number in 0..1.
    """
    model.eval()
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(labels), 256):
            scores = model(_normalised(images[start : start + 256]))
            hits += int((scores.argmax(dim=1) == labels[start : start + 256]).sum())
    return hits / max(len(labels), 1)


def pretrain(plan: Plan, pictures: NDArray[np.uint8], seed: int, batch: int = 64) -> tuple[nn.Module, float]:
    """Train one architecture from random weights on the shape set.

    Args:
        plan: what to train and for how long.
        pictures: uint8, shape (classes, per_class, 64, 64, 3); the last `HELD_OUT` of each class are held out.
        seed: seed of weights, order and augmentation.
        batch: pictures in a batch.

    Returns:
        The model and its accuracy on the pictures held out.
    """
    from podium.core.vision import timm

    torch.manual_seed(seed)
    classes = len(pictures)
    model: nn.Module = timm.create_model(plan.architecture, num_classes=classes)
    # The stubs of `Module.to` lack memory_format, so each convolution's weights are laid out in place.
    for weight in model.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    train, held = torch.from_numpy(pictures[:, :-HELD_OUT]), torch.from_numpy(pictures[:, -HELD_OUT:])
    labels = torch.arange(classes).repeat_interleave(train.shape[1])
    train = train.flatten(0, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=0.05)
    steps = plan.epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(plan.epochs):
        began, total = time.perf_counter(), 0.0
        model.train()
        for inputs, targets in _batches(train, labels, batch, generator):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(inputs).float(), targets, label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        seconds = time.perf_counter() - began
        mean = total * plan.epochs / steps
        print(f"{plan.architecture} epoch {epoch + 1}/{plan.epochs} loss {mean:.3f} {seconds:.0f} s", flush=True)
    held_labels = torch.arange(classes).repeat_interleave(HELD_OUT)
    return model, accuracy(model, held.flatten(0, 1), held_labels)


def with_sorted_header(data: bytes) -> bytes:
    """Return a safetensors file with the keys of its header in order.

    The library writes the metadata in an order that changes from run to run, so equal weights would give
    unequal files.

    Args:
        data: a safetensors file.

    Returns:
        The same tensors and metadata; the header padded to a multiple of 8 bytes as the format asks.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def save_body(model: nn.Module, plan: Plan, path: Path, facts: dict[str, str]) -> None:
    """Write a model without its classifier as float16 safetensors, in one step.

    Args:
        model: trained model.
        plan: its plan; weights under `plan.head` are left out.
        path: file to write.
        facts: metadata of the file.
    """
    body = {
        name: (weight.half() if weight.is_floating_point() else weight).contiguous()
        for name, weight in sorted(model.state_dict().items())
        if not name.startswith(plan.head)
    }
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(with_sorted_header(save(body, metadata=facts)))
    partial.chmod(0o644)
    partial.replace(path)


def main() -> None:
    """Draw the shape set, train the chosen architectures and write their checkpoints."""
    parser = argparse.ArgumentParser(description="Pretrain the sample's checkpoints on random shape classes.")
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "podium-shapes")
    parser.add_argument("--models", nargs="+", default=[plan.architecture for plan in PLANS])
    parser.add_argument("--classes", type=int, default=140)
    parser.add_argument("--images", type=int, default=100, help="pictures of each class, held-out ones included")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    pictures = shape_set(options.seed, options.classes, options.images, options.work, options.threads)
    print(f"{pictures.shape[0]} classes of {pictures.shape[1]} pictures", flush=True)
    for plan in (plan for plan in PLANS if plan.architecture in options.models):
        began = time.perf_counter()
        model, score = pretrain(plan, pictures, options.seed)
        facts = {
            "architecture": plan.architecture,
            "input_size": str(INPUT_SIZE),
            "classes": str(options.classes),
            "images": str(options.classes * options.images),
            "epochs": str(plan.epochs),
            "seed": str(options.seed),
            "val_accuracy": f"{score:.4f}",
            "drawn_by": "tools/pretrain_sample.py",
            "licence": "CC0-1.0",
        }
        save_body(model, plan, options.out / f"{plan.architecture}-shapes.safetensors", facts)
        minutes = (time.perf_counter() - began) / 60
        print(f"{plan.architecture}: held-out accuracy {score:.4f}, {minutes:.1f} min", flush=True)


if __name__ == "__main__":
    main()
