"""Pixels to a network's input, augmented on the way: a pure function of the images and an `Augmentation`.

Geometry goes by index while pixels stay bytes, else by one homography an image and one resampling. Beyond the edge the
image goes on mirrored, in both ways. Resampling is bilinear and looks at four pixels only: an image that gets smaller
(`zoom` well below 1) is not low-pass filtered and may show aliasing.
"""

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
from podium.data.augment.parameters import Augmentation, Floats, Integers
from podium.data.randomness import counter_normal, counter_uniform
from podium.records.base import Triple

_SPANS = 4  # of the elastic field, a side: smaller ones look like ripples, larger ones like a shift
_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # (x, y), in the order of `perspective`


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
    pixels = _warp(images, params) if _needs_warp(params) else _flip_and_shift(images, params)
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


def _needs_warp(params: Augmentation) -> bool:
    """Whether pixels must be interpolated; else `_flip_and_shift` does with flips and `shift`."""
    wanted = (params.crop, params.zoom, params.shear, params.rotation, params.perspective, params.elastic)
    return any(values is not None for values in wanted)


def _flip_and_shift(images: torch.Tensor, params: Augmentation) -> torch.Tensor:
    """Flips, then shifts: uint8, shape (N, H, W, 3), the same."""
    upside_down = np.zeros(len(images), np.bool_) if params.vertical_flip is None else params.vertical_flip
    if not (params.flip.any() or upside_down.any() or params.shift.any()):
        return images
    count, height, width, channels = images.shape
    rows = _reflect(np.arange(height) - params.shift[:, :1], height)
    columns = _reflect(np.arange(width) - params.shift[:, 1:], width)
    rows = np.where(upside_down[:, None], height - 1 - rows, rows)
    columns = np.where(params.flip[:, None], width - 1 - columns, columns)
    first = torch.from_numpy((np.arange(count)[:, None] * height + rows) * width).to(images.device)
    pixels = first[:, :, None] + torch.from_numpy(columns).to(images.device)[:, None, :]
    return images.reshape(-1, channels).index_select(0, pixels.view(-1)).view(images.shape)


def _reflect(places: Integers, size: int) -> Integers:
    """Brings places beyond [0, size) back by mirroring at the edges: -1 is 0, size is size - 1, and so on."""
    places = places % (2 * size)
    return np.where(places < size, places, 2 * size - 1 - places)


def _warp(images: torch.Tensor, params: Augmentation) -> torch.Tensor:
    """All of the geometry (affine, perspective, elastic, flip, shift) with one interpolation.

    Of uint8, shape (N, H, W, 3), it makes float32, shape (N, 3, H, W), of values in [0, 255].
    """
    height, width = images.shape[1:3]
    places = _sampling_grid(homographies(params, height, width), height, width, images.device)
    if params.elastic is not None:
        places += _elastic_field(params.elastic, params.seed, height, width, images.device)
    pixels, grid = images.permute(0, 3, 1, 2).float(), places.permute(0, 2, 3, 1)
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def homographies(params: Augmentation, height: int, width: int) -> Floats:
    """The way back from each place of the result to its place in the image.

    Forwards a point goes through crop, zoom, shear, rotation, perspective, flip and shift in turn.

    Args:
        params: drawn for N images.
        height: pixels.
        width: pixels.

    Returns:
        float64, shape (N, 3, 3), for columns (x, y, 1) with x and y from -1 to 1 between the image's outer edges.
    """
    count = len(params)
    back = _eye(count)
    if params.crop is not None:
        top, left, high, wide = params.crop.T
        back[:, 0, 0], back[:, 0, 2] = wide, 2 * left + wide - 1
        back[:, 1, 1], back[:, 1, 2] = high, 2 * top + high - 1
    # zoom, shear and rotation are of square pixels, whatever the shape of the image
    stretch = np.diag([width, height, 1.0])
    back = back @ np.linalg.inv(stretch) @ _inverse_affine(params) @ stretch
    if params.perspective is not None:
        back = back @ _perspective_matrices(params.perspective)
    home = _eye(count)
    home[:, 0, 0] = np.where(params.flip, -1.0, 1.0)
    home[:, 0, 2] = -2 * params.shift[:, 1] / width * home[:, 0, 0]
    if params.vertical_flip is not None:
        home[:, 1, 1] = np.where(params.vertical_flip, -1.0, 1.0)
    home[:, 1, 2] = -2 * params.shift[:, 0] / height * home[:, 1, 1]
    composed: Floats = back @ home
    return composed


