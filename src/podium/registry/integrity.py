"""Does the store say what the audit record says? What contradicts it, in sentences, and how the record is restored.

Who can write to the store alone is found out by the record in the repository; who can write to the repository alone, by
the store and by git's history. Somebody who can write to both, and to every clone, can make a record of their own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from podium.config.params import Params
from podium.core.errors import DataError, ModelError, TrackingError
from podium.core.layout import Layout
from podium.records.audit import AuditEntry
from podium.registry import audit
from podium.registry.audit import STAGES, STORE, TAG, AuditRecord
from podium.registry.audit_file import brief, committed, sound_lines, write_file
from podium.registry.evidence import CANDIDATE, changed_since, open_package, read_evidence
from podium.registry.gate import GATES
from podium.registry.gates import run_gates
from podium.registry.moves import Asked, check_rules
from podium.registry.read_only import RegisteredModel, find_registered
from podium.registry.registered_model import Registry, open_registry
from podium.registry.signing import signed_by, unsigned
from podium.tracking import store

_NOW = {"latency", "test_openings"}  # gates that are of the time of a move


def audit_model(layout: Layout, params: Params) -> tuple[AuditRecord, list[str]]:
    """Holds all that the store has of the registered model against the record: aliases, tags, packages, gates.

    Returns:
        The record, and what contradicts it, in sentences.

    Raises:
        TrackingError: the store does not answer, or nothing is registered.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri), registry.lock(waits=True):
        record, registered = registry.record(), _registered(registry)
        found = [*record.problems, *contradictions(record, registered, params)]
        found += [*_broken_rules(layout, record, registered, params), *unsigned(layout, params, record)]
        for version in registered.versions:
            found += _check_package(registry, record, version.version, params)
    return record, found


def contradictions(record: AuditRecord, registered: RegisteredModel, params: Params) -> list[str]:
    """What the store says of aliases, stages and versions and the record does not; no package is read."""
    found = [*_moved(record, registered, params), *_wrong_stages(record, registered)]
    there = {version.version: version for version in registered.versions}
    for version in there.values():
        if changed := changed_since(record, version.version, version.tags):
            found.append(changed)
    return found + [
        f"version {number} ({brief(entry)}) was deleted from the store"
        for number, entry in _deleted(record, set(there)).items()
    ]


def restore(layout: Layout, params: Params) -> list[str]:
    """Brings entries, aliases and stages back to what the record says; packages and versions come from `publish` alone.

    The record is what this clone's file and git's last commit hold, and what of the store follows on from it.

    Returns:
        What was done, in sentences.

    Raises:
        TrackingError: the store does not answer, or nothing is registered.
        DataError: nothing holds a whole record, or two things hold different ones.
        PromotionRefused: a promotion is running.
    """
    registry = open_registry(layout, params)
    with store.translate_errors(registry.uri), registry.lock(waits=True):
        done = _restore_entries(registry)
        registered = _registered(registry)
        there = {version.version for version in registered.versions}
        done += _note_deleted(registry, there)
        record = registry.record()
        for alias in record.aliases((CANDIDATE, *params.promote.moves)):
            last, holder = record.last(alias), registered.aliases.get(alias)
            if last is None and holder:
                registry.client.delete_registered_model_alias(registry.name, alias)
                done.append(f"{alias}, which no entry moved, is at no version")
            if last is None or last.to_version not in there:
                continue
            record.check_same(alias, last.to_version)
            if holder != last.to_version:
                registry.set_alias(last)
                done.append(f"{alias} is at version {last.to_version} again, as {brief(last)} left it")
        done += _restore_stages(registry)
    return done


def _restore_stages(registry: Registry) -> list[str]:
    """Brings the deprecated stages back to where the aliases are."""
    done = []
    registered = _registered(registry)
    wanted = registry.record().stages(registered.aliases)
    for version in registered.versions:
        stage = wanted.get(version.version, "Archived")
        if version.stage != stage and (version.version in wanted or version.stage in STAGES.values()):
            registry.set_stage(version.version, stage)
            done.append(f"version {version.version} is at stage {stage} again")
    return done


def _note_deleted(registry: Registry, there: set[str]) -> list[str]:
    """Puts on record that versions were deleted past Podium, which the person who repairs accepts."""
    done = []
    for number, entry in _deleted(registry.record(), there).items():
        why = "found deleted by podium audit --repair"
        registry.append("delete", "-", holder=number, number=number, reason=why, version=entry.version)
        done.append(f"it is on record now that version {number} was deleted")
    return done


def _deleted(record: AuditRecord, there: set[str]) -> dict[str, AuditEntry]:
    """Registrations of versions that are gone, and of which the record does not say so."""
    found = {entry.to_version: entry for entry in record.entries if entry.action == "register"}
    told = {entry.to_version for entry in record.entries if entry.action == "delete"}
    return {number: entry for number, entry in found.items() if number not in there | told}


def _registered(registry: Registry) -> RegisteredModel:
    """What the store holds now."""
    found = find_registered(registry.layout, registry.name)
    if found is None:
        raise TrackingError(f"no model is registered as {registry.name!r}: run `dvc repro`")
    return found


def _moved(record: AuditRecord, registered: RegisteredModel, params: Params) -> Iterator[str]:
    """Aliases that are not where the record ends."""
    for alias in record.aliases((CANDIDATE, *params.promote.moves)):
        holder, last = registered.aliases.get(alias), record.last(alias)
        if moved := record.moved_past(registered.tags, alias, holder):
            yield moved
        elif last is not None and holder != last.to_version:
            yield f"the last move of {alias} ({brief(last)}) was interrupted; give its command again"


