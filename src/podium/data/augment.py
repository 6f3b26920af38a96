"""Random changes of a batch as one explicit, frozen object, and the pure function that applies them.

What is drawn depends on (seed, step) alone, never on a worker or on earlier draws. Images stay `uint8` N x H x W x 3
while they are flipped and shifted; brightness, contrast and normalisation are then ONE multiply-add per image and
channel, so that colour changes cost nothing beyond normalising. Depends on numpy and torch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from podium.core.config.recipe import Augment
from podium.data.randomness import generator

Triple = tuple[float, float, float]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision's rgb_to_grayscale


@dataclass(frozen=True)
class Augmentation:
    """What happens to each image of one batch of N.

    Attributes:
        flip: bool, shape (N,): mirrored left to right, before the shift.
        shift: int64, shape (N, 2): pixels (down, right); the uncovered border repeats the edge.
        brightness: float64, shape (N,): factor of all values, above 0.
        contrast: float64, shape (N,): factor of the distance to the image's mean grey, above 0.
    """

    flip: NDArray[np.bool_]
    shift: NDArray[np.int64]
    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.flip)


def draw(settings: Augment, seed: int, step: int, count: int, image_size: int) -> Augmentation:
    """Draws the changes of one training step.

    Args:
        settings: how much of each; `shift` is a share of the side, `brightness` and `contrast` are the largest
            distance of their factor to 1.
        seed: of the experiment.
        step: number of the optimiser step, from 0 over the whole run.
        count: images in the batch.
        image_size: pixels a side.

    Returns:
        The same object for the same arguments.
    """
    random = generator(seed, "augment", step)
    reach = round(settings.shift * image_size)
    return Augmentation(
        flip=(random.random(count) < 0.5) & settings.flip,
        shift=random.integers(-reach, reach, size=(count, 2), endpoint=True),
        brightness=1 + settings.brightness * random.uniform(-1, 1, count),
        contrast=1 + settings.contrast * random.uniform(-1, 1, count),
    )


def move(images: NDArray[np.uint8], change: Augmentation) -> NDArray[np.uint8]:
    """Flips and shifts.

    Args:
        images: uint8, shape (N, H, W, 3).
        change: drawn for N images.

    Returns:
        A new array of the same shape.
    """
    count, height, width, _ = images.shape
    rows = np.clip(np.arange(height) - change.shift[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) - change.shift[:, 1:], 0, width - 1)
    columns = np.where(change.flip[:, None], width - 1 - columns, columns)
    moved: NDArray[np.uint8] = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def normalise(
    images: NDArray[np.uint8],
    mean: Triple,
    std: Triple,
    change: Augmentation | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Turns pixels into a network's input, with brightness and contrast of `change` folded in.

    With x = pixel / 255 and g the mean grey of the image, brightness b and contrast c give c*b*x + (1 - c)*b*g
    (torchvision's `adjust_brightness`, then `adjust_contrast`, without clamping to [0, 1]); normalising subtracts
    `mean` and divides by `std`. Together that is a*pixel + o with one a and one o per image and channel.

    Args:
        images: uint8, shape (N, H, W, 3).
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        change: its brightness and contrast are used; flips and shifts are the business of `move`.
        device: where the result is wanted; pixels travel as bytes.

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.
    """
    mean_, std_ = np.array(mean), np.array(std)
    ones = np.ones(len(images))
    brightness = ones if change is None else change.brightness
    contrast = ones if change is None else change.contrast
    # sums of integers are exact: the same for any order of adding, so for any number of threads
    sums = torch.from_numpy(images).sum(dim=(1, 2), dtype=torch.int64).numpy()
    grey = sums @ _LUMA / (255 * images.shape[1] * images.shape[2])
    slope = (contrast * brightness)[:, None] / (255 * std_)
    offset = (((1 - contrast) * brightness * grey)[:, None] - mean_) / std_
    x = torch.from_numpy(images).to(device).float()
    a = torch.from_numpy(slope.astype(np.float32)[:, None, None, :]).to(device)
    o = torch.from_numpy(offset.astype(np.float32)[:, None, None, :]).to(device)
    return torch.addcmul(o, x, a).permute(0, 3, 1, 2)
