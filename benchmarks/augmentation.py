"""Changing images by the batch, against torchvision's transforms image by image.

`python -m benchmarks.augmentation`

Both make a network's input (float32, normalised, one tensor for the batch) of 32 images that lie in memory as bytes,
in alternating rounds on one thread; figures are the medians of their rounds, in images per CPU-second. Three recipes:

- fast: flip, shift, brightness, contrast (pixels stay bytes until they are normalised);
- typical: random resized crop, flip, brightness, contrast, saturation, hue, random erasing;
- everything: besides, rotation, zoom, perspective, elastic, blur, noise, RandAugment, and mixup or cutmix.

What the images show makes no difference to the time, so they are noise. torchvision's RandAugment has one operation
more (sharpness), and its transforms cut values at 0 and 255 after each change.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from podium.config.train import Augment, RandAugment
from podium.data.augment.batch import apply, normalise
from podium.data.augment.parameters import draw
from podium.data.randomness import generator

BATCH = 32
ROUNDS = 9
SIDES = (64, 224)
TARGET = 2.0  # times torchvision, typical recipe, at both sizes
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FAST = Augment(flip=True, shift=0.08, brightness=0.2, contrast=0.2)
TYPICAL = Augment(
    flip=True, shift=0, crop_area=0.35, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, erasing=0.25
)
EVERYTHING = TYPICAL.model_copy(
    update={
        "shift": 0.08,
        "rotation": 15.0,
        "zoom": 0.1,
        "perspective": 0.1,
        "elastic": 0.05,
        "blur": 1.5,
        "noise": 0.05,
        "randaugment": RandAugment(operations=2, magnitude=5),
        "mixup": 0.2,
        "cutmix": 1.0,
    }
)


def ours(images: Tensor, augment: Augment | None) -> Callable[[int], Tensor]:
    """One step of training: what is drawn for it, applied."""
    if augment is None:
        return lambda step: normalise(images, MEAN, STD)
    return lambda step: apply(images, draw(augment, generator(0, "augment", step), BATCH, images.shape[1]), MEAN, STD)


def theirs(images: Tensor, name: str) -> Callable[[int], Tensor]:
    """The same recipe as torchvision's users write it: transforms of one image, then a batch of them."""
    from torchvision.transforms import v2

    planes = list(images.permute(0, 3, 1, 2).contiguous())
    side = images.shape[1]
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    recipes = {
        "normalise": [],
        "fast": [v2.RandomHorizontalFlip(), v2.RandomAffine(0, (0.08, 0.08)), v2.ColorJitter(0.2, 0.2)],
        "typical": [v2.RandomResizedCrop(side, (0.35, 1.0)), v2.RandomHorizontalFlip(), jitter],
    }
    recipes["everything"] = [
        v2.RandAugment(2, 15),
        *recipes["typical"],
        v2.RandomAffine(15, (0.08, 0.08), (0.9, 1.1)),
        v2.RandomPerspective(0.2, 1.0),
        v2.ElasticTransform(),
        v2.GaussianBlur(11, (0.1, 1.5)),
    ]
    if name == "everything":
        finish.insert(1, v2.GaussianNoise(sigma=0.025, clip=False))
    if name in ("typical", "everything"):
        finish.append(v2.RandomErasing(0.25))
    transform = v2.Compose([*recipes[name], *finish])
    mix = v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=10), v2.CutMix(alpha=1.0, num_classes=10)])
    labels = torch.zeros(BATCH, dtype=torch.int64)

    def step(_: int) -> Tensor:
        batch = torch.stack([transform(one) for one in planes])
        return mix(batch, labels)[0] if name == "everything" else batch

    return step


def alternating(sides: dict[str, Callable[[int], Tensor]]) -> dict[str, float]:
    """Images per CPU-second of each, the median of their rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for once in range(ROUNDS + 1):
        for name, step in sides.items():
            begun = time.process_time()
            step(once)
            seconds[name].append(time.process_time() - begun)
    return {name: BATCH / statistics.median(taken[1:]) for name, taken in seconds.items()}  # the first one warms up


def main() -> None:
    """Prints the table and the claim."""
    torch.set_num_threads(1)
    ratios: dict[int, float] = {}
    print(f"{'side':>4}  {'recipe':12}{'podium':>10}{'torchvision':>13}{'ratio':>8}   images per CPU-second, 1 thread")
    for side in SIDES:
        random = np.random.default_rng(0)
        images = torch.from_numpy(random.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8))
        for name, augment in {"normalise": None, "fast": FAST, "typical": TYPICAL, "everything": EVERYTHING}.items():
            speed = alternating({"podium": ours(images, augment), "torchvision": theirs(images, name)})
            ratio = speed["podium"] / speed["torchvision"]
            print(f"{side:>4}  {name:12}{speed['podium']:>10,.0f}{speed['torchvision']:>13,.0f}{ratio:>7.1f}x")
            if name == "typical":
                ratios[side] = ratio
    figure = min(ratios.values())
    print(
        json.dumps(
            {
                "claim": "crop, flip, colour and erasing by the batch, 64 and 224 px, one CPU thread",
                "baseline": "torchvision v2 transforms, image by image",
                "figure": round(figure, 2),
                "target": TARGET,
                "holds": figure >= TARGET,
                "unit": "times the images per CPU-second, the lesser of both sizes",
            }
        )
    )


if __name__ == "__main__":
    main()
