"""What every section of `params.yaml` is made of. Units: seconds, pixels, fractions in [0, 1]."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

LONGEST_BECAUSE = 250
"""Characters of a reason; all of them together fit in one tag of MLflow (8,000)."""


def _no_truth_value(given: object) -> object:
    """What was given, unless it is a truth value: those are whole numbers to Python, and would pass for 0 and 1."""
    if isinstance(given, bool):
        raise ValueError("takes a number, not true or false (which yes, no, on and off mean too)")
    return given


def _one_line(text: str) -> str:
    """Line breaks become spaces: a reason is shown within a sentence."""
    return " ".join(text.split())


Because = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_BECAUSE), AfterValidator(_one_line)
]
Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Number = Annotated[float, BeforeValidator(_no_truth_value)]
Severity = Literal["critical", "warning"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Text = Annotated[str, Field(min_length=1)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
PositiveFloat = Annotated[Number, Field(gt=0)]
PositiveInt = Annotated[Whole, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$")]


class Section(BaseModel):
    """A part of `params.yaml`: frozen, unknown keys and numbers without end refused.

    Its numbers are `Whole` or `Number`, bare or with bounds: these refuse truth values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def file_keys(cls) -> dict[str, Any]:
        """What the section holds in a file, and the type of each."""
        return {field.alias or name: field.annotation for name, field in cls.model_fields.items()}


def keys_of(annotation: Any) -> dict[str, Any]:
    """The keys of a section, as `Section.file_keys`; none of what is no section."""
    return annotation.file_keys() if isinstance(annotation, type) and issubclass(annotation, Section) else {}


def options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union but for None; anything else alone. What is annotated to a type is taken off."""
    if get_origin(annotation) is Annotated:
        return options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(o for m in get_args(annotation) if m is not NoneType for o in options(m))
    return (annotation,)
