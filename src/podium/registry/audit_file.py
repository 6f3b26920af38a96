"""`registry/<name>.jsonl`, the copy of the audit record that this clone and git hold."""

from collections.abc import Sequence

from pydantic import ValidationError

from podium.console.process import git_said
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.records.audit import AuditEntry
from podium.records.chain import parse_chain, read_chain, write_chain


def read_file(layout: Layout, name: str) -> dict[str, AuditEntry]:
    """The entries in the file of this clone by their digests, of every store.

    Raises:
        DataError: a line was cut out or edited.
    """
    back = "`podium audit --repair` brings back what git or the store hold"
    return read_chain(layout.registry(name), AuditEntry, back)


def sound_lines(layout: Layout, name: str) -> dict[str, AuditEntry]:
    """Of a file that may be damaged, the entries whose own digest holds, by their digests."""
    path = layout.registry(name)
    found = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            entry = AuditEntry.model_validate_json(line)
        except ValidationError:
            continue
        if entry.digest == entry.sealed():
            found[entry.digest] = entry
    return found


def committed(layout: Layout, name: str) -> dict[str, AuditEntry]:
    """The entries of the last commit by their digests; none without git.

    The last lines of the file can be cut unnoticed but for this, since no line follows them.
    """
    place = layout.registry(name).relative_to(layout.main_root).as_posix()
    text = git_said(layout.main_root, "show", f"HEAD:./{place}") or ""
    try:
        return parse_chain(text.encode(), f"HEAD:./{place}", AuditEntry, "")
    except DataError:
        return {}  # committed damaged, which the file tells


def write_file(layout: Layout, name: str, entries: Sequence[AuditEntry]) -> bool:
    """Writes the file of this clone, unless it holds just these entries; whether it was written."""
    return write_chain(layout.registry(name), entries)


def brief(entry: AuditEntry) -> str:
    """An entry in a few words."""
    return f"{entry.action} {entry.to_version}, {entry.when[:16].replace('T', ' ')}"
