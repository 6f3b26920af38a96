"""What every section of `params.yaml` is made of. Units: seconds, pixels, fractions in [0, 1]."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["critical", "warning"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$")]


class Section(BaseModel):
    """A part of `params.yaml`: frozen, unknown keys and numbers without end refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
