"""How `preprocess` turned bytes into pixels. What it found in them is in `records.profile`."""

from typing import Literal

from podium.config.preprocess import Step
from podium.records.base import Record


class Preprocessing(Record):
    """How bytes become pixels. Resolved once, stored with the split and with the weights; serving reads it too.

    `fill` is what surrounds an image that is not square: `grey` is `pad_value`, `corners` the median of the colours of
    its four corners. `steps` are made in their order.
    """

    image_size: int
    pad_value: int
    max_pixels: int
    fill: Literal["grey", "corners"] = "grey"
    steps: list[Step] = []
