"""Params section `validate`: one entry per expectation on the prepared dataset, every one with a default.

Which entries there are, and their thresholds, stands beside each expectation (`podium.curation.expectations`), which
registers its default here. Rule: an expectation that is critical by default becomes a warning, or gets a looser
threshold than its default, only with a `because`, which is shown wherever the result is and travels in the tags of the
model versions made from such data.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, create_model, model_validator

from podium.config.base import Because, Fraction, PositiveInt, Section, Severity, Whole

_EXPECTATIONS = "podium.curation.expectations"
_defaults: "dict[str, ExpectationSettings]" = {}


class ExpectationSettings(Section):
    """What happens when an expectation fails: `critical` stops the DAG, `warning` is reported.

    A kind of expectation adds its thresholds: `minimum` and `maximum` bound what is observed.
    """

    severity: Severity
    because: Because | None = None

    @property
    def default_severity(self) -> Severity:
        """The severity without an entry in the params file."""
        severity: Severity = type(self).model_fields["severity"].default
        return severity

    @property
    def relaxed(self) -> bool:
        """Whether what would stop the experiment by default is only reported, or accepted up to a looser threshold."""
        return False


class Critical(ExpectationSettings):
    """Stops the experiment when it fails. Its class has the default of a threshold, which loosening is held against."""

    severity: Severity = "critical"

    @property
    def relaxed(self) -> bool:
        """Whether it only warns, or its threshold is looser than the default."""
        return self.severity == "warning" or bool(self._looser())

    def _looser(self) -> str:
        """How a `minimum` is below its default, or a `maximum` above it; empty where it is not."""
        for key, sign, word in (("minimum", -1, "below"), ("maximum", 1, "above")):
            if key in type(self).model_fields:
                given, default = getattr(self, key), type(self).model_fields[key].default
                if sign * given > sign * default:
                    return f"{key} {given} is {word} the default {default}"
        return ""

    @model_validator(mode="after")
    def _relaxed_for_a_reason(self) -> Self:
        if self.relaxed and self.because is None:
            raise ValueError(
                f"{self._looser() or 'severity warning is below the default critical'}, and a critical expectation is "
                "relaxed only for a reason: add `because: <why this is no danger here>`, or keep the default"
            )
        return self


class Advisory(ExpectationSettings):
    """Is reported when it fails."""

    severity: Severity = "warning"


class MaximumShare(Advisory):
    """`maximum`: of all images."""

    maximum: Fraction


class Probes(Section):
    """The cheap models that look for wrong labels and shortcuts in train and val.

    They are cross-validated in `folds`, on at most `images_per_class`; `border` is how many pixels at each edge the one
    that sees only the border sees.
    """

    folds: Annotated[Whole, Field(ge=2, le=20)] = 5
    images_per_class: PositiveInt = 1000
    border: PositiveInt = 8


class Validate(Section):
    """One entry per expectation, and how the probes behind some of them work; a file names what it changes."""

    model_config = ConfigDict(extra="allow")  # the entries, which are checked below

    probes: Probes = Probes()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: object) -> object:
        """Every expectation has an entry: its default, with what is given on top."""
        if not isinstance(given, Mapping):
            return given
        known = default_settings()
        entries = {
            key: {**known[key].model_dump(), **value} if key in known and isinstance(value, Mapping) else value
            for key, value in given.items()
        }
        return dict(_form(tuple(known.items())).model_validate(entries))

    @classmethod
    def file_keys(cls) -> dict[str, Any]:
        """The probes and every expectation."""
        return {**{id: type(default) for id, default in default_settings().items()}, **super().file_keys()}

    def entry(self, id: str) -> ExpectationSettings:
        """One entry by the id of its expectation."""
        found: ExpectationSettings = (self.model_extra or {})[id]
        return found


def register(id: str, default: ExpectationSettings) -> None:
    """Makes an expectation a key of the section; called where the expectation is declared.

    Raises:
        ValueError: there is one of that name.
    """
    if id in _defaults or id in Validate.model_fields:
        raise ValueError(f"validate.{id} is there already: give the expectation another name")
    _defaults[id] = default


def default_settings() -> Mapping[str, ExpectationSettings]:
    """The entry of every expectation where a params file has none, by id.

    The expectations are imported by name: what checks a dataset lies above its params and is no part of them.
    """
    import_module(_EXPECTATIONS)
    return MappingProxyType(_defaults)


@lru_cache(maxsize=1)
def _form(known: tuple[tuple[str, ExpectationSettings], ...]) -> type[Section]:
    """The section with a field an expectation, which refuses other keys."""
    fields: dict[str, Any] = {id: (type(default), default) for id, default in known}
    return create_model("Validate", __base__=Section, probes=(Probes, Probes()), **fields)
