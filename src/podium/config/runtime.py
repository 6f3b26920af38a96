"""Params section `runtime`: how numbers are computed."""

from typing import Annotated, Literal

from pydantic import Field

from podium.config.base import Number, PositiveInt, Section, Whole

CHANGES_NO_BYTE = frozenset(("workers", "trials_at_once"))


class Runtime(Section):
    """How numbers are computed. All but `CHANGES_NO_BYTE` is part of every fingerprint."""

    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    threads: PositiveInt = 2
    cache_gib: Annotated[Number, Field(ge=0)] = 8.0
    workers: Annotated[Whole, Field(ge=0)] = 2
    trials_at_once: PositiveInt = 1


def runtime_identity(runtime: Runtime) -> dict[str, str | int | float | bool]:
    """The runtime settings that change bytes: all but those that say how many processes share the work."""
    return runtime.model_dump(exclude=set(CHANGES_NO_BYTE))
