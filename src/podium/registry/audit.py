"""The audit record of a registered model: who moved an alias, when, why, from where to where, past which gates.

Entries are tags `podium.audit.000001`, ... of the registered model, a line each that a person can read, appended and
never edited (for the one way to lose one, on a shared server, see `append_entry`). What every gate saw is an artifact,
`promotions/<name>-000001.json`, of the run the version came from. An entry is written before the alias moves, so no
alias moves without one; what follows from the entries (the holders so far) is computed here and nowhere else.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field, ValidationError

from podium.core.errors import PromotionRefused, TrackingError
from podium.records.base import Record
from podium.registry.gates import GateResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

STAGES = {"staging": "Staging"}  # alias that a promotion moves -> the deprecated stage that mirrors it
TAG = "podium.audit."
TAG_LIMIT = 5000  # characters of a registered model's tag in MLflow's tables (String(5000)); SQLite would not complain
REASON_LIMIT = 500
_KEY = re.compile(r"podium\.audit\.(\d{6,})")
_CUT = 80
_BETWEEN, _NOBODY = " | ", "nobody"

Action = Literal["promote", "rollback"]


class AuditEntry(Record):
    """One move of an alias. `when` is UTC in ISO 8601; versions are MLflow's numbers as text."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    number: int
    when: str
    who: str
    action: Action
    alias: str
    from_version: str | None = Field(alias="from")
    to_version: str = Field(alias="to")
    reason: str
    forced: bool
    gates: list[GateResult]

    @property
    def failed(self) -> list[str]:
        """Names of the gates that had failed."""
        return [gate.name for gate in self.gates if not gate.passed]


def read_audit(client: "MlflowClient", name: str, *, gates: bool = False) -> list[AuditEntry]:
    """The whole record, oldest first.

    Args:
        client: of the store.
        name: of the registered model.
        gates: fetch what every gate saw, an artifact an entry; else entries know the failed gates alone, by name.
            Where an artifact was deleted, they know no more.

    Raises:
        TrackingError: an entry is not what `append_entry` wrote.
    """
    tags = client.get_registered_model(name).tags
    entries = audit_of(name, tags)
    in_full = {entry.number for entry in entries if tags[f"{TAG}{entry.number:06d}"].startswith("{")}
    return [_with_gates(client, name, e) if gates and e.number not in in_full else e for e in entries]


def audit_of(name: str, tags: Mapping[str, str]) -> list[AuditEntry]:
    """The record in the tags of a registered model, oldest first.

    Raises:
        TrackingError: an entry is not what `append_entry` wrote.
    """
    found = []
    for key, value in tags.items():
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        try:
            entry = _parse(int(match[1]), value)
        except ValidationError as error:
            raise TrackingError(
                f"the audit entry {key} of {name} was changed by hand and cannot be read: restore the tag"
            ) from error
        if entry.number != int(match[1]):
            raise TrackingError(f"the audit entry {key} of {name} says it is number {entry.number}: restore the tag")
        found.append(entry)
    return sorted(found, key=lambda entry: entry.number)


def append_entry(client: "MlflowClient", name: str, entry: AuditEntry, run_id: str | None = None) -> None:
    """Writes an entry, and refuses where another one has its number before or right after.

    MLflow cannot set a tag on condition that it is not there. Two writers that the promotion lock does not keep apart
    (a shared server, another machine or user) may both find the number free; if the first has read its entry back
    before the second writes, the second replaces it unnoticed and the first move is lost from the record.

    Args:
        client: of the store.
        name: of the registered model.
        entry: its number is one above the last.
        run_id: the run that the version came from and that takes the artifact; without one, the tag holds the JSON.

    Raises:
        PromotionRefused: the number was taken, or another entry stood there when it was read back.
    """
    key = f"{TAG}{entry.number:06d}"
    text = _fit_into_tag(entry) if run_id is None else _as_line(entry)
    if key not in client.get_registered_model(name).tags:
        if run_id is not None:
            client.log_text(run_id, entry.model_dump_json(by_alias=True, indent=2), _place(name, entry.number))
        client.set_registered_model_tag(name, key, text)
        if client.get_registered_model(name).tags.get(key) == text:
            return
    raise PromotionRefused(
        f"another promotion of {name} was recorded at the same moment: see `podium history`, then try again"
    )


