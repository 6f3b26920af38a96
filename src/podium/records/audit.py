"""`registry/<name>.jsonl`: the audit record of a registered model, a line an entry."""

from typing import Literal

from pydantic import ConfigDict, Field

from podium.records.base import Record
from podium.records.chain import ChainedRecord

Action = Literal["register", "promote", "rollback"]


class VersionDigests(Record):
    """What a version was when an entry was written, 64 hex digits each.

    `package` is over every file of its package, `tags` over its tags that start with `podium.`; the others are these
    tags: weights, the data it was made from, the test split and the documents it was judged by.
    """

    package: str
    tags: str
    weights: str
    data: str
    test: str
    evidence: str


class GateResult(Record):
    """What one gate asked for and saw; `detail` is the sentence of a refusal, empty where there is nothing to add."""

    name: str
    required: str
    observed: str
    passed: bool
    detail: str = ""


class AuditEntry(ChainedRecord):
    """One registration, or one move of an alias. `when` is UTC in ISO 8601; versions are MLflow's numbers as text.

    `store` is which store it happened in, `tools` are the versions of the libraries it was judged with, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    number: int
    store: str
    when: str
    who: str
    action: Action
    alias: str
    from_version: str | None = Field(alias="from")
    to_version: str = Field(alias="to")
    reason: str
    forced: bool
    gates: list[GateResult]
    version: VersionDigests
    tools: dict[str, str]

    @property
    def failed(self) -> list[str]:
        """Names of the gates that had failed."""
        return [gate.name for gate in self.gates if not gate.passed]
