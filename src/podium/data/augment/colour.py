"""All changes of colour and the normalisation as one multiply-add: a factor for each channel, or a 3 x 4 matrix.

No value is cut at 0 or 1 on the way, as libraries that change one thing after the other do: a network's input has no
such bounds, and cutting cannot be part of a matrix.
"""

import numpy as np
import torch

from podium.data.augment.change import Augmentation, Floats
from podium.records.base import Triple

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision's rgb_to_grayscale
_CHROMA = np.array([LUMA, [-0.299, -0.587, 0.886], [0.701, -0.587, -0.114]])  # luma, blue - luma, red - luma
_SCALE = np.array([1.0, 0.492111, 0.877283])[:, None]  # of U and V: in their plane, hues are angles (BT.601)


def grey(images: torch.Tensor) -> torch.Tensor:
    """Mean grey of each image.

    Sums of integers are exact: the same in any order of adding, so for any number of threads.

    Args:
        images: uint8, shape (N, H, W, 3).

    Returns:
        float64, shape (N,), of values in [0, 1].
    """
    count, height, width, channels = images.shape
    # down the columns first, 32 bits wide: ten times as fast as one sum over both, and 255 * H fits
    columns = images.reshape(count, height, width * channels).sum(1, dtype=torch.int32)
    sums = columns.view(count, width, channels).sum(1, dtype=torch.int64)
    return sums.double() @ torch.from_numpy(LUMA / (255 * height * width)).to(images.device)


def matrices(change: Augmentation) -> Floats:
    """Brightness, contrast, saturation and hue without contrast's constant part, float64, shape (N, 3, 3).

    Brightness and contrast are factors of all values. Saturation s keeps the luma y of a pixel x: s*x + (1 - s)*y.
    Hue turns the colour in the plane of BT.601's U and V about its grey, which keeps the luma too; that is what
    "hue" means in video, and near to, but not the same as, a turn in HSV, which is not linear.
    """
    count = len(change)
    matrix = np.tile(np.eye(3), (count, 1, 1))
    if change.saturation is not None:
        s = change.saturation[:, None, None]
        matrix = s * matrix + (1 - s) * LUMA
    if change.hue is not None:
        angle = 2 * np.pi * change.hue
        turn = np.tile(np.eye(3), (count, 1, 1))
        turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle)
        turn[:, 1, 2], turn[:, 2, 1] = -np.sin(angle), np.sin(angle)
        into = _SCALE * _CHROMA
        matrix = np.linalg.inv(into) @ turn @ into @ matrix
    scaled: Floats = (change.brightness * change.contrast)[:, None, None] * matrix
    return scaled


def offsets(change: Augmentation, greys: torch.Tensor, mean: Triple, std: Triple) -> torch.Tensor:
    """What is added to each channel, contrast's constant part and the mean, float32, shape (N, 3).

    With x the values and g their mean grey, brightness b and contrast c give c*b*x + (1 - c)*b*g (torchvision's
    `adjust_brightness`, then `adjust_contrast`); saturation and hue leave the grey second term as it is.
    """
    lift = torch.from_numpy((1 - change.contrast) * change.brightness).to(greys.device)
    mean_, std_ = torch.tensor([mean, std], dtype=torch.float64, device=greys.device)
    added: torch.Tensor = ((lift * greys)[:, None] - mean_) / std_
    return added.float()


def coloured_bytes(images: torch.Tensor, change: Augmentation, added: torch.Tensor, std: Triple) -> torch.Tensor:
    """Brightness, contrast and normalisation: one multiply-add a value.

    Args:
        images: uint8, shape (N, H, W, 3).
        change: its brightness and contrast are used.
        added: from `offsets`, shape (N, 3).
        std: per channel, of values in [0, 1].

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.
    """
    slope = (change.brightness * change.contrast)[:, None] / (255 * np.array(std))
    factor = torch.from_numpy(slope.astype(np.float32)).to(images.device)
    values = images.float()
    return torch.addcmul(added[:, None, None], values, factor[:, None, None], out=values).permute(0, 3, 1, 2)


def coloured(pixels: torch.Tensor, change: Augmentation, added: torch.Tensor, std: Triple) -> torch.Tensor:
    """All changes of colour and normalisation: one matrix product.

    Args:
        pixels: float32, shape (N, 3, H, W), of values in [0, 255].
        change: drawn for N images.
        added: from `offsets`, shape (N, 3).
        std: per channel, of values in [0, 1].

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.
    """
    scaled = (matrices(change) / (255 * np.array(std)[:, None])).astype(np.float32)
    matrix = torch.from_numpy(scaled).to(pixels.device)
    product = torch.baddbmm(added[:, :, None], matrix, pixels.flatten(2))
    return product.view(pixels.shape).contiguous(memory_format=torch.channels_last)
