"""The audit record of a registered model: who registered or moved what, when, why, past which gates.

An entry is a line of `registry/<name>.jsonl`, which git keeps, and of a hash chain, so that one that was edited, cut or
put in is noticed. The store has it twice: as a tag `podium.record.000001`, ... of the registered model, a line a person
can read that ends with the entry's digest, and in full as an artifact, `promotions/<name>-000001.json`, of the run the
version came from. So a tampered store is noticed by the file, and a tampered file by the store and by git's history.

Every store has a chain of its own in the file (tag `podium.store`): clones of a project with a local store each share
it. An entry is written before an alias moves; what follows from the entries is computed here and nowhere else.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import ValidationError

from podium.core.errors import DataError, PromotionRefused
from podium.core.layout import Layout
from podium.records.audit import AuditEntry, is_unfinished, next_number
from podium.registry.audit_file import brief, committed, read_file, write_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

STAGES = {"staging": "Staging", "production": "Production"}  # alias -> the deprecated stage that mirrors it, in order
STORE = "podium.store"
TAG = "podium.record."
REASON_LIMIT = 500
_KEY = re.compile(r"podium\.record\.(\d{6})")
_LINE = re.compile(r"[^|]+ \| \w+ \| \S+ \| \S+ -> (\d+) \| .* \| sha256:([0-9a-f]{64})", re.DOTALL)
_BETWEEN, _NOBODY = " | ", "nobody"


@dataclass(frozen=True)
class AuditRecord:
    """The record of one registered model in one store.

    Attributes:
        name: of the registered model.
        store: which store; empty where nothing was ever registered on record.
        entries: what is there and holds, oldest first.
        problems: a sentence for each entry that was edited, cut, put in or lost.
        elsewhere: entries of other stores, oldest first; another clone's, or of a store that is gone.
        behind: so many entries of the store are not in the file of this clone, and were not fetched.
    """

    name: str
    store: str
    entries: tuple[AuditEntry, ...]
    problems: tuple[str, ...]
    elsewhere: tuple[AuditEntry, ...]
    behind: int = 0

    def registration(self, version: str) -> AuditEntry | None:
        """The entry that says what a version is: the last one of its registrations."""
        mine = [entry for entry in self.entries if entry.action == "register" and entry.to_version == version]
        return mine[-1] if mine else None

    def last(self, alias: str) -> "AuditEntry | None":
        """The last entry that moved an alias."""
        return next((entry for entry in reversed(self.entries) if entry.alias == alias and entry.moves_alias), None)

    def aliases(self, others: Iterable[str] = ()) -> list[str]:
        """The aliases that nothing but Podium may move: others, and those that it moved."""
        return list(dict.fromkeys([*others, *(entry.alias for entry in self.entries if entry.moves_alias)]))

    def stages(self, aliases: Mapping[str, str]) -> dict[str, str]:
        """The deprecated stage that each version must have, by version by alias; at both it is in production."""
        mine = self.aliases()
        return {aliases[alias]: stage for alias, stage in STAGES.items() if alias in aliases and alias in mine}

    def moved_past(self, tags: Mapping[str, str], alias: str, holder: str | None) -> str | None:
        """A sentence where an alias is not where the record ends; None where it is, or where a move was interrupted.

        Args:
            tags: of the registered model.
            alias: which one.
            holder: the version it is on, None for nobody.
        """
        last, at = self.last(alias), f"version {holder}" if holder else "no version"
        if last is None:
            return f"{alias} is at {at}, and no entry of the record moved it there" if holder else None
        if holder == last.to_version or is_unfinished(self.entries, tags, alias, holder):
            return None
        return (
            f"{alias} is at {at}, but the record ends at version {last.to_version} ({brief(last)}): moved past Podium"
        )

    def is_same(self, entry: AuditEntry) -> bool:
        """Whether the version of an entry has the weights and evidence that it had then."""
        now = self.registration(entry.to_version)
        then = entry.version
        return now is not None and (now.version.weights, now.version.evidence) == (then.weights, then.evidence)

    def check_same(self, alias: str, version: str) -> None:
        """Refuses a version that has the number of one that held an alias, and is another: of a store brought back.

        Raises:
            PromotionRefused: other weights or evidence than the record tells of the move.
        """
        moves = [e for e in self.entries if e.alias == alias and e.to_version == version and e.moves_alias]
        if self.registration(version) is None or (moves and not self.is_same(moves[-1])):
            raise PromotionRefused(
                f"version {version} is not the one that {alias} was moved to: another was registered under that number "
                "since; promote it, past the gates"
            )

    def check(self) -> None:
        """Refuses to build on a record that does not hold.

        Raises:
            PromotionRefused: an entry was edited, cut, put in or lost.
        """
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise PromotionRefused(
                f"the record of {self.name} does not hold: {self.problems[0]}{more}: see `podium audit`"
            )


def read_record(
    layout: Layout, name: str, tags: Mapping[str, str], fetch: Callable[[int, str], str | None] | None = None
) -> AuditRecord:
    """The record as the store and the file tell it, each held against the other.

    Args:
        layout: the project's paths.
        name: of the registered model.
        tags: of the registered model.
        fetch: gives the artifact of an entry by its number and its version, None where it is gone; what the file
            lacks is read with it. Without it such entries are counted.
    """
    path = layout.registry(name)
    store = tags.get(STORE, "")
    tagged, problems = _tagged(tags)
    try:
        known = read_file(layout, name)
    except DataError as error:
        known, problems = {}, [str(error), *problems]
    mine = _mine(known.values(), store, tagged)
    entries: list[AuditEntry] = []
    behind = 0
    for number in sorted(mine.keys() | tagged.keys()):
        entry, told = mine.get(number), tagged.get(number)
        if entry is None and told is not None:
            behind += fetch is None
            entry = _parse(fetch(number, told[0]), store, number, told[1]) if fetch else None
            if entry is None and fetch:
                problems.append(
                    f"entry {number} of the store is not in {path.name}, and its artifact is gone or edited: another "
                    "clone may hold it"
                )
        elif entry is not None:
            problems += _disagreement(entry, told, tags)
        entries += [entry] if entry else []
    problems += _missing(mine.keys() | tagged.keys()) + _breaks(entries)
    problems += [
        f"entry {entry.number} ({brief(entry)}) was cut from {path.name}, and git still holds it"
        for digest, entry in committed(layout, name).items()
        if digest not in known
    ]
    held = {entry.digest for entry in mine.values()}
    elsewhere = tuple(entry for entry in known.values() if entry.digest not in held)
    return AuditRecord(name, store, tuple(entries), tuple(problems), elsewhere, behind)


def _disagreement(entry: AuditEntry, told: tuple[str, str] | None, tags: Mapping[str, str]) -> list[str]:
    """What the store says otherwise of an entry in the file; a tag that was edited is told of already."""
    if told is not None:
        other = f"entry {entry.number} of the store is not the one in this clone's file ({brief(entry)})"
        return [other] if told[1] != entry.digest else []
    absent = f"entry {entry.number} ({brief(entry)}) is in this clone's file and not in the store"
    return [absent] if f"{TAG}{entry.number:06d}" not in tags else []


def _missing(numbers: Iterable[int]) -> list[str]:
    """Entries that are nowhere, though later ones are."""
    return [
        f"entries {low + 1} to {high - 1} are in neither the store nor the file"
        for low, high in pairwise([0, *sorted(numbers)])
        if high > low + 1
    ]


def _mine(known: Iterable[AuditEntry], store: str, tagged: Mapping[int, tuple[str, str]]) -> dict[int, AuditEntry]:
    """A store's entries in a file by number; of two with one number (a copied project went on), the store's own."""
    found: dict[int, AuditEntry] = {}
    for entry in known:
        other = found.get(entry.number)
        if entry.store == store and (other is None or other.digest != tagged.get(entry.number, ("", ""))[1]):
            found[entry.number] = entry
    return found


def fetcher(client: "MlflowClient", name: str) -> Callable[[int, str], str | None]:
    """What `read_record` fetches artifacts with."""

    def fetch(number: int, version: str) -> str | None:
        """The text of an entry's artifact."""
        from mlflow.artifacts import load_text
        from mlflow.exceptions import MlflowException

        try:
            run_id = client.get_model_version(name, version).run_id
            found: str = load_text(f"{client.get_run(run_id).info.artifact_uri}/{_place(name, number)}")
        except (MlflowException, OSError):
            return None
        return found

    return fetch


