"""`registry/<name>.jsonl`: the audit record of a registered model, a line an entry."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Literal

from pydantic import ConfigDict, Field

from podium.records.base import Record
from podium.records.chain import ChainedRecord

MOVED = "podium.moved."
"""And an alias: the tag that says which entry was the last whose move reached it."""
EVENT = "podium.event"
"""The tag of a version on a server that tells what was done to it last, as JSON: MLflow's webhooks send it on."""

Action = Literal["register", "promote", "rollback", "delete", "approve", "archive", "unarchive"]


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
    """What somebody did to a version. `when` is UTC in ISO 8601; versions are MLflow's numbers as text.

    `store` is which store it happened in, `tools` are the versions of the libraries it was judged with, by name. A
    promotion, rollback or registration moves `alias`; an approval is for a promotion to it, until `expires`. `who` is
    what this person's git says, `account` what a server with accounts does.
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
    # left out where there is none: the digests of entries from before there were any are without them
    expires: str | None = Field(default=None, exclude_if=lambda value: value is None)
    account: str | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def by(self) -> str:
        """Who it was, with the account where a server knew one."""
        return f"{self.who}, account {self.account}" if self.account else self.who

    @property
    def moves_alias(self) -> bool:
        """Whether the alias moved by it."""
        return self.action in ("register", "promote", "rollback")

    @property
    def failed(self) -> list[str]:
        """Names of the gates that had failed."""
        return [gate.name for gate in self.gates if not gate.passed]


class Refusal(Record):
    """A promotion or rollback that was refused: no entry, and no alias moved. `to` is what was asked for."""

    action: Literal["refuse"] = "refuse"
    asked: Literal["promote", "rollback"]
    when: str
    who: str
    account: str | None
    alias: str
    to: str | None
    reason: str
    refused: str


def next_number(entries: Sequence[AuditEntry]) -> int:
    """The number of the entry to come; they start at 1."""
    return entries[-1].number + 1 if entries else 1


def moves_of(entries: Sequence[AuditEntry], alias: str) -> list[AuditEntry]:
    """The moves of an alias, oldest first, but for those that never reached it: the next one began where they did."""
    mine = [entry for entry in entries if entry.alias == alias and entry.moves_alias]
    return [
        entry
        for entry, after in zip_longest(mine, mine[1:])
        if after is None or not entry.to_version != after.from_version == entry.from_version
    ]


def list_holders(entries: Sequence[AuditEntry], alias: str) -> list[str]:
    """The versions a rollback walks back through: a promotion puts one on top, a rollback takes off what it undid.

    Returns:
        Versions, the present one last; the same version is never twice in a row.
    """
    stack: list[str] = []
    for entry in moves_of(entries, alias):
        if entry.action == "rollback" and entry.to_version in stack:
            while stack[-1] != entry.to_version:
                stack.pop()
        elif not stack or stack[-1] != entry.to_version:
            stack.append(entry.to_version)
    return stack


def is_unfinished(entries: Sequence[AuditEntry], tags: Mapping[str, str], alias: str, holder: str | None) -> bool:
    """Whether the last recorded move stopped before the alias moved, by the tags of the registered model."""
    mine = moves_of(entries, alias)
    if not mine or tags.get(f"{MOVED}{alias}") == str(mine[-1].number):
        return False
    return mine[-1].from_version == holder != mine[-1].to_version


def holding(entries: Sequence[AuditEntry], tags: Mapping[str, str], alias: str, holder: str | None) -> list[AuditEntry]:
    """The moves that reached an alias, oldest first.

    Args:
        entries: of the record.
        tags: of the registered model.
        alias: which one.
        holder: the version it is on now, None for nobody.
    """
    mine = moves_of(entries, alias)
    return mine[:-1] if is_unfinished(entries, tags, alias, holder) else mine


def is_archived(entries: Sequence[AuditEntry], version: str) -> bool:
    """Whether a version was archived, and not taken back since."""
    told = [e.action for e in entries if e.to_version == version and e.action in ("archive", "unarchive")]
    return told[-1:] == ["archive"]
