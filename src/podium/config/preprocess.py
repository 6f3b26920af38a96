"""Params section `preprocess`: decoding, cropping, resizing, steps, grouping duplicates, splitting.

A step is one of the kinds below; its key `step` says which, and each kind has keys of its own. What a step does to
pixels is in `podium.data.preprocess`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from podium.config.base import Fraction, Number, PositiveFloat, PositiveInt, Section, Whole


class CentreCrop(Section):
    """Keeps the middle: `share` of the width and of the height."""

    step: Literal["centre_crop"] = "centre_crop"
    share: Annotated[Number, Field(gt=0, le=1)]


class BoxCrop(Section):
    """Keeps one window, as fractions of the upright image's width and height."""

    step: Literal["box_crop"] = "box_crop"
    left: Fraction = 0.0
    top: Fraction = 0.0
    right: Fraction = 1.0
    bottom: Fraction = 1.0

    @model_validator(mode="after")
    def _has_an_inside(self) -> Self:
        if self.left >= self.right or self.top >= self.bottom:
            given = f"{self.left:g} {self.top:g} {self.right:g} {self.bottom:g}"
            raise ValueError(f"left must be below right and top below bottom, not {given}")
        return self


class Equalise(Section):
    """Spreads the histogram of the brightness over the whole range; colours keep their hue."""

    step: Literal["equalise"] = "equalise"


class Clahe(Section):
    """Equalises the brightness within each of `tiles` x `tiles` parts, slopes clipped at `clip_limit`."""

    step: Literal["clahe"] = "clahe"
    clip_limit: PositiveFloat = 2.0
    tiles: Annotated[Whole, Field(ge=1, le=64)] = 8


class Denoise(Section):
    """Takes noise away: `median` of 3 x 3 pixels (quick), or `non_local_means` of a strength in grey levels (slow)."""

    step: Literal["denoise"] = "denoise"
    method: Literal["median", "non_local_means"] = "median"
    strength: PositiveFloat = 3.0


class Grey(Section):
    """Brightness alone, in all three channels."""

    step: Literal["grey"] = "grey"


class Hsv(Section):
    """Hue, saturation and value in 0..255 in place of red, green and blue."""

    step: Literal["hsv"] = "hsv"


class Sharpen(Section):
    """Unsharp mask: adds `amount` times what a Gaussian blur of `sigma` pixels takes away."""

    step: Literal["sharpen"] = "sharpen"
    amount: PositiveFloat = 0.5
    sigma: PositiveFloat = 1.0


Step = Annotated[CentreCrop | BoxCrop | Equalise | Clahe | Denoise | Grey | Hsv | Sharpen, Field(discriminator="step")]


class Preprocessing(Section):
    """How bytes become pixels: stored with the splits and with the weights, so that serving reads it too.

    `fill` is what surrounds an image that is not square: `grey` is `pad_value`, `corners` the median of the colours of
    its four corners. `steps` are made in their order. A split's digest holds them as JSON, in this order.
    """

    image_size: Annotated[Whole, Field(ge=8, le=2048)]
    pad_value: Annotated[Whole, Field(ge=0, le=255)] = 114
    max_pixels: PositiveInt = 50_000_000
    fill: Literal["grey", "corners"] = "grey"
    steps: list[Step] = []

    @model_validator(mode="after")
    def _crops_come_first(self) -> Self:
        crops = [isinstance(step, CentreCrop | BoxCrop) for step in self.steps]
        if crops != sorted(crops, reverse=True):
            raise ValueError(
                "steps: crops are made before the image is resized, the other steps after: list centre_crop and "
                "box_crop first"
            )
        return self


class Preprocess(Preprocessing):
    """Decoding, cropping, resizing, steps, grouping duplicates, splitting.

    `minimum_side` is for whole photographs, whose shorter side must have so many pixels; boxes have keys of their own.
    `split_seed` is of the draw of the splits alone. Of duplicates on two sides of a split that the source gives, `keep`
    moves all to the most protected side; `drop_from_train` leaves out those in train (and in val, where test has them),
    so that a published test split stays as it is.
    """

    train_placement: Literal["centre", "random"] = "centre"
    minimum_side: PositiveInt = 16
    minimum_box_side: PositiveInt = 1
    minimum_box_area: Fraction = 0.0
    train: Fraction = 0.7
    val: Fraction = 0.15
    test: Fraction = 0.15
    split_seed: Annotated[Whole, Field(ge=0)] = 0
    duplicates: Literal["keep", "drop_from_train"] = "keep"

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9 or min(self.train, self.val, self.test) <= 0:
            given = f"{self.train:g} + {self.val:g} + {self.test:g}"
            raise ValueError(f"train + val + test must be 1 with none of them 0, not {given}")
        return self
