"""What a gate of a promotion is, and how one is run.

A gate is one function under `@gate`. It never raises because a model is bad: it returns a verdict with the reason, so
that all gates are seen at once and a forced promotion records what it overrode.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from podium.config.judging import Limits
from podium.core.layout import Layout
from podium.records.audit import GateResult

if TYPE_CHECKING:
    from podium.models.inference import Classifier
    from podium.registry.evidence import Evidence


@dataclass(frozen=True)
class Verdict:
    """What a gate says: what it requires, what it saw, and the sentence of a refusal; empty where the gate passes."""

    required: str
    observed: str
    refusal: str = ""


@dataclass(frozen=True)
class Case:
    """What a gate may look at.

    Attributes:
        candidate: the version to promote.
        holder: the version that holds the alias now, why its evidence cannot be read, or None where there is none.
        classifier: the candidate's loaded model, or why it does not load.
        limits: section `promote` of `params.yaml`, or what a move says otherwise.
        layout: where the present test images lie, in case the holder was tested on other ones.
        limit: for a gate that has a default, `promote.gates.<name>` or that default; 0 for others.
        thorough: whether the model is asked about every test image again, or about some.
    """

    candidate: "Evidence"
    holder: "Evidence | str | None"
    classifier: "Classifier | str"
    limits: Limits
    layout: Layout
    limit: float = 0.0
    thorough: bool = False


@dataclass(frozen=True)
class Gate:
    """A gate: its name in the audit record, what it asks for, and the default of its own limit where it has one."""

    name: str
    sentence: str
    default: float | None
    judge: Callable[[Case], Verdict]


GATES: dict[str, Gate] = {}
"""Every gate by name, in the order they are run and shown."""


def gate(
    sentence: str, default: float | None = None
) -> Callable[[Callable[[Case], Verdict]], Callable[[Case], Verdict]]:
    """Makes a function a gate, under its own name.

    Args:
        sentence: what the gate asks for.
        default: its limit where `promote.gates` does not name another one; None for a gate without.
    """

    def register(judge: Callable[[Case], Verdict]) -> Callable[[Case], Verdict]:
        """Puts the function into `GATES` and gives it back as it is."""
        GATES[judge.__name__] = Gate(judge.__name__, sentence, default, judge)
        return judge

    return register


def run_gate(name: str, case: Case) -> GateResult:
    """Runs one gate, a key of `GATES`."""
    known = GATES[name]
    limit = 0.0 if known.default is None else case.limits.gates.get(name, known.default)
    said = known.judge(replace(case, limit=limit))
    return GateResult(
        name=name, required=said.required, observed=said.observed, passed=not said.refusal, detail=said.refusal
    )
