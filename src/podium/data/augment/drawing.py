"""Draws an `Augmentation` from a generator, as the params section `train.augment` wants it."""

from dataclasses import replace

import numpy as np

from podium.config.recipe import Augment
from podium.data.augment.change import Augmentation, Floats, Integers, unchanged
from podium.data.augment.randaugment import add_random_operations

_CROP_ASPECT = (3 / 4, 4 / 3)  # as in Szegedy et al. 2015, "Going deeper with convolutions"
_ERASED_AREA, _ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)  # Zhong et al. 2020, "Random erasing data augmentation"


def draw(settings: Augment, random: np.random.Generator, count: int, image_size: int) -> Augmentation:
    """Draws the changes of a batch or of a whole split.

    Args:
        settings: how much of each change.
        random: made for this one use: `generator(seed, "augment", step)` or `generator(seed, "view", view)`.
        count: images, at least 1.
        image_size: pixels a side.

    Returns:
        The same object for the same settings and the same state of `random`.
    """

    def spread(width: float) -> Floats:
        """A number for each image, uniform in [-width, width]."""
        return width * random.uniform(-1, 1, count)

    reach = round(settings.shift * image_size)
    change = replace(
        unchanged(count),
        flip=(random.random(count) < 0.5) & settings.flip,
        shift=random.integers(-reach, reach, size=(count, 2), endpoint=True),
        brightness=1 + spread(settings.brightness),
        contrast=1 + spread(settings.contrast),
        seed=random.integers(2**32, size=count),
        crop=_crops(settings.crop_area, random, count) if settings.crop_area < 1 else None,
        zoom=1 + spread(settings.zoom) if settings.zoom else None,
        rotation=spread(settings.rotation) if settings.rotation else None,
        perspective=settings.perspective * random.uniform(-1, 1, (count, 4, 2)) if settings.perspective else None,
        elastic=settings.elastic * random.random(count) if settings.elastic else None,
        blur=settings.blur * random.random(count) if settings.blur else None,
        saturation=1 + spread(settings.saturation) if settings.saturation else None,
        hue=spread(settings.hue) if settings.hue else None,
        noise=settings.noise * random.random(count) if settings.noise else None,
        erased=_erased(settings.erasing, random, count, image_size) if settings.erasing else None,
    )
    if settings.randaugment is not None:
        change = add_random_operations(change, settings.randaugment, random, image_size)
    return _mixing(change, settings, random, image_size)


def _crops(least: float, random: np.random.Generator, count: int) -> Floats:
    """Random resized crops: a share of the area in [least, 1], a shape in _CROP_ASPECT, anywhere it fits.

    The shape is drawn among those that fit (width and height at most 1), so that no crop needs a second try.
    """
    height, width = _sides(random.uniform(least, 1, count), _CROP_ASPECT, random)
    top, left = (1 - height) * random.random(count), (1 - width) * random.random(count)
    return np.stack([top, left, height, width], axis=1)


def _sides(area: Floats, aspect: tuple[float, float], random: np.random.Generator) -> tuple[Floats, Floats]:
    """Height and width of boxes of given areas, all shares, of width / height log-uniform within `aspect`."""
    low, high = np.maximum(np.log(aspect[0]), np.log(area)), np.minimum(np.log(aspect[1]), -np.log(area))
    ratio = np.exp(low + (high - low) * random.random(len(area)))
    return np.minimum(np.sqrt(area / ratio), 1), np.minimum(np.sqrt(area * ratio), 1)


def _erased(probability: float, random: np.random.Generator, count: int, size: int) -> Integers:
    """One box inside each chosen image, an empty one in the others."""
    sides = _sides(random.uniform(*_ERASED_AREA, count), _ERASED_ASPECT, random)
    high, wide = (np.maximum(np.rint(side * size), 1).astype(np.int64) for side in sides)
    top, left = random.integers(0, size - high, endpoint=True), random.integers(0, size - wide, endpoint=True)
    chosen = random.random(count) < probability
    boxes: Integers = np.stack([top, left, high, wide], axis=1) * chosen[:, None]
    return boxes


def _mixing(change: Augmentation, settings: Augment, random: np.random.Generator, size: int) -> Augmentation:
    """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019); where both are on, a coin decides for the whole batch.

    Each image has a partner of the batch and a share of its own, from Beta(alpha, alpha). A pasted box has its centre
    anywhere and is cut at the image's edges; the share is counted from the pixels that remain.
    """
    if not (settings.mixup or settings.cutmix):
        return change
    count = len(change)
    pastes = settings.mixup == 0 or (settings.cutmix > 0 and random.random() < 0.5)
    partner = random.permutation(count)
    alpha = settings.cutmix if pastes else settings.mixup
    share = random.beta(alpha, alpha, count)
    if not pastes:
        return replace(change, partner=partner, share=share)
    half = np.sqrt(1 - share)[:, None] * size / 2
    centre = random.uniform(0, size, (count, 2))
    first = np.rint(np.maximum(centre - half, 0)).astype(np.int64)
    extent = np.rint(np.minimum(centre + half, size)).astype(np.int64) - first
    share = 1 - extent.prod(axis=1) / size**2
    return replace(change, partner=partner, share=share, pasted=np.concatenate([first, extent], axis=1))
