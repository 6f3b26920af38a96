"""Chosen changes on small images, without normalisation, for the tests of augmentation."""

from dataclasses import replace

import numpy as np
import torch

from podium.data.augment.batch import apply
from podium.data.augment.parameters import unchanged


def images(count: int = 4, height: int = 24, width: int = 24) -> torch.Tensor:
    """uint8, shape (N, H, W, 3), noise."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def smooth(count: int = 4, side: int = 24) -> torch.Tensor:
    """uint8, shape (N, S, S, 3), soft colours: what interpolation does shows without being swamped by noise."""
    coarse = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, 4, 4))).float()
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return fine.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def planes(pixels: torch.Tensor) -> torch.Tensor:
    """float32, shape (N, 3, H, W), of values in [0, 1]: what torchvision wants."""
    return pixels.permute(0, 3, 1, 2).contiguous() / 255


def changed(pixels: torch.Tensor, **changes: object) -> torch.Tensor:
    """float32, shape (N, 3, H, W): the same values for each image unless an array is given."""
    count = len(pixels)
    start = unchanged(count)
    values = {
        name: value if isinstance(value, np.ndarray) else np.broadcast_to(np.asarray(value), (count, *np.shape(value)))
        for name, value in changes.items()
    }
    return apply(pixels, replace(start, **values), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
