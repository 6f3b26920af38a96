"""Params sections `dataset` and `fetch`: where the images come from, and the limits of getting them."""

from typing import Annotated, Literal

from pydantic import Field

from podium.core.config.base import PositiveFloat, PositiveInt, Section, Sha256, Split


class Dataset(Section):
    """Where the images come from."""

    source: Literal["sample", "folder", "archive"]
    location: Annotated[str, Field(min_length=1)]
    sha256: Sha256 | None = None
    licence: str
    limit_per_class: PositiveInt | dict[Split, PositiveInt] | None = None


class Fetch(Section):
    """Limits of downloading and unpacking."""

    timeout_seconds: PositiveFloat = 30.0
    retries: Annotated[int, Field(ge=0)] = 5
    max_files: PositiveInt = 2_000_000
    max_bytes: PositiveInt = 64 * 2**30
    max_ratio: PositiveFloat = 200.0
