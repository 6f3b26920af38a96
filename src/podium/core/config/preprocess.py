"""Params section `preprocess`: decoding, resizing, grouping duplicates, splitting."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from podium.core.config.base import Fraction, PositiveInt, Section


class Preprocess(Section):
    """Decoding, resizing, grouping duplicates, splitting."""

    image_size: Annotated[int, Field(ge=8, le=2048)]
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    max_pixels: PositiveInt = 50_000_000
    train: Fraction = 0.7
    val: Fraction = 0.15
    test: Fraction = 0.15
    near_duplicate_distance: Annotated[int, Field(ge=0, le=64)] = 12

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9 or min(self.train, self.val, self.test) <= 0:
            given = f"{self.train:g} + {self.val:g} + {self.test:g}"
            raise ValueError(f"train + val + test must be 1 with none of them 0, not {given}")
        return self
