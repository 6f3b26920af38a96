"""One image file with all that `preprocess` finds in its pixels, for images that are no part of the dataset."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from podium.config.preprocess import Preprocessing
from podium.curation.decoding import perceptual_hash
from podium.curation.measures import CHEAP, NAMES, measure
from podium.data.colour import to_srgb
from podium.data.decode import decode, pixels_sha256
from podium.data.preprocess import WHOLE, ReadImage, Region, crop, least_side, pad, resize


@dataclass(frozen=True)
class MeasuredImage(ReadImage):
    """An image file as a model sees it, and what is measured of it.

    Attributes:
        measures: by name; those of `CHEAP`, or all.
        phash: its perceptual hash, 16 hex digits; empty where only the cheap measures were asked for.
    """

    measures: dict[str, float]
    phash: str


def read_measured(
    data: bytes, preprocessing: Preprocessing, region: Region = WHOLE, *, cheap: bool = False
) -> MeasuredImage:
    """Reads an image file as `read_image` does, with the same pixels and digests, and measures its content.

    Args:
        data: the bytes of the file.
        preprocessing: size, padding, steps, and the most pixels an original may have.
        region: the part of the photograph that is the image.
        cheap: whether the measures of `CHEAP` are enough; then there is no perceptual hash either.

    Raises:
        DataError: the file cannot be read; the message starts with `unreadable: `.
    """
    whole = region == WHOLE
    decoded = decode(data, preprocessing.max_pixels, least_side(preprocessing) if whole else None)
    pixels = np.asarray(decoded.image)
    pixels = pixels if whole else crop(pixels, region)
    made = resize(pixels, preprocessing, decoded.profile)
    numbers, phash = measure(made.pixels, cheap=cheap), ""
    if not cheap:
        phash = f"{perceptual_hash(to_srgb(Image.fromarray(np.ascontiguousarray(pixels)), decoded.profile)):016x}"
    return MeasuredImage(
        pixels=pad(made, preprocessing.image_size),
        width=decoded.width if whole else pixels.shape[1],
        height=decoded.height if whole else pixels.shape[0],
        sha256=pixels_sha256(pixels, decoded.profile),
        note=decoded.note,
        measures=dict(zip(CHEAP if cheap else NAMES, map(float, numbers), strict=True)),
        phash=phash,
    )