def _wrong_stages(record: AuditRecord, registered: RegisteredModel) -> Iterator[str]:
    """Deprecated stages that are not where the aliases are."""
    wanted = record.stages(registered.aliases)
    for alias, stage in STAGES.items():
        there = {version.version for version in registered.versions if version.stage == stage}
        due = {version for version, its in wanted.items() if its == stage}
        if there != due:
            at, should = (", ".join(sorted(some)) or "none" for some in (there, due))
            holder = registered.aliases.get(alias)
            where = f"version {holder}" if holder else "no version"
            yield f"models:/{record.name}/{stage} is {at} and should be {should}, since {alias} is at {where}"


def _broken_rules(layout: Layout, record: AuditRecord, registered: RegisteredModel, params: Params) -> Iterator[str]:
    """Rules of today that the promotion of a holder does not keep, as where they were others for one promotion."""
    signer_of = partial(signed_by, layout, params)
    for alias, move in params.promote.moves.items():
        last = record.last(alias)
        if last is not None and last.action == "promote":
            asked = Asked(
                version=last.to_version,
                alias=alias,
                move=move,
                record=record,
                tags=registered.tags,
                aliases=registered.aliases,
                who=last.who,
                account=last.account,
                when=last.when,
                signer=signer_of(last)[0],
                signed_by=signer_of,
            )
            for rule in check_rules(asked):
                if not rule.passed:
                    yield f"version {last.to_version} holds {alias} and breaks a rule today: {rule.detail}"


def _check_package(registry: Registry, record: AuditRecord, number: str, params: Params) -> list[str]:
    """What of a version's package is not as registered; of one that holds an alias, which gates it fails now."""
    version = registry.version(number)
    if version is None or record.registration(number) is None:
        return []
    moves = params.promote.moves
    held = [alias for alias in moves if (last := record.last(alias)) and last.to_version == number]
    try:
        with open_package(registry.uri, version) as folder:
            if changed := changed_since(record, number, version.tags, folder):
                return [changed] if "package" in changed else []
            if not held:
                return []
            evidence = read_evidence(version, folder)
            failed = {
                result.name: result
                for alias in held
                for result in run_gates(evidence, None, moves[alias], registry.layout)
                if not result.passed
            }
    except (DataError, ModelError, TrackingError) as error:
        return [f"version {number}: {error}"]
    forced = {name for entry in record.entries if entry.to_version == number for name in entry.failed}
    return [
        f"version {number} holds {', '.join(held)} and fails a gate today: {result.detail}"
        for result in failed.values()
        if result.name in GATES.keys() - _NOW - forced
    ]


def _restore_entries(registry: Registry) -> list[str]:
    """Makes tags and file hold the record again: of git, of the file, and of what the store adds to them.

    A tag is written only where the store itself confirms the entry, by its artifact or by a later entry: a line in a
    file alone may be forged. A tag that is an entry is never deleted: another clone may hold it.
    """
    layout, name, tags = registry.layout, registry.name, registry.model().tags
    known, in_git, fetch = sound_lines(layout, name), committed(layout, name), audit.fetcher(registry.client, name)
    mine = sorted((e for e in in_git.values() if e.store == tags.get(STORE)), key=lambda entry: entry.number)
    while (entry := audit.next_of(mine, known, tags, fetch)) is not None:
        mine.append(entry)
    if not mine:
        raise DataError(f"neither {layout.registry(name)} nor git nor the store holds the beginning of the record")
    if alone := audit.numbers_of(tags) - {entry.number for entry in mine}:
        raise DataError(
            f"entry {min(alone)} is in the store alone, and its artifact is gone or no entry of this store: another "
            f"clone's registry/{name}.jsonl may hold it; pull that first"
        )
    done = _restore_tags(registry, mine, tags, fetch)
    elsewhere = [entry for entry in (in_git | known).values() if entry.store != tags.get(STORE)]
    if write_file(layout, name, [*elsewhere, *mine]):
        done.append(f"{layout.registry(name).name} holds the record again")
    return done


def _restore_tags(
    registry: Registry, mine: Sequence[AuditEntry], tags: Mapping[str, str], fetch: Callable[[int, str], str | None]
) -> list[str]:
    """Writes the tags of entries that were edited or deleted, and takes away what is none.

    Raises:
        DataError: nothing in the store confirms an entry.
    """
    done, confirmed = [], False
    for entry in reversed(mine):
        key, line = f"{TAG}{entry.number:06d}", audit.as_line(entry)
        confirmed = confirmed or tags.get(key) == line or audit.is_artifact(fetch, entry)
        if not confirmed:
            raise DataError(
                f"entry {entry.number} ({brief(entry)}) is in registry/{registry.name}.jsonl or in git, and nothing in "
                "the store confirms it: it may be forged. Take the line out, or bring the store back"
            )
        if tags.get(key) != line:
            registry.client.set_registered_model_tag(registry.name, key, line)
            done.append(f"the tag {key} of the store is back")
    for key in sorted(key for key in tags if audit.is_no_entry(key, tags[key]) and int(key[len(TAG) :]) > len(mine)):
        registry.client.delete_registered_model_tag(registry.name, key)
        done.append(f"the tag {key} of the store, which was edited, is gone")
    return done
