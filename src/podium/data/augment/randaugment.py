"""RandAugment (Cubuk et al. 2020): a few operations for each image, drawn from a list, all of one magnitude.

An operation is no code of its own: it sets or adds to the parameters of the changes that exist anyway. So all
geometry remains one resampling and all colour one matrix, and the operations of an image act in the order of
`Augmentation` rather than in the order in which they were drawn. `sharpness` of the paper's list is left out: it is the
only one that needs a pass over the pixels of its own.
"""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from podium.config.recipe import RandAugment
from podium.data.augment.change import Augmentation, Flags, Floats

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

# at magnitude 10, as in the paper's code and torchvision's RandAugment; in proportion below
_ROTATION = 30.0  # degrees
_SHEAR = 0.3  # of the distance to the centre
_SHIFT = 0.45  # of the side
_FACTOR = 0.9  # of brightness, contrast, saturation: their largest distance to 1
_BITS = 4  # dropped of the 8 of each value


def add_random_operations(
    change: Augmentation, settings: RandAugment, random: np.random.Generator, image_size: int
) -> Augmentation:
    """Draws the operations and adds them to what was drawn before.

    Args:
        change: of N images.
        settings: how many operations, of which magnitude (0 to 10).
        random: as in `draw`.
        image_size: pixels a side.

    Returns:
        Changes in which nothing that an operation needs is None. An operation that is drawn twice for an image acts
        twice (rotations, shears, shifts add up, factors multiply); those without a magnitude act once.
    """
    shape = (len(change), settings.operations)
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
        change,
        shift=change.shift + np.rint(_SHIFT * image_size * shifts).astype(np.int64),
        brightness=change.brightness * factor("brightness"),
        contrast=change.contrast * factor("contrast"),
        saturation=factor("saturation") * (1 if change.saturation is None else change.saturation),
        rotation=_ROTATION * total("rotate") + (0 if change.rotation is None else change.rotation),
        shear=_SHEAR * np.stack([total("shear_down"), total("shear_right")], axis=1),
        autocontrast=chosen("autocontrast"),
        equalize=chosen("equalize"),
        posterize=np.where(chosen("posterize"), 8 - round(_BITS * strength), 8),
        solarize=np.where(chosen("solarize"), round(256 * (1 - strength)), 256),
    )