def append_entry(
    client: "MlflowClient", layout: Layout, record: AuditRecord, entry: AuditEntry, run_id: str | None
) -> AuditEntry:
    """Chains an entry to the record and writes it: artifact, tag, file; refuses where another one took its number.

    MLflow cannot set a tag on condition that it is not there: the lock of the registered model is to be held.

    Args:
        client: of the store.
        layout: the project's paths.
        record: as it was read under the lock.
        entry: what happened; its chain is made here.
        run_id: the run that the version came from and that takes the artifact; None for a version without one.

    Returns:
        The entry as it was written.

    Raises:
        PromotionRefused: the record does not hold, or the number was taken.
    """
    record.check()
    chained = entry.after(record.entries)
    key = f"{TAG}{entry.number:06d}"
    if key not in client.get_registered_model(record.name).tags:
        if run_id:
            _log(client, run_id, chained.model_dump_json(by_alias=True, indent=2), _place(record.name, entry.number))
        client.set_registered_model_tag(record.name, key, as_line(chained))
        if client.get_registered_model(record.name).tags.get(key) == as_line(chained):
            write_file(layout, record.name, [*record.elsewhere, *record.entries, chained])
            return chained
    raise PromotionRefused(
        f"another promotion of {record.name} was recorded at the same moment: see `podium history`, then try again"
    )


