"""The one way the alias `staging` moves: under a lock, past the gates, on record.

Order of a move: the audit entry, the deprecated stage that mirrors the alias, the alias itself. Whatever a crash
leaves behind is repaired by giving the same command again.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from filelock import Timeout

from podium.config.params import Params
from podium.console.process import utc_now, whoami
from podium.core.errors import DataError, PromotionRefused, TrackingError
from podium.core.layout import Layout
from podium.registry import audit, locks, store
from podium.registry.audit import STAGES, AuditEntry
from podium.registry.evidence import Evidence, open_package, read_evidence
from podium.registry.gates import Case, GateResult, run_gate, run_gates
from podium.registry.versions import Registry, open_registry

ShowGates = Callable[[Sequence[GateResult]], None]


@dataclass(frozen=True)
class PromotionRequest:
    """What is asked for: `wanted` (a version's number or `candidate`) to `alias`, and why.

    `force` moves the alias past failed gates; they are recorded.
    """

    wanted: str
    alias: str
    reason: str
    force: bool = False


def promote(layout: Layout, params: Params, request: PromotionRequest, show: ShowGates) -> AuditEntry:
    """Judges a version and, if every gate passes or force is used, moves the alias to it.

    Returns:
        The audit entry that was written.

    Raises:
        PromotionRefused: a gate failed, the version holds the alias already, or another promotion was faster.
        TrackingError: the store does not answer or lacks the version.
        DataError: the version's package lacks evidence.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri), promotion_lock(registry):
        number, holder, results = _judge(registry, layout, params, request.wanted, request.alias)
        show(results)
        refusal = describe_refusal(results)
        if refusal and not request.force:
            raise PromotionRefused(f"{refusal} (nothing was changed; --force overrides, on record)")
        return move(
            registry, "promote", request.alias, holder=holder, number=number, reason=request.reason, gates=results
        )


def check(layout: Layout, params: Params, wanted: str, alias: str) -> tuple[str, list[GateResult]]:
    """What every gate says of a version now; nothing is written and nothing moves.

    Returns:
        The version's number, and the results.

    Raises:
        PromotionRefused: the version holds the alias already.
        TrackingError: the store does not answer or lacks the version.
        DataError: the version's package lacks evidence.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri):
        number, _, results = _judge(registry, layout, params, wanted, alias)
    return number, results


def describe_refusal(results: Sequence[GateResult]) -> str:
    """Why a version is refused, in one line; empty where every gate passes."""
    return "; ".join(gate.detail for gate in results if not gate.passed)


def _judge(
    registry: Registry, layout: Layout, params: Params, wanted: str, alias: str
) -> tuple[str, str | None, list[GateResult]]:
    """The number of the version that is meant, who holds the alias, and what every gate says."""
    version = registry.resolve(wanted)
    number = str(version.version)
    holder = registry.aliases().get(alias)
    if number == holder:
        raise PromotionRefused(f"version {number} is already at {alias}: nothing to do")
    with ExitStack() as stack:
        candidate = read_evidence(version, stack.enter_context(open_package(registry.uri, version)))
        present = _holder_evidence(registry, holder, stack)
        return number, holder, run_gates(candidate, present, params.promote, layout)


def rollback(layout: Layout, params: Params, alias: str, reason: str, show: ShowGates) -> AuditEntry:
    """Moves the alias back to the version that held it before, as the audit record tells.

    Returns:
        The audit entry that was written.

    Raises:
        PromotionRefused: there is no previous holder, it was deleted, its weights changed, or a promotion is running.
        TrackingError: the store does not answer.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri), promotion_lock(registry):
        holder = registry.aliases().get(alias)
        number = previous_holder(audit.read_audit(registry.client, registry.name), alias, holder)
        version = registry.version(number)
        if version is None:
            raise PromotionRefused(
                f"version {number} held {alias} before but was deleted: promote another one with "
                f'`podium promote VERSION --to {alias} --reason "..."`'
            )
        with open_package(registry.uri, version) as folder:
            case = Case(read_evidence(version, folder), None, "not loaded", params.promote, layout)
            result = run_gate("weights_hash", case)
        show([result])
        if not result.passed:
            raise PromotionRefused(f"version {number} is not what held {alias} before: {result.detail}")
        return move(registry, "rollback", alias, holder=holder, number=number, reason=reason, gates=[result])


def previous_holder(entries: Sequence[AuditEntry], alias: str, holder: str | None) -> str:
    """Where a rollback leads: one step back in the record, or to its end where the alias was moved without record.

    A recorded move that never reached the alias does not count.

    Raises:
        PromotionRefused: the record holds no earlier version.
    """
    stack = audit.list_holders(entries, alias)
    if audit.is_unfinished(entries, alias, holder):
        stack = audit.list_holders([entry for entry in entries if entry.alias == alias][:-1], alias)
    if stack and stack[-1] != holder:
        return stack[-1]
    if len(stack) < 2:
        raise PromotionRefused(f"{alias} has no earlier holder on record: see `podium history`")
    return stack[-2]


def move(
    registry: Registry,
    action: audit.Action,
    alias: str,
    *,
    holder: str | None,
    number: str,
    reason: str,
    gates: Sequence[GateResult],
) -> AuditEntry:
    """Writes the audit entry, mirrors the stage and moves the alias, if the holder is still the one that was judged.

    `holder` is who held the alias when the gates were run, None for nobody.

    Returns:
        The entry.

    Raises:
        PromotionRefused: somebody else moved the alias meanwhile.
    """
    _check_holder(registry, alias, holder)
    entry = AuditEntry(
        number=audit.next_number(audit.read_audit(registry.client, registry.name)),
        when=utc_now(),
        who=whoami(),
        action=action,
        alias=alias,
        from_version=holder,
        to_version=number,
        reason=reason,
        forced=any(not gate.passed for gate in gates),
        gates=list(gates),
    )
    version = registry.version(number)
    audit.append_entry(registry.client, registry.name, entry, version.run_id if version else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # stages are deprecated; older clients still read them
        registry.client.transition_model_version_stage(
            registry.name, number, STAGES[alias], archive_existing_versions=True
        )
    registry.client.set_registered_model_alias(registry.name, alias, number)
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


@contextmanager
def promotion_lock(registry: Registry) -> Iterator[None]:
    """Lets one promotion of a registered model run at a time; the lock does not outlive its process for long.

    Raises:
        PromotionRefused: another one is running, in a local store; one on a server is waited for.
    """
    with ExitStack() as stack:
        try:
            lock = locks.exclusive(registry.client, registry.uri, f"podium-promotion-{registry.name}", waits=False)
            stack.enter_context(lock)
        except Timeout as error:
            raise PromotionRefused(
                f"another promotion of {registry.name} is running: wait for it, see `podium history`, then try again"
            ) from error
        yield


def _holder_evidence(registry: Registry, holder: str | None, stack: ExitStack) -> Evidence | str | None:
    """The holder's evidence, or why it cannot be read: a damaged holder is a failed gate, not the end."""
    if holder is None:
        return None
    version = registry.version(holder)
    if version is None:
        return f"version {holder} was deleted"
    try:
        return read_evidence(version, stack.enter_context(open_package(registry.uri, version)))
    except (DataError, TrackingError) as error:
        return str(error)