def next_number(entries: Sequence[AuditEntry]) -> int:
    """The number of the entry to come; they start at 1."""
    return entries[-1].number + 1 if entries else 1


def list_holders(entries: Sequence[AuditEntry], alias: str) -> list[str]:
    """The versions a rollback walks back through: a promotion puts one on top, a rollback takes off what it undid.

    Returns:
        Versions, the present one last; the same version is never twice in a row.
    """
    stack: list[str] = []
    for entry in entries:
        if entry.alias != alias:
            continue
        if entry.action == "rollback" and entry.to_version in stack:
            while stack[-1] != entry.to_version:
                stack.pop()
        elif not stack or stack[-1] != entry.to_version:
            stack.append(entry.to_version)
    return stack


def is_unfinished(entries: Sequence[AuditEntry], alias: str, holder: str | None) -> bool:
    """Whether the last recorded move stopped before the alias moved: it is still where that move started."""
    mine = [entry for entry in entries if entry.alias == alias]
    return bool(mine) and mine[-1].from_version == holder != mine[-1].to_version


def _as_line(entry: AuditEntry) -> str:
    """The entry as people read it; names of failed gates are in it, what the gates saw is not."""
    passed = f"{len(entry.gates) - len(entry.failed)} of {len(entry.gates)} gates"
    gates = f"{passed}, forced past {', '.join(entry.failed)}" if entry.failed else passed
    who = entry.who.replace(_BETWEEN, " ")
    move = f"{entry.from_version or _NOBODY} -> {entry.to_version}"
    return _BETWEEN.join([entry.when, entry.action, entry.alias, move, who, gates, entry.reason])


def _parse(number: int, text: str) -> AuditEntry:
    """The entry that a tag holds as a line, or as JSON."""
    if text.startswith("{"):
        return AuditEntry.model_validate_json(text)
    when, action, alias, move, who, gates, reason = [*text.split(_BETWEEN, 6), *[""] * 7][:7]
    came, _, went = move.partition(" -> ")
    failed = [name for name in gates.partition("forced past ")[2].split(", ") if name]
    return AuditEntry.model_validate(
        {
            "number": number,
            "when": when,
            "who": who,
            "action": action,
            "alias": alias,
            "from": None if came == _NOBODY else came,
            "to": went,
            "reason": reason,
            "forced": bool(failed),
            "gates": [GateResult(name=name, required="", observed="", passed=False) for name in failed],
        }
    )


def _with_gates(client: "MlflowClient", name: str, entry: AuditEntry) -> AuditEntry:
    """The entry as its artifact tells it in full, or as it is where that is gone."""
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException

    try:
        run_id = client.get_model_version(name, entry.to_version).run_id
        text = load_text(f"{client.get_run(run_id).info.artifact_uri}/{_place(name, entry.number)}")
        return AuditEntry.model_validate_json(text)
    except (MlflowException, OSError, ValidationError):
        return entry


def _place(name: str, number: int) -> str:
    """Where a run keeps an entry in full."""
    return f"promotions/{name}-{number:06d}.json"


def _fit_into_tag(entry: AuditEntry) -> str:
    """The entry as JSON; sentences are cut where it would not fit into a tag, numbers and verdicts never."""
    text = entry.model_dump_json(by_alias=True)
    if len(text) <= TAG_LIMIT:
        return text
    gates = [
        gate.model_copy(update={part: getattr(gate, part)[:_CUT] for part in ("required", "observed", "detail")})
        for gate in entry.gates
    ]
    return entry.model_copy(update={"gates": gates}).model_dump_json(by_alias=True)
