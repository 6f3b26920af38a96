"""What somebody puts on record of a version and moves no alias: an approval of a promotion, and that it is archived."""

from contextlib import ExitStack
from pathlib import Path

from podium.config.params import Params
from podium.core.errors import PromotionRefused
from podium.core.layout import Layout
from podium.records.audit import Action, AuditEntry, is_archived
from podium.registry.audit import AuditRecord
from podium.registry.moves import check_not_archived
from podium.registry.promotion import recorded_evidence
from podium.registry.registered_model import Registry, open_registry
from podium.registry.signing import Signer, find_signer
from podium.tracking import store


def approve(
    layout: Layout, params: Params, wanted: str, alias: str, reason: str, *, key: Path | None = None
) -> AuditEntry:
    """Puts on record that somebody agrees to a promotion of a version, as the version is now; nothing moves.

    The private key in `key` signs the entry.

    Returns:
        The audit entry that was written.

    Raises:
        PromotionRefused: the version was archived or is not as it was registered, the record does not hold, a
            promotion is running, or the approval must be signed and is not.
        TrackingError: the store does not answer or lacks the version.
        DataError: the version's package lacks evidence.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri), registry.lock(waits=False), ExitStack() as stack:
        signer = find_signer(layout, params, alias, key)
        version, record = registry.resolve(wanted), registry.record()
        record.check()
        number = str(version.version)
        check_not_archived(record, number)
        recorded_evidence(registry, record, version, stack)
        days = params.promote.moves[alias].approval_days
        return _note(
            registry, record, action="approve", alias=alias, number=number, reason=reason, days=days, signer=signer
        )


def archive(layout: Layout, params: Params, wanted: str, reason: str, *, undo: bool = False) -> AuditEntry:
    """Puts on record that a version is to take no alias any more, or (`undo`) that it may again.

    Returns:
        The audit entry that was written.

    Raises:
        PromotionRefused: it holds an alias, it is archived (or, to undo that, is not), the record does not hold, or a
            promotion is running.
        TrackingError: the store does not answer or lacks the version.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri), registry.lock(waits=False):
        version, record = registry.resolve(wanted), registry.record()
        record.check()
        number = str(version.version)
        held = sorted(alias for alias, holder in registry.aliases().items() if holder == number)
        if held:
            raise PromotionRefused(
                f"version {number} is at {', '.join(held)}: promote another version, or roll back, first"
            )
        if is_archived(record.entries, number) != undo:
            raise PromotionRefused(
                f"version {number} is {'not archived' if undo else 'archived already'}: nothing to do"
            )
        action: Action = "unarchive" if undo else "archive"
        return _note(registry, record, action=action, alias="-", number=number, reason=reason)


def _note(
    registry: Registry,
    record: AuditRecord,
    *,
    action: Action,
    alias: str,
    number: str,
    reason: str,
    days: int | None = None,
    signer: Signer | None = None,
) -> AuditEntry:
    """Writes and signs an entry about a version that moves nothing.

    Raises:
        PromotionRefused: the version is not on record.
    """
    registered = record.registration(number)
    if registered is None:
        raise PromotionRefused(f"version {number} is not in the record of {registry.name}: see `podium audit`")
    entry = registry.append(
        action, alias, holder=number, number=number, reason=reason, version=registered.version, days=days
    )
    if signer is not None:
        signer.sign(entry)
    registry.announce(number, entry)
    return entry
