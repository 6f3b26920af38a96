"""The one way an alias moves: under a lock, past rules and gates, on record.

Order of a move: the audit entry, its signature, the deprecated stage that mirrors the alias, the alias itself. Whatever
a crash leaves behind is repaired by giving the same command again.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.params import Params
from podium.core.errors import DataError, PromotionRefused, TrackingError
from podium.core.layout import Layout
from podium.records.audit import Action, AuditEntry, GateResult, holding, list_holders
from podium.registry.audit import AuditRecord
from podium.registry.audit_file import brief
from podium.registry.evidence import Evidence, changed_since, open_package, read_evidence
from podium.registry.gate import Case, run_gate
from podium.registry.gates import run_gates
from podium.registry.moves import ask_now, check_not_archived, check_rules, compare_limits
from podium.registry.registered_model import Registry, open_registry
from podium.registry.signing import Signer, find_signer, signed_by
from podium.tracking import store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ShowGates = Callable[[Sequence[GateResult]], None]


@dataclass(frozen=True)
class PromotionRequest:
    """What is asked for: `wanted` (a version's number or `candidate`) to `alias`, and why.

    `force` moves the alias past failed gates, though past no rule; they are recorded. `thorough` asks the model about
    every test image. The private key in `key` signs the entry.
    """

    wanted: str
    alias: str
    reason: str
    force: bool = False
    thorough: bool = False
    key: Path | None = None


def promote(layout: Layout, params: Params, request: PromotionRequest, show: ShowGates) -> AuditEntry:
    """Judges a version and, if every gate passes or force is used, moves the alias to it.

    Returns:
        The audit entry that was written.

    Raises:
        PromotionRefused: a gate failed, a rule of the move is not kept, the record does not hold or the version is not
            as it was registered (even by force), the version holds the alias already, or another promotion was faster.
        TrackingError: the store does not answer or lacks the version.
        DataError: the version's package lacks evidence.
    """
    registry = open_registry(layout, params)
    with (
        store.translate_errors(registry.uri),
        registry.lock(waits=False),
        registry.announcing_refusals("promote", request.alias, request.wanted, request.reason),
    ):
        signer = find_signer(layout, params, request.alias, request.key)
        number, holder, rules, gates = _judge(registry, params, request, signer.name if signer else "")
        results = [*rules, *gates]
        show(results)
        if broken := describe_refusal(rules):
            raise PromotionRefused(f"{broken} (nothing was changed; --force does not lead past that)")
        if (refusal := describe_refusal(gates)) and not request.force:
            raise PromotionRefused(f"{refusal} (nothing was changed; --force overrides, on record)")
        return move(
            registry,
            "promote",
            request.alias,
            holder=holder,
            number=number,
            reason=request.reason,
            gates=results,
            signer=signer,
        )


def check(layout: Layout, params: Params, request: PromotionRequest) -> tuple[str, list[GateResult]]:
    """What every rule and gate says of a version now; nothing moves, and `reason` and `force` do not matter.

    Returns:
        The version's number, and the results.

    Raises:
        PromotionRefused: the version holds the alias already or is not as it was registered, or the record does not
            hold.
        TrackingError: the store does not answer or lacks the version.
        DataError: the version's package lacks evidence.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri):
        number, _, rules, gates = _judge(registry, params, request)
    return number, [*rules, *gates]


def describe_refusal(results: Sequence[GateResult]) -> str:
    """Why a version is refused, in one line; empty where every gate passes."""
    return "; ".join(gate.detail for gate in results if not gate.passed)


def _judge(
    registry: Registry, params: Params, request: PromotionRequest, signer: str = ""
) -> tuple[str, str | None, list[GateResult], list[GateResult]]:
    """The number of the version that is meant, who holds the alias, what every rule and what every gate says."""
    version, alias = registry.resolve(request.wanted), request.alias
    number = str(version.version)
    model, record = registry.model(), registry.record()
    holder = registry.aliases().get(alias)
    record.check()
    last = record.last(alias)
    gone = last is not None and registry.version(last.to_version) is None  # a holder that was deleted blocks nobody
    if not gone and (moved := record.moved_past(model.tags, alias, holder)):
        raise PromotionRefused(f"{moved}; see `podium audit`: its --repair takes it back")
    if number == holder:
        how = f" ({brief(last)}, by {last.by})" if last else ""
        raise PromotionRefused(f"version {number} is already at {alias}{how}: nothing to do")
    with ExitStack() as stack:
        candidate = recorded_evidence(registry, record, version, stack)
        present = _holder_evidence(registry, record, holder, stack)
        asked = params.promote.moves[alias]
        gates = run_gates(candidate, present, asked, registry.layout, thorough=request.thorough)
        by = partial(signed_by, registry.layout, params)
        now = ask_now(number, alias, asked, record, model, account=registry.account(), signer=signer, signed_by=by)
        rules = check_rules(now)
        return number, holder, [*rules, compare_limits(registry.layout, alias, params.promote)], gates


def rollback(
    layout: Layout,
    params: Params,
    alias: str,
    reason: str,
    show: ShowGates,
    *,
    to: str | None = None,
    key: Path | None = None,
) -> AuditEntry:
    """Moves the alias back to a version that held it before, as the audit record tells.

    A version that held an alias was judged for it, so that going back asks for no gate and no approval anew.

    Args:
        layout: the project's paths.
        params: of the project.
        alias: which one.
        reason: why.
        show: is told what was checked.
        to: the version's number, or a moment in ISO 8601 (UTC), for who held the alias then; None for one step back.
        key: the private key that signs the entry.

    Returns:
        The audit entry that was written.

    Raises:
        PromotionRefused: there is no such holder, it was deleted or archived or is not as it was registered, the record
            does not hold, or a promotion is running.
        TrackingError: the store does not answer.
    """
    registry = open_registry(layout, params)
    with (
        store.translate_errors(registry.uri),
        registry.lock(waits=False),
        registry.announcing_refusals("rollback", alias, to, reason),
    ):
        signer = find_signer(layout, params, alias, key)
        holder, record, tags = registry.aliases().get(alias), registry.record(), registry.model().tags
        record.check()
        number = _earlier_holder(record, tags, alias, holder, to)
        result = _judge_earlier(registry, record, params, alias, number)
        show([result])
        if not result.passed:
            raise PromotionRefused(f"version {number} is not what held {alias} before: {result.detail}")
        return move(
            registry,
            "rollback",
            alias,
            holder=holder,
            number=number,
            reason=reason,
            gates=[result],
            signer=signer,
        )


def _judge_earlier(registry: Registry, record: AuditRecord, params: Params, alias: str, number: str) -> GateResult:
    """Whether an earlier holder still has the weights that it had then.

    Raises:
        PromotionRefused: it was deleted or archived, or is not as it was registered.
    """
    version = registry.version(number)
    if version is None:
        raise PromotionRefused(
            f"version {number} held {alias} before but was deleted: promote another one with "
            f'`podium promote VERSION --to {alias} --reason "..."`'
        )
    record.check_same(alias, number)
    check_not_archived(record, number)
    with ExitStack() as stack:
        evidence = recorded_evidence(registry, record, version, stack)
        return run_gate(
            "weights_hash", Case(evidence, None, "not loaded", params.promote.moves[alias], registry.layout)
        )


def _earlier_holder(
    record: AuditRecord, tags: Mapping[str, str], alias: str, holder: str | None, to: str | None
) -> str:
    """Where a rollback leads.

    Raises:
        PromotionRefused: that version did not hold the alias, or does already; or nobody held it then.
    """
    if to is None:
        return previous_holder(record.entries, tags, alias, holder)
    held = holding(record.entries, tags, alias, holder)
    numbers = [entry.to_version for entry in held]
    if to.isdigit():
        if to not in numbers:
            listed = ", ".join(dict.fromkeys(numbers)) or "none"
            raise PromotionRefused(f"version {to} never held {alias}, says the record (versions that did: {listed})")
        number = to
    else:
        moment = datetime.fromisoformat(to)
        before = [entry for entry in held if datetime.fromisoformat(entry.when) <= moment]
        if not before:
            raise PromotionRefused(f"no version held {alias} at {to}, says the record: see `podium history`")
        number = before[-1].to_version
    if number == holder:
        raise PromotionRefused(f"version {number} is at {alias} already: nothing to do")
    return number


def previous_holder(entries: Sequence[AuditEntry], tags: Mapping[str, str], alias: str, holder: str | None) -> str:
    """Where a rollback leads: one step back in the record, or to its end where the alias was moved without record.

    A recorded move that never reached the alias does not count.

    Raises:
        PromotionRefused: the record holds no earlier version.
    """
    stack = list_holders(holding(entries, tags, alias, holder), alias)
    if stack and stack[-1] != holder:
        return stack[-1]
    if len(stack) < 2:
        raise PromotionRefused(f"{alias} has no earlier holder on record: see `podium history`")
    return stack[-2]


def move(
    registry: Registry,
    action: Action,
    alias: str,
    *,
    holder: str | None,
    number: str,
    reason: str,
    gates: Sequence[GateResult],
    signer: Signer | None = None,
) -> AuditEntry:
    """Writes and signs the audit entry, mirrors the stage and moves the alias, if the holder is still who was judged.

    `holder` is who held the alias when the gates were run, None for nobody.

    Returns:
        The entry.

    Raises:
        PromotionRefused: somebody else moved the alias meanwhile.
    """
    _check_holder(registry, alias, holder)
    registered = registry.record().registration(number)
    if registered is None:
        raise PromotionRefused(f"version {number} is not on record any more: see `podium audit`")
    entry = registry.append(
        action, alias, holder=holder, number=number, reason=reason, version=registered.version, gates=gates
    )
    if signer is not None:
        signer.sign(entry)
    registry.mirror_stages(registry.record(), alias, number)
    registry.set_alias(entry)
    _check_holder(registry, alias, number)
    return entry


def _check_holder(registry: Registry, alias: str, expected: str | None) -> None:
    """Refuses to go on where the alias is not on the expected version; None means on nobody."""
    found = registry.aliases().get(alias)
    if found != expected:
        raise PromotionRefused(
            f"another promotion moved {alias} to {found or 'nobody'} meanwhile (expected {expected or 'nobody'}): "
            "see `podium history`, then try again"
        )


def recorded_evidence(registry: Registry, record: AuditRecord, version: "ModelVersion", stack: ExitStack) -> Evidence:
    """The evidence of a version that is what the record says it is.

    Raises:
        PromotionRefused: it is not; no force leads past that.
        TrackingError: its package cannot be had.
        DataError: its package lacks a document.
    """
    folder = stack.enter_context(open_package(registry.uri, version))
    evidence = read_evidence(version, folder)
    if changed := changed_since(record, str(version.version), version.tags, folder):
        raise PromotionRefused(f"{changed}: `dvc repro publish` registers the present winner anew; nothing else can")
    return evidence


def _holder_evidence(
    registry: Registry, record: AuditRecord, holder: str | None, stack: ExitStack
) -> Evidence | str | None:
    """The holder's evidence, or why it cannot be read: a damaged holder is a failed gate, not the end."""
    if holder is None:
        return None
    version = registry.version(holder)
    if version is None:
        return f"version {holder} was deleted"
    try:
        return recorded_evidence(registry, record, version, stack)
    except (DataError, TrackingError, PromotionRefused) as error:
        return str(error)
