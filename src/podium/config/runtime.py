"""Params sections `runtime`, how numbers are computed, and `resources`, what may be used for it."""

from typing import Annotated, Literal

from pydantic import Field

from podium.config.base import Number, PositiveInt, Section, Whole


class Runtime(Section):
    """How numbers are computed; part of every fingerprint, `auto` as the device that it came to."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    threads: PositiveInt = 2


class Resources(Section):
    """What may be used for it: processes and disk. It changes no byte, so it is a parameter of no stage.

    `workers` decode images (0 or 1: the stage's own process does), `trials_at_once` train side by side in a study,
    `cache_gib` is the disk, per model, for the activations of frozen layers.
    """

    workers: Annotated[Whole, Field(ge=0)] = 2
    trials_at_once: PositiveInt = 1
    cache_gib: Annotated[Number, Field(ge=0)] = 8.0
