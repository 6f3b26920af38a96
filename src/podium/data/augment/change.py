"""What happens to each image of a batch, as one frozen object: it can be tested, kept, split and replayed."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from podium.core.errors import PodiumError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


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
