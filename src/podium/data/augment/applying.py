"""Pixels to a network's input, with the changes of an `Augmentation` on the way."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from podium.data.augment.change import Augmentation, Floats, Integers
from podium.data.augment.colour import coloured, coloured_bytes, grey, offsets
from podium.data.augment.geometry import moved, resampled, resamples
from podium.data.augment.hashing import normal
from podium.data.augment.tones import toned
from podium.records.base import Triple


def apply(images: torch.Tensor, change: Augmentation | None, mean: Triple, std: Triple) -> torch.Tensor:
    """Changes and normalises a batch, on the device it lies on.

    A pure function: the same arguments give the same result, under autocast too, and nothing given is changed. In
    turn: tones, geometry, blur, colour with normalisation, noise, erasing, mixing. What is off costs nothing; while
    only flips, shifts, brightness and contrast are on, images are moved as bytes and the rest is one multiply-add.

    Args:
        images: uint8, shape (N, H, W, 3).
        change: drawn for N images; None = only normalise.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.

    Raises:
        ValueError: `change` is of another number of images.
    """
    if change is None:
        return normalise(images, mean, std, images.device)
    if len(change) != len(images):
        raise ValueError(f"{len(images)} images and changes of {len(change)}: they must be drawn for the same batch")
    with _float32(images.device):
        return _applied(images, change, mean, std)


def normalise(
    images: NDArray[np.uint8] | torch.Tensor, mean: Triple, std: Triple, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Turns pixels into a network's input, unchanged.

    Args:
        images: uint8, shape (N, H, W, 3).
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        device: where the result is wanted; pixels travel as bytes.

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.
    """
    pixels = torch.as_tensor(images).to(device)
    constants = np.array([1 / (255 * np.array(std)), -np.array(mean) / np.array(std)], np.float32)
    factor, added = torch.from_numpy(constants).to(device)
    values = pixels.float()
    return torch.addcmul(added, values, factor, out=values).permute(0, 3, 1, 2)


def _float32(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off: it would round the matrices to bfloat16."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def _applied(images: torch.Tensor, change: Augmentation, mean: Triple, std: Triple) -> torch.Tensor:
    """`apply` of checked arguments, without autocast: every change in its turn."""
    images = toned(images, change)
    added = offsets(change, grey(images), mean, std)
    pixels = resampled(images, change) if resamples(change) else moved(images, change)
    if change.blur is not None:
        pixels = _blurred(_planes(pixels), change.blur)
    if pixels.dtype == torch.uint8 and change.saturation is None and change.hue is None:
        result = coloured_bytes(pixels, change, added, std)
    else:
        result = coloured(_planes(pixels), change, added, std)
    if change.noise is not None:
        result = _noisy(result, change.noise, change.seed, std)
    if change.erased is not None:
        _erase(result, change.erased)
    return _mixed(result, change) if change.mixes else result


def _planes(pixels: torch.Tensor) -> torch.Tensor:
    """float32, shape (N, 3, H, W), of bytes that lie (N, H, W, 3); what is float already lies so."""
    return pixels.permute(0, 3, 1, 2).float().contiguous() if pixels.dtype == torch.uint8 else pixels


def _blurred(pixels: torch.Tensor, sigma: Floats) -> torch.Tensor:
    """Gaussian blur, cut at three standard deviations, of float32 planes (N, 3, H, W): along rows, then columns.

    Every image has a kernel of its own; all are as wide as the widest of the batch, with zeros beyond their own end.
    """
    count, channels, height, width = pixels.shape
    reach = min(int(np.ceil(3 * sigma.max())), height - 1, width - 1)
    distance = np.abs(np.arange(-reach, reach + 1))
    spread = np.maximum(sigma, 1e-3)[:, None]  # no blur at all, and no division by 0
    weights = np.exp(-0.5 * (distance / spread) ** 2) * (distance <= np.ceil(3 * spread))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32).repeat(channels, axis=0)
    kernels = torch.from_numpy(weights).to(pixels.device)[:, None, None, :]
    groups = count * channels
    padded = functional.pad(pixels, (reach, reach, reach, reach), mode="reflect")
    planes = padded.view(1, groups, height + 2 * reach, width + 2 * reach)
    across = functional.conv2d(planes, kernels, groups=groups)
    return functional.conv2d(across, kernels.transpose(2, 3), groups=groups).view(pixels.shape)


def _noisy(result: torch.Tensor, noise: Floats, seeds: Integers, std: Triple) -> torch.Tensor:
    """Adds independent Gaussian noise to each value, in place."""
    count, channels, height, width = result.shape
    drawn = normal(seeds, "noise", height * width * channels, result.device).view(count, height, width, channels)
    scale = torch.from_numpy((noise[:, None] / np.array(std)).astype(np.float32)).to(result.device)
    return result.addcmul_(drawn.permute(0, 3, 1, 2), scale[:, :, None, None])


def _erase(result: torch.Tensor, boxes: Integers) -> None:
    """Fills boxes with 0, the mean colour once it is subtracted, in place.

    One after the other: few images have one, and a pass over the whole batch is a hundred times as long.
    """
    for row in np.flatnonzero(boxes[:, 2]):
        top, left, height, width = boxes[row]
        result[row, :, top : top + height, left : left + width] = 0.0


def _mixed(result: torch.Tensor, change: Augmentation) -> torch.Tensor:
    """Pastes a box of the partner (cutmix), or blends with it (mixup)."""
    partners = result[torch.from_numpy(change.partner).to(result.device)]
    if change.pasted is not None:
        return torch.where(_boxes(change.pasted, result), partners, result)
    share = torch.from_numpy(change.share.astype(np.float32)).to(result.device)[:, None, None, None]
    return torch.lerp(partners, result, share)


def _boxes(boxes: Integers, like: torch.Tensor) -> torch.Tensor:
    """Which pixels lie in each image's box: bool, shape (N, 1, H, W)."""
    height, width = like.shape[2:]
    top, left, high, wide = torch.from_numpy(boxes).to(like.device)[:, :, None].unbind(1)
    y, x = (torch.arange(size, device=like.device) for size in (height, width))
    return (((y >= top) & (y < top + high))[:, :, None] & ((x >= left) & (x < left + wide))[:, None, :])[:, None]
