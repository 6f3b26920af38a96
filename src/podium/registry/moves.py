"""What the move of an alias asks for besides the gates: rules on the record and on people, past which no force leads.

Each rule is told like a gate, so that the audit record holds what was asked for and what was seen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from podium.config.judging import Limits, Move, Promote
from podium.console.process import git_said, utc_now, whoami
from podium.core.errors import PromotionRefused
from podium.core.layout import Layout
from podium.records.audit import AuditEntry, GateResult, holding, is_archived
from podium.registry.audit import AuditRecord

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

SignedBy = Callable[[AuditEntry], tuple[str, str]]
LISTED = 5  # limits spelt out in one line
NOT_COMMITTED = "not as committed"
"""How `limits` begins where the section `promote` is not that of the last commit."""


@dataclass(frozen=True)
class Asked:
    """A move that is asked for.

    Attributes:
        version: its number; it is as the record says it was registered.
        alias: where to.
        move: what `promote.moves` says of that alias.
        record: the audit record.
        tags: of the registered model.
        aliases: version by alias, as they are now.
        who: asks, as git says.
        account: that who asks has on the server, if it has accounts.
        when: UTC in ISO 8601.
        signer: whose key signs the move; empty for nobody's.
        signed_by: the signer of an entry, and why it is not signed, in words; one of the two is empty.
    """

    version: str
    alias: str
    move: Move
    record: AuditRecord
    tags: Mapping[str, str]
    aliases: Mapping[str, str]
    who: str
    account: str | None
    when: str
    signer: str
    signed_by: SignedBy


def ask_now(
    version: str,
    alias: str,
    move: Move,
    record: AuditRecord,
    model: "RegisteredModel",
    *,
    account: str | None,
    signer: str,
    signed_by: SignedBy,
) -> Asked:
    """A move that somebody asks for now, of a registered model as MLflow knows it."""
    aliases = {name: str(number) for name, number in model.aliases.items()}
    now = max(
        [utc_now(), *(entry.when for entry in record.entries[-1:])]
    )  # a clock that was set back brings nothing back
    return Asked(version, alias, move, record, model.tags, aliases, whoami(), account, now, signer, signed_by)


def check_rules(asked: Asked) -> list[GateResult]:
    """What every rule says of a move."""
    return [_not_archived(asked), _held_before(asked), _approvals(asked)]


def _rule(name: str, required: str, observed: str, refusal: str = "") -> GateResult:
    """What a rule saw; the sentence of a refusal is empty where it is kept."""
    return GateResult(name=name, required=required, observed=observed, passed=not refusal, detail=refusal)


def check_not_archived(record: AuditRecord, version: str) -> None:
    """Refuses a version that was archived.

    Raises:
        PromotionRefused: it was, and not taken back since.
    """
    if is_archived(record.entries, version):
        told = [e for e in record.entries if e.action == "archive" and e.to_version == version][-1]
        raise PromotionRefused(
            f"version {version} was archived on {told.when[:10]} by {told.by} ({told.reason}): "
            f'`podium archive {version} --undo --reason "..."` takes that back'
        )


def _not_archived(asked: Asked) -> GateResult:
    """An archived version takes no alias."""
    try:
        check_not_archived(asked.record, asked.version)
    except PromotionRefused as refused:
        return _rule("not_archived", "not archived", "archived", str(refused))
    return _rule("not_archived", "not archived", "not archived")


def _held_before(asked: Asked) -> GateResult:
    """The version held the alias that the move is from, with the weights and evidence that it has now."""
    alias, version, entries = asked.move.from_, asked.version, asked.record.entries
    if alias is None:
        return _rule("held_before", "nothing", "-")
    required = f"held {alias}"
    reached = [
        entry
        for entry in holding(entries, asked.tags, alias, asked.aliases.get(alias))
        if entry.to_version == version and asked.record.is_same(entry)
    ]
    if reached:
        return _rule("held_before", required, f"since {reached[0].when[:10]}, entry {reached[0].number}")
    refusal = (
        f"version {version} never held {alias}, says the record, and {asked.alias} is from there: "
        f'`podium promote {version} --to {alias} --reason "..."` first'
    )
    return _rule("held_before", required, "never", refusal)


def _approvals(asked: Asked) -> GateResult:
    """So many other people agreed, to the version as it is now, not too long ago."""
    wanted, version, alias = asked.move.approvals, asked.version, asked.alias
    if not wanted:
        return _rule("approvals", "none", "-")
    required = f"{wanted} by others"
    counted: list[AuditEntry] = []
    missed = []
    for entry in approvals_of(asked.record, version, alias):
        if why := _why_not(asked, entry):
            missed.append(f"that of {entry.by} (entry {entry.number}) {why}")
        else:
            counted = [*(other for other in counted if not _same_person(other, entry)), entry]
    observed = ", ".join(f"{entry.by}, entry {entry.number}" for entry in counted) or "none"
    if len(counted) >= wanted:
        return _rule("approvals", required, observed)
    told = f"; {'; '.join(missed)}" if missed else ""
    refusal = (
        f"{alias} asks for the approval of {wanted} other {'person' if wanted == 1 else 'people'} and has "
        f'{len(counted)}{told}: one of them gives `podium approve {version} --to {alias} --reason "..."`'
    )
    return _rule("approvals", required, observed, refusal)


def approvals_of(record: AuditRecord, version: str, alias: str) -> list[AuditEntry]:
    """Approvals of a version for an alias that it did not leave since: what was taken back must be approved anew."""
    left = [e.number for e in record.entries if e.alias == alias and e.moves_alias and e.from_version == version]
    since = max(left, default=0)
    mine = (e for e in record.entries if (e.action, e.to_version, e.alias) == ("approve", version, alias))
    return [entry for entry in mine if entry.number > since]


def _why_not(asked: Asked, entry: AuditEntry) -> str:
    """Why an approval does not count, in words; empty where it does."""
    registered = asked.record.registration(asked.version)
    if registered is None or entry.version != registered.version:
        return "is for what the version was then, and its package or tags are others now"
    if _same_person(entry, asked):
        return "is by who asks"
    if asked.move.signed:
        signer, why = asked.signed_by(entry)
        if why or signer == asked.signer:
            return f"is one that {why or f'{signer} signed, whose key signs the move'}"
    if datetime.fromisoformat(entry.expires or entry.when) < datetime.fromisoformat(asked.when):
        return f"expired on {(entry.expires or entry.when)[:16].replace('T', ' ')}"
    return ""


def _same_person(one: AuditEntry, other: AuditEntry | Asked) -> bool:
    """Whether two have one account, or one name: the one that git has, else the login."""
    names = {who.partition(" (")[0].strip().casefold() for who in (one.who, other.who)}
    return len(names) == 1 or (one.account is not None and one.account == other.account)


def compare_limits(layout: Layout, alias: str, promote: Promote) -> GateResult:
    """Tells whether a move is judged by the limits of the last commit. It refuses none: a trial needs no commit."""
    text = git_said(layout.root, "show", f"HEAD:./{layout.params.name}")
    if text is None:
        return _rule("limits", "told", "in no commit")
    try:
        raw = yaml.safe_load(text)
        committed = Promote.model_validate(raw.get("promote") if isinstance(raw, dict) else None)
    except (yaml.YAMLError, ValidationError):
        return _rule("limits", "told", f"{NOT_COMMITTED}: the promote section there cannot be read")
    differ = list(_differences(committed.moves.get(alias), promote.moves[alias]))
    differ += ["other signers"] if committed.signers != promote.signers else []
    more = f", and {len(differ) - LISTED} more" if len(differ) > LISTED else ""
    return _rule("limits", "told", f"{NOT_COMMITTED}: {', '.join(differ[:LISTED])}{more}" if differ else "as committed")


def _differences(committed: Limits | None, now: Limits) -> Iterator[str]:
    """The limits that differ, each with both values."""
    before = committed.model_dump() if committed else {}
    for key, value in now.model_dump().items():
        if before.get(key) != value:
            yield f"{key} {value} (committed: {before.get(key, 'none')})"
