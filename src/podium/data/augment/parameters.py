"""The random parameters of a batch as one frozen object, and how they are drawn from params section `train.augment`.

Rule: what is drawn hangs on the generator alone, and the object can be tested, kept, split and replayed.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from podium.config.train import Augment, RandAugment
from podium.core.errors import PodiumError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Operation = Literal[
    "identity",
    "autocontrast",
    "equalize",
    "posterize",
    "solarize",
    "rotate",
    "shear_down",
    "shear_right",
    "shift_down",
    "shift_right",
    "brightness",
    "contrast",
    "saturation",
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
"""Of RandAugment. An operation is no code of its own: it sets or adds to the parameters that exist anyway. So all
geometry remains one resampling and all colour one matrix, and the operations of an image act in the order of
`Augmentation` rather than in that of the draw. `sharpness` of the paper's list is left out: it alone needs a pass over
the pixels of its own."""

# of RandAugment at magnitude 10, as in the paper's code and torchvision's; in proportion below
_ROTATION = 30.0  # degrees
_SHEAR = 0.3  # of the distance to the centre
_SHIFT = 0.45  # of the side
_FACTOR = 0.9  # of brightness, contrast, saturation: their largest distance to 1
_BITS = 4  # dropped of the 8 of each value
_CROP_ASPECT = (3 / 4, 4 / 3)  # as in Szegedy et al. 2015, "Going deeper with convolutions"
_ERASED_AREA, _ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)  # Zhong et al. 2020, "Random erasing data augmentation"


@dataclass(frozen=True)
class Augmentation:
    """The changes of N images; row n belongs to image n. None = this change is off for all of them.

    The way an image is computed hangs on what is None, never on values, so that its result does not depend on the
    images it shares a batch with. The attributes after `seed` stand in the order in which they act.

    Attributes:
        flip: shape (N,): mirrored left to right, after all other geometry but `shift`.
        shift: shape (N, 2): pixels (down, right), the last of the geometry.
        brightness: shape (N,): factor of all values, at least 0, before `contrast`, `saturation` and `hue`.
        contrast: shape (N,): factor of the distance to the mean grey of the image before any geometry, at least 0.
        partner: shape (N,): row of the image that is mixed in; the own row where nothing is.
        share: shape (N,): weight of the image's own label in [0, 1]; its partner's label has the rest.
        seed: shape (N,): in [0, 2**32), for what has too many numbers to be kept: `noise` and the field of `elastic`.
        autocontrast: shape (N,): each channel's values stretched to 0 to 255.
        equalize: shape (N,): each channel's histogram flattened.
        posterize: shape (N,): leading bits kept of each value, 0 to 8; 8 = unchanged.
        solarize: shape (N,): values from this one on are inverted, 0 to 256; 256 = unchanged.
        crop: shape (N, 4): top, left, height, width of what is kept, in shares of the side; stretched to the whole.
        zoom: shape (N,): factor of the size about the centre, above 0.
        shear: shape (N, 2): (down, right): a point moves right by this share of its distance below the centre, and then
            down by this share of its distance right of the centre.
        rotation: shape (N,): degrees, counter-clockwise, about the centre.
        perspective: shape (N, 4, 2): shares of the side by which the corners top left, top right, bottom right, bottom
            left move inwards (outwards below 0), each (vertically, horizontally).
        elastic: shape (N,): largest displacement along each axis, in shares of the side.
        vertical_flip: shape (N,): turned upside down, together with `flip`.
        blur: shape (N,): standard deviation of the Gaussian in pixels.
        saturation: shape (N,): factor of the distance of each pixel to its grey, at least 0.
        hue: shape (N,): turns of the colour circle, from red towards green.
        noise: shape (N,): standard deviation of what is added to each value in [0, 1].
        erased: shape (N, 4): top, left, height, width in pixels of what becomes the mean colour.
        pasted: shape (N, 4): top, left, height, width in pixels of what comes from the partner (cutmix); None where
            partners are blended (mixup) or nothing is mixed.
    """

    flip: Flags
    shift: Integers
    brightness: Floats
    contrast: Floats
    partner: Integers
    share: Floats
    seed: Integers
    autocontrast: Flags | None = None
    equalize: Flags | None = None
    posterize: Integers | None = None
    solarize: Integers | None = None
    crop: Floats | None = None
    zoom: Floats | None = None
    shear: Floats | None = None
    rotation: Floats | None = None
    perspective: Floats | None = None
    elastic: Floats | None = None
    vertical_flip: Flags | None = None
    blur: Floats | None = None
    saturation: Floats | None = None
    hue: Floats | None = None
    noise: Floats | None = None
    erased: Integers | None = None
    pasted: Integers | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.flip)

    @property
    def mixes(self) -> bool:
        """Whether an image gets something of another one."""
        return bool((self.share < 1).any())

    def take(self, rows: Integers) -> "Augmentation":
        """The changes of some images, in the order of `rows`, shape (M,).

        Raises:
            PodiumError: images are mixed, and partners are rows of the whole batch.
        """
        if self.mixes:
            raise PodiumError(
                "mixed images need their whole batch: apply the changes first, then take rows of the result"
            )
        taken = {f.name: value[rows] for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(self, **{**taken, "partner": np.arange(len(rows))})


def unchanged(count: int) -> Augmentation:
    """Changes nothing on `count` images; `dataclasses.replace` makes chosen changes of it."""
    return Augmentation(
        flip=np.zeros(count, np.bool_),
        shift=np.zeros((count, 2), np.int64),
        brightness=np.ones(count),
        contrast=np.ones(count),
        partner=np.arange(count),
        share=np.ones(count),
        seed=np.zeros(count, np.int64),
    )


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
    params = replace(
        unchanged(count),
        flip=(random.random(count) < 0.5) & settings.flip,
        shift=random.integers(-reach, reach, size=(count, 2), endpoint=True),
        brightness=1 + spread(settings.brightness),
        contrast=1 + spread(settings.contrast),
        seed=random.integers(2**32, size=count),
        crop=_draw_crops(settings.crop_area, random, count) if settings.crop_area < 1 else None,
        zoom=1 + spread(settings.zoom) if settings.zoom else None,
        rotation=spread(settings.rotation) if settings.rotation else None,
        perspective=settings.perspective * random.uniform(-1, 1, (count, 4, 2)) if settings.perspective else None,
        elastic=settings.elastic * random.random(count) if settings.elastic else None,
        blur=settings.blur * random.random(count) if settings.blur else None,
        saturation=1 + spread(settings.saturation) if settings.saturation else None,
        hue=spread(settings.hue) if settings.hue else None,
        noise=settings.noise * random.random(count) if settings.noise else None,
        erased=_draw_erasing(settings.erasing, random, count, image_size) if settings.erasing else None,
        vertical_flip=random.random(count) < 0.5 if settings.vertical_flip else None,
    )
    if settings.randaugment is not None:
        params = add_random_operations(params, settings.randaugment, random, image_size)
    return _draw_mixing(params, settings, random, image_size)


def _draw_crops(least: float, random: np.random.Generator, count: int) -> Floats:
    """Random resized crops: a share of the area in [least, 1], a shape in _CROP_ASPECT, anywhere it fits.

    The shape is drawn among those that fit (width and height at most 1), so that no crop needs a second try.
    """
    height, width = _draw_sides(random.uniform(least, 1, count), _CROP_ASPECT, random)
    top, left = (1 - height) * random.random(count), (1 - width) * random.random(count)
    return np.stack([top, left, height, width], axis=1)


def _draw_sides(area: Floats, aspect: tuple[float, float], random: np.random.Generator) -> tuple[Floats, Floats]:
    """Height and width of boxes of given areas, all shares, of width / height log-uniform within `aspect`."""
    low, high = np.maximum(np.log(aspect[0]), np.log(area)), np.minimum(np.log(aspect[1]), -np.log(area))
    ratio = np.exp(low + (high - low) * random.random(len(area)))
    return np.minimum(np.sqrt(area / ratio), 1), np.minimum(np.sqrt(area * ratio), 1)


def _draw_erasing(probability: float, random: np.random.Generator, count: int, size: int) -> Integers:
    """One box inside each chosen image, an empty one in the others."""
    sides = _draw_sides(random.uniform(*_ERASED_AREA, count), _ERASED_ASPECT, random)
    high, wide = (np.maximum(np.rint(side * size), 1).astype(np.int64) for side in sides)
    top, left = random.integers(0, size - high, endpoint=True), random.integers(0, size - wide, endpoint=True)
    chosen = random.random(count) < probability
    boxes: Integers = np.stack([top, left, high, wide], axis=1) * chosen[:, None]
    return boxes


def _draw_mixing(params: Augmentation, settings: Augment, random: np.random.Generator, size: int) -> Augmentation:
    """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019); where both are on, a coin decides for the whole batch.

    Each image has a partner of the batch and a share of its own, from Beta(alpha, alpha). A pasted box has its centre
    anywhere and is cut at the image's edges; the share is counted from the pixels that remain.
    """
    if not (settings.mixup or settings.cutmix):
        return params
    count = len(params)
    pastes = settings.mixup == 0 or (settings.cutmix > 0 and random.random() < 0.5)
    partner = random.permutation(count)
    alpha = settings.cutmix if pastes else settings.mixup
    share = random.beta(alpha, alpha, count)
    if not pastes:
        return replace(params, partner=partner, share=share)
    half = np.sqrt(1 - share)[:, None] * size / 2
    centre = random.uniform(0, size, (count, 2))
    first = np.rint(np.maximum(centre - half, 0)).astype(np.int64)
    extent = np.rint(np.minimum(centre + half, size)).astype(np.int64) - first
    share = 1 - extent.prod(axis=1) / size**2
    return replace(params, partner=partner, share=share, pasted=np.concatenate([first, extent], axis=1))


def add_random_operations(
    params: Augmentation, settings: RandAugment, random: np.random.Generator, image_size: int
) -> Augmentation:
    """RandAugment (Cubuk et al. 2020): a few operations for each image, drawn from a list, all of one magnitude.

    Args:
        params: of N images.
        settings: how many operations, of which magnitude (0 to 10).
        random: as in `draw`.
        image_size: pixels a side.

    Returns:
        Changes in which nothing that an operation needs is None. An operation that is drawn twice for an image acts
        twice (rotations, shears, shifts add up, factors multiply); those without a magnitude act once.
    """
    shape = (len(params), settings.operations)
    drawn = random.integers(len(OPERATIONS), size=shape)
    strength = settings.magnitude / 10
    signed = strength * np.where(random.random(shape) < 0.5, -1.0, 1.0)

    def chosen(operation: Operation) -> Flags:
        """Which images drew the operation, shape (N,)."""
        flags: Flags = (drawn == OPERATIONS.index(operation)).any(axis=1)
        return flags

    def total(operation: Operation) -> Floats:
        """The signed strengths of its draws added up, shape (N,); 0 where it was not drawn."""
        sums: Floats = np.where(drawn == OPERATIONS.index(operation), signed, 0).sum(axis=1)
        return sums

    def factor(operation: Operation) -> Floats:
        """The factors of its draws multiplied, shape (N,); 1 where it was not drawn."""
        factors: Floats = np.where(drawn == OPERATIONS.index(operation), 1 + _FACTOR * signed, 1).prod(axis=1)
        return factors

    shifts = np.stack([total("shift_down"), total("shift_right")], axis=1)
    return replace(
        params,
        shift=params.shift + np.rint(_SHIFT * image_size * shifts).astype(np.int64),
        brightness=params.brightness * factor("brightness"),
        contrast=params.contrast * factor("contrast"),
        saturation=factor("saturation") * (1 if params.saturation is None else params.saturation),
        rotation=_ROTATION * total("rotate") + (0 if params.rotation is None else params.rotation),
        shear=_SHEAR * np.stack([total("shear_down"), total("shear_right")], axis=1),
        autocontrast=chosen("autocontrast"),
        equalize=chosen("equalize"),
        posterize=np.where(chosen("posterize"), 8 - round(_BITS * strength), 8),
        solarize=np.where(chosen("solarize"), round(256 * (1 - strength)), 256),
    )