def _eye(count: int) -> Floats:
    """Identity matrices, shape (count, 3, 3)."""
    return np.tile(np.eye(3), (count, 1, 1))


def _inverse_affine(params: Augmentation) -> Floats:
    """Undoes zoom, then shear, then rotation, shape (N, 3, 3), for y pointing down."""
    back = _eye(len(params))
    if params.zoom is not None:
        back[:, 0, 0] = back[:, 1, 1] = 1 / params.zoom
    if params.shear is not None:
        down, right = params.shear.T
        sheared = _eye(len(params))  # to the right, then down: its determinant is 1 whatever the two are
        sheared[:, 0, 0] = 1 + right * down
        sheared[:, 0, 1], sheared[:, 1, 0] = -right, -down
        back = back @ sheared
    if params.rotation is not None:
        angle = np.deg2rad(params.rotation)
        rotated = _eye(len(params))
        rotated[:, 0, 0] = rotated[:, 1, 1] = np.cos(angle)
        rotated[:, 0, 1], rotated[:, 1, 0] = -np.sin(angle), np.sin(angle)
        back = back @ rotated
    return back


def _perspective_matrices(inwards: Floats) -> Floats:
    """The homographies, shape (N, 3, 3), that bring the displaced corners back: eight linear equations for each."""
    x, y = (_CORNERS - 2 * _CORNERS * inwards[:, :, ::-1]).transpose(2, 0, 1)
    to_x, to_y = np.broadcast_to(_CORNERS.T[:, None, :], (2, *x.shape))
    one, zero = np.ones_like(x), np.zeros_like(x)
    for_x = np.stack([x, y, one, zero, zero, zero, -to_x * x, -to_x * y], axis=-1)
    for_y = np.stack([zero, zero, zero, x, y, one, -to_y * x, -to_y * y], axis=-1)
    solved = np.linalg.solve(np.concatenate([for_x, for_y], axis=1), np.concatenate([to_x, to_y], axis=1)[..., None])
    return np.concatenate([solved[..., 0], np.ones((len(x), 1))], axis=1).reshape(-1, 3, 3)


def _sampling_grid(back: Floats, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Where each pixel comes from, float32, shape (N, 2, H, W): x, then y, from -1 to 1 between the outer edges."""
    x, y = (torch.from_numpy(_centres(size)).float().to(device) for size in (width, height))
    projective = not (back[:, 2] == (0.0, 0.0, 1.0)).all()
    used = torch.from_numpy(back[:, : 3 if projective else 2].astype(np.float32)).to(device)[..., None, None]
    sums = used[:, :, 0] * x + (used[:, :, 1] * y[:, None] + used[:, :, 2])
    return sums[:, :2] / sums[:, 2:] if projective else sums  # where nothing is projective all divisors are 1


def _elastic_field(amplitude: Floats, seeds: Integers, height: int, width: int, device: torch.device) -> torch.Tensor:
    """A smooth random displacement, float32, shape (N, 2, H, W), in the units of `_sampling_grid`.

    Random vectors on a coarse lattice, interpolated by cubic B-splines: free-form deformation (Rueckert et al. 1999).
    The splines' weights are positive and sum to 1, so no pixel moves further than the lattice's vectors.
    """
    points = _SPANS + 3
    lattice = counter_uniform(seeds, "elastic", 2 * points**2, device).view(-1, 2, points, points)
    longest = torch.from_numpy((2 * amplitude).astype(np.float32)).to(device)[:, None, None, None]
    down, right = (torch.from_numpy(_splines(size)).to(device) for size in (height, width))
    return down @ (lattice * longest) @ right.T


def _splines(size: int) -> NDArray[np.float32]:
    """Weight of each lattice point for each pixel along a side, shape (size, _SPANS + 3)."""
    places = (_centres(size) + 1) / 2 * _SPANS
    distance = np.abs(places[:, None] - np.arange(-1, _SPANS + 2))
    weights = np.maximum(2 - distance, 0) ** 3 - 4 * np.maximum(1 - distance, 0) ** 3
    shares: NDArray[np.float32] = (weights / 6).astype(np.float32)
    return shares


def _centres(size: int) -> Floats:
    """Of the pixels along a side whose outer edges are -1 and 1."""
    return (2 * np.arange(size) + 1) / size - 1


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
