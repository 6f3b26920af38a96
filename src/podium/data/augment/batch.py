"""Pixels to a network's input, augmented on the way: a pure function of the images and an `Augmentation`."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from podium.data.augment.colour import (
    adjust_brightness_contrast,
    adjust_colour,
    apply_lookup_tables,
    colour_offsets,
    mean_grey,
)
from podium.data.augment.geometry import flip_and_shift, needs_warp, warp
from podium.data.augment.parameters import Augmentation, Floats, Integers
from podium.data.randomness import counter_normal
from podium.records.base import Triple


def apply(images: torch.Tensor, params: Augmentation | None, mean: Triple, std: Triple) -> torch.Tensor:
    """Changes and normalises a batch, on the device it lies on.

    A pure function: the same arguments give the same result, under autocast too, and nothing given is changed. In
    turn: lookup tables, geometry, blur, colour with normalisation, noise, erasing, mixing. What is off costs nothing;
    while only flips, shifts, brightness and contrast are on, pixels stay bytes and the rest is one multiply-add.

    Args:
        images: uint8, shape (N, H, W, 3).
        params: drawn for N images; None = only normalise.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].

    Returns:
        float32, shape (N, 3, H, W), in channels_last memory.

    Raises:
        ValueError: `params` is of another number of images.
    """
    if params is None:
        return normalise(images, mean, std, images.device)
    if len(params) != len(images):
        raise ValueError(f"{len(images)} images and changes of {len(params)}: they must be drawn for the same batch")
    with _without_autocast(images.device):
        return _augment(images, params, mean, std)


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


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off: it would round the matrices to bfloat16."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def _augment(images: torch.Tensor, params: Augmentation, mean: Triple, std: Triple) -> torch.Tensor:
    """`apply` of checked arguments, without autocast: every change in its turn."""
    images = apply_lookup_tables(images, params)
    added = colour_offsets(params, mean_grey(images), mean, std)
    pixels = warp(images, params) if needs_warp(params) else flip_and_shift(images, params)
    if params.blur is not None:
        pixels = _blur(_planes(pixels), params.blur)
    if pixels.dtype == torch.uint8 and params.saturation is None and params.hue is None:
        result = adjust_brightness_contrast(pixels, params, added, std)
    else:
        result = adjust_colour(_planes(pixels), params, added, std)
    if params.noise is not None:
        result = _add_noise(result, params.noise, params.seed, std)
    if params.erased is not None:
        _erase(result, params.erased)
    return _mix(result, params) if params.mixes else result


def _planes(pixels: torch.Tensor) -> torch.Tensor:
    """float32, shape (N, 3, H, W), of bytes that lie (N, H, W, 3); what is float already lies so."""
    return pixels.permute(0, 3, 1, 2).float().contiguous() if pixels.dtype == torch.uint8 else pixels


def _blur(pixels: torch.Tensor, sigma: Floats) -> torch.Tensor:
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


def _add_noise(result: torch.Tensor, noise: Floats, seeds: Integers, std: Triple) -> torch.Tensor:
    """Adds independent Gaussian noise to each value, in place."""
    count, channels, height, width = result.shape
    drawn = counter_normal(seeds, "noise", height * width * channels, result.device).view(
        count, height, width, channels
    )
    scale = torch.from_numpy((noise[:, None] / np.array(std)).astype(np.float32)).to(result.device)
    return result.addcmul_(drawn.permute(0, 3, 1, 2), scale[:, :, None, None])


def _erase(result: torch.Tensor, boxes: Integers) -> None:
    """Fills boxes with 0, the mean colour once it is subtracted, in place.

    One after the other: few images have one, and a pass over the whole batch is a hundred times as long.
    """
    for row in np.flatnonzero(boxes[:, 2]):
        top, left, height, width = boxes[row]
        result[row, :, top : top + height, left : left + width] = 0.0


def _mix(result: torch.Tensor, params: Augmentation) -> torch.Tensor:
    """Pastes a box of the partner (cutmix), or blends with it (mixup)."""
    partners = result[torch.from_numpy(params.partner).to(result.device)]
    if params.pasted is not None:
        return torch.where(_box_mask(params.pasted, result), partners, result)
    share = torch.from_numpy(params.share.astype(np.float32)).to(result.device)[:, None, None, None]
    return torch.lerp(partners, result, share)


def _box_mask(boxes: Integers, like: torch.Tensor) -> torch.Tensor:
    """Which pixels lie in each image's box: bool, shape (N, 1, H, W)."""
    height, width = like.shape[2:]
    top, left, high, wide = torch.from_numpy(boxes).to(like.device)[:, :, None].unbind(1)
    y, x = (torch.arange(size, device=like.device) for size in (height, width))
    return (((y >= top) & (y < top + high))[:, :, None] & ((x >= left) & (x < left + wide))[:, None, :])[:, None]