def _log(client: "MlflowClient", run_id: str, text: str, place: str) -> None:
    """Keeps an entry in full in the run of its version, unless that run is gone; file and tag hold it all the same."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_text(run_id, text, place)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def next_of(
    entries: Sequence[AuditEntry],
    known: Mapping[str, AuditEntry],
    tags: Mapping[str, str],
    fetch: Callable[[int, str], str | None],
) -> AuditEntry | None:
    """The entry that follows on from others, in a file (`known`) or in the store; None where there is none that does.

    Raises:
        DataError: file and store hold two that follow and differ, so that it is not known which one was forged.
    """
    store, number, last = tags.get(STORE, ""), next_number(entries), [entry.digest for entry in entries[-1:]]
    told = _tagged(tags)[0].get(number)
    in_store = _parse(fetch(number, told[0]), store, number, told[1]) if told else None
    here = [entry for entry in known.values() if (entry.store, entry.number) == (store, number)]
    found = {entry.digest: entry for entry in (*here, *([in_store] if in_store else [])) if entry.previous == last}
    if len(found) > 1:
        told_apart = " and ".join(brief(entry) for entry in found.values())
        raise DataError(f"file and store tell entry {number} differently ({told_apart}): restore the file from git")
    return next(iter(found.values()), None)


def is_artifact(fetch: Callable[[int, str], str | None], entry: AuditEntry) -> bool:
    """Whether the store has an entry in full."""
    return _parse(fetch(entry.number, entry.to_version), entry.store, entry.number, entry.digest) is not None


def numbers_of(tags: Mapping[str, str]) -> set[int]:
    """Numbers of the entries in tags."""
    return set(_tagged(tags)[0])


def is_no_entry(key: str, value: str) -> bool:
    """Whether a tag has the name of an entry's and not its form."""
    return _KEY.fullmatch(key) is not None and _LINE.fullmatch(value) is None


def _tagged(tags: Mapping[str, str]) -> tuple[dict[int, tuple[str, str]], list[str]]:
    """Version and digest of each entry by its number, as the tags tell, and what is wrong with the tags."""
    found: dict[int, tuple[str, str]] = {}
    problems = []
    for key, value in sorted(tags.items()):
        if (match := _KEY.fullmatch(key)) is None:
            continue
        line = _LINE.fullmatch(value)
        if line is None:
            problems.append(f"the tag {key} of the store was edited: it is no entry any more")
        else:
            found[int(match[1])] = line[1], line[2]
    return found, problems


def _breaks(entries: Sequence[AuditEntry]) -> list[str]:
    """Entries that do not follow the one before them, or are dated before it."""
    found = []
    for before, after in pairwise(entries):
        if after.number == before.number + 1 and after.previous != [before.digest]:
            found.append(f"entry {after.number} does not follow entry {before.number} as that is now")
        elif after.when < before.when:
            found.append(f"entry {after.number} is dated {after.when}, before entry {before.number} ({before.when})")
    return found


def as_line(entry: AuditEntry) -> str:
    """The entry as people read it in MLflow; names of failed gates are in it, what the gates saw is not."""
    passed = f"{len(entry.gates) - len(entry.failed)} of {len(entry.gates)} gates"
    gates = f"{passed}, forced past {', '.join(entry.failed)}" if entry.failed else passed
    who = entry.by.replace(_BETWEEN, " ")
    move = f"{entry.from_version or _NOBODY} -> {entry.to_version}"
    told = [entry.when, entry.action, entry.alias, move, who, gates, entry.reason, f"sha256:{entry.digest}"]
    return _BETWEEN.join(told)


def _parse(text: str | None, store: str, number: int, digest: str) -> AuditEntry | None:
    """The entry of an artifact; None where it is not the one that the tag names, or of another store."""
    try:
        entry = AuditEntry.model_validate_json(text or "")
    except ValidationError:
        return None
    same = (entry.store, entry.number) == (store, number) and digest == entry.digest == entry.sealed()
    return entry if same else None


def _place(name: str, number: int) -> str:
    """Where a run keeps an entry in full."""
    return f"promotions/{name}-{number:06d}.json"
