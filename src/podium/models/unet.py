"""A small U-Net (Ronneberger, Fischer and Brox, *MICCAI* 2015): which pixels of an image show its object.

Its encoder is any network of the zoo that is a chain of feature maps (`models/blocks.py`), so it starts from weights
that a classifier starts from. On the way back up the map is enlarged stage by stage, joined with what the encoder gave
at that size, at last with the image itself, and passed through two convolutions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from podium.config.models import Network
from podium.config.train import Train
from podium.core.errors import ModelError
from podium.data.augment.batch import normalise
from podium.data.foreground import box_masks
from podium.data.randomness import generator, number
from podium.models.blocks import find_blocks, split_network
from podium.models.optimisers import Schedule, create_optimizer
from podium.models.zoo.build import create, load_pretrained
from podium.models.zoo.families import normalisation

RECIPE = Train(epochs=8, batch_size=16)
"""How one learns unless told otherwise: AdamW, a cosine from 0.001; of `augment` only that images are mirrored."""

_WIDEST, _LAST = 64, 16  # channels of the decoder: at most, and at full size; it then costs less than the encoder


class UNet(nn.Module):
    """Normalised images, float32 (N, 3, S, S), to logits (N, S, S) of a pixel being the object's."""

    def __init__(self, architecture: str, side: int, seed: int, pretrained: Path | None = None) -> None:
        """Builds one with fresh weights, a function of the seed.

        Args:
            architecture: of the encoder, as `zoo.create` takes it.
            side: pixels a side of the images.
            seed: of the experiment.
            pretrained: the encoder's weights, as `zoo.load_pretrained` takes them.

        Raises:
            ModelError: there is no such architecture, it is no chain of feature maps, or the weights are not its.
        """
        super().__init__()
        self.architecture, self.side = architecture, side
        encoder, channels = _stages(architecture, side, seed, pretrained)
        widths = [_LAST, *(min(given, _WIDEST) for given in channels[:-1])]
        below, skips = [*widths[1:], channels[-1]], [3, *channels[:-1]]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number(seed, "weights", 1))
            self.encoder = nn.ModuleList(encoder)
            self.decoder = nn.ModuleList(
                _convolutions(low + skip, made) for low, skip, made in zip(below, skips, widths, strict=True)
            )
            self.last = nn.Conv2d(_LAST, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) to (N, S, S)."""
        skips = []
        for stage in self.encoder:
            skips.append(x)
            x = stage(x)
        for block, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, skip.shape[-2:], mode="nearest"), skip], dim=1))
        logits: torch.Tensor = self.last(x).squeeze(1)
        return logits

    def masks(self, images: NDArray[np.uint8], boxes: NDArray[np.float64], batch_size: int = 32) -> NDArray[np.bool_]:
        """Where the object of each image is, within its box where that is known.

        Args:
            images: uint8, shape (N, S, S, 3).
            boxes: left, top, right, bottom in pixels, shape (N, 4); NaN where none is known.
            batch_size: images computed at once, at least 1.

        Returns:
            bool, shape (N, S, S). An image is judged on its own, whatever else is in its batch.
        """
        self.eval()
        parts = [np.empty((0, *images.shape[1:3]), np.bool_)]
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                x = normalise(np.array(images[start : start + batch_size]), *normalisation(self.architecture))
                parts.append((self(x) > 0).numpy())
        within = box_masks(images.shape[1], boxes)
        within[np.isnan(boxes).any(axis=1)] = True
        return np.concatenate(parts) & within


def fit_unet(
    unet: UNet, images: NDArray[np.uint8], masks: NDArray[np.bool_], seed: int, recipe: Train = RECIPE
) -> None:
    """Teaches a U-Net some images' masks: exact ones, or what `foreground_masks` makes of boxes.

    It minimises the binary cross entropy of pixels + 1 - Dice of images (Milletari et al., *3DV* 2016). Random is only
    the order and which images are mirrored: functions of the seed and the step.

    Args:
        unet: changed in place, to be used in evaluation mode.
        images: uint8, shape (N, S, S, 3).
        masks: shape (N, S, S).
        seed: of the experiment.
        recipe: epochs, batch size, optimiser with its keys, rate and schedule; nothing else of it counts.
    """
    steps = max(1, len(images) // recipe.batch_size)
    schedule = Schedule(recipe, steps)
    optimizer = create_optimizer(unet, recipe, {name: 0 for name, _ in unet.named_parameters()})
    unet.train()
    for step in range(recipe.epochs * steps):
        epoch, batch = divmod(step, steps)
        rows = np.array_split(generator(seed, "order", epoch).permutation(len(images)), steps)[batch]
        mirrored = generator(seed, "augment", step).random((len(rows), 1, 1)) < 0.5
        shown = np.where(mirrored[..., None], images[rows, :, ::-1], images[rows])
        wanted = torch.from_numpy(np.where(mirrored, masks[rows, :, ::-1], masks[rows])).float()
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * schedule.rate(step, ())
        optimizer.zero_grad()
        torch.autograd.backward(mask_loss(unet(normalise(shown, *normalisation(unet.architecture))), wanted))
        optimizer.step()
    unet.eval()


def mask_loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy of all pixels + mean of 1 - (2 sum(p w) + 1) / (sum(p) + sum(w) + 1) of the images.

    Args:
        logits: float32, shape (N, S, S); p is their sigmoid.
        wanted: float32, shape (N, S, S), w in [0, 1].

    Returns:
        A number.
    """
    shares = logits.sigmoid()
    dice = (2 * (shares * wanted).sum((1, 2)) + 1) / (shares.sum((1, 2)) + wanted.sum((1, 2)) + 1)
    return F.binary_cross_entropy_with_logits(logits, wanted) + 1 - dice.mean()


def _convolutions(given: int, made: int) -> nn.Sequential:
    """Two convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (given, made):
        layers += [nn.Conv2d(channels, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _stages(
    architecture: str, side: int, seed: int, pretrained: Path | None
) -> tuple[Sequence[nn.Module], Sequence[int]]:
    """A network up to its head as stages that each give a smaller map, and how many channels those have."""
    network = Network(architecture=architecture)
    module = create(network, 1, seed, side)
    if pretrained is not None:
        load_pretrained(module, pretrained)
    found = find_blocks(module, network, side)
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    stages: list[nn.Module] = []
    channels: list[int] = []
    if not found.by_methods and found.stages:
        split_network(module, found, found.stages[-1][0], x)  # proves that the blocks are all there is
        for names in found.stages[:-1]:
            stages.append(nn.Sequential(*map(module.get_submodule, names)).eval())
            with torch.no_grad():
                x = stages[-1](x)
            channels.append(x.shape[1])
    if len(stages) < 2 or x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise ModelError(
            f"{architecture} is no chain of feature maps (N, C, H, W), which a U-Net goes back up: choose a "
            "convolutional architecture, such as resnet18"
        )
    return stages, channels
