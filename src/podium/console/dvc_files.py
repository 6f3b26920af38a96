"""What DVC leaves when it is killed while it writes its own files, and how they are brought back.

DVC empties `dvc.lock` and then writes it anew, for half a second after every stage; killed meanwhile, it leaves a file
that no command of DVC reads. So each stage keeps a copy as it starts: what DVC had written for the one before.
"""

import fcntl
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from podium.console.dag import list_stages, read_yaml
from podium.console.process import git_said, runs_dvc
from podium.core.errors import DataError
from podium.core.files import canonical_json, replacing, sha256_text, write_json, write_text
from podium.core.layout import DVC_LOCK, Layout

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # twenty times as fast
_WAIT_SECONDS = 5.0  # DVC holds its lock for a second or two at a time, never while a stage runs
_DEPTH = 50
_PIECES = {"deps": "path", "outs": "path"}
_ENTRY = re.compile(r"  (\S.*):$")  # how a stage's entry begins


def keep_lock(layout: Layout) -> None:
    """Keeps a copy of `dvc.lock` in `.podium/`, if it is whole and not kept yet."""
    lock, copy = layout.root / DVC_LOCK, layout.work / DVC_LOCK
    if not lock.is_file() or (copy.is_file() and copy.read_bytes() == lock.read_bytes()) or damage(lock):
        return
    with replacing(copy) as temporary:
        temporary.write_bytes(lock.read_bytes())


def damage(lock: Path) -> str:
    """What is wrong with a `dvc.lock`, in a few words; empty where nothing is, or where there is none."""
    if not lock.is_file():
        return ""
    return damage_in(lock.read_text(encoding="utf-8", errors="replace"))


def damage_in(text: str) -> str:
    """The same of the text of one."""
    if not text.strip():
        return "is empty"
    if any(line.startswith("<<<<<<< ") for line in text.splitlines()):
        return "holds a merge conflict"
    if not text.endswith("\n"):
        return "ends in the middle of a line"
    try:
        said = yaml.load(text, _LOADER) if _is_flat(text) else None  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError):
        return "is no YAML"
    stages = said.get("stages") if isinstance(said, dict) and "schema" in said else None
    return "" if isinstance(stages, dict) and all(map(_is_entry, stages.values())) else "lacks what DVC writes there"


def read_lock(layout: Layout, revision: str | None = None) -> str:
    """The text of `dvc.lock` here, or of a revision of git; empty where there is none."""
    if revision is not None:
        return git_said(layout.root, "show", f"{revision}:./{DVC_LOCK}") or ""
    here = layout.root / DVC_LOCK
    return here.read_text(encoding="utf-8", errors="replace") if here.is_file() else ""


def parse_lock(text: str) -> dict[str, Any]:
    """An undamaged `dvc.lock` as plain values."""
    lock: dict[str, Any] = yaml.load(text, _LOADER)  # noqa: S506  # a safe loader
    return lock


def find_tracked(layout: Layout, lock: Mapping[str, Any] | None, path: Path, inside: str = "") -> Path | None:
    """A file that `dvc.lock` names, or one in a folder that it names, here or in DVC's cache; None: not here."""
    stages = lock["stages"].values() if lock else []
    entries = [entry for stage in stages for key in _PIECES for entry in stage.get(key, [])]
    named = {entry["path"]: str(entry.get("md5", "")) for entry in entries}
    wanted = named.get(path.relative_to(layout.root).as_posix(), "")
    cache = layout.main_root / ".dvc" / "cache" / "files" / "md5"
    if inside:
        listing = cache / wanted[:2] / wanted[2:]
        found = json.loads(listing.read_bytes()) if wanted and _md5(listing) == wanted.removesuffix(".dir") else []
        wanted = next((str(each["md5"]) for each in found if each["relpath"] == inside), "")
    places = [path / inside, cache / wanted[:2] / wanted[2:]] if wanted else []
    return next((place for place in places if _md5(place) == wanted), None)


def _md5(path: Path) -> str:
    """The digest that DVC knows a file by; empty where there is none."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() if path.is_file() else ""


def digest_lock(text: str) -> str:
    """Names an undamaged `dvc.lock` (64 hex digits); not what it says of publish, which runs before DVC writes that."""
    lock = parse_lock(text)
    stages = {name: entry for name, entry in lock["stages"].items() if name != "publish"}
    return sha256_text(canonical_json({**lock, "stages": stages}))


def find_damage(layout: Layout) -> list[str]:
    """What a killed DVC left that stops the next one, a sentence each; waits for a DVC that is at work."""
    if not _looks_damaged(layout):
        return []
    with alone(layout):
        wrong = damage(layout.root / DVC_LOCK)
        found = [f"{DVC_LOCK} {wrong}, as a killed dvc leaves it"] if wrong else []
        return found + [f"{_rwlock(layout).relative_to(layout.root)} {problem}" for problem in _stale(layout)[0]]


def repair(layout: Layout) -> list[str]:
    """Brings back `dvc.lock` and takes dead processes out of DVC's list of who reads and writes what.

    Returns:
        What was done, a sentence each.

    Raises:
        DataError: DVC is at work, or `dvc.lock` holds a merge conflict, which only people resolve.
    """
    if not _looks_damaged(layout):
        return []
    with alone(layout):
        done = _repair_lock(layout)
        problems, kept = _stale(layout)
        if problems:
            write_json(_rwlock(layout), kept)
        return done + [f"{_rwlock(layout).relative_to(layout.root)} {problem}: mended" for problem in problems]


def mend(layout: Layout) -> None:
    """`repair`, told on standard error."""
    for sentence in repair(layout):
        print(f"warning: {sentence}", file=sys.stderr, flush=True)


def forget_stages(layout: Layout) -> None:
    """Takes out of `dvc.lock` what `dvc.yaml` with the present params does not have; DVC itself leaves it for ever.

    Raises:
        DataError: DVC is at work.
    """
    lock, known = layout.root / DVC_LOCK, {stage.name for stage in list_stages(layout)}
    if set(read_yaml(lock).get("stages", {})) <= known:
        return
    with alone(layout):
        pieces = _split(lock.read_text(encoding="utf-8"))
        write_text(lock, "".join(text for name, text in pieces if not name or name in known))


def order_stages(layout: Layout, names: Sequence[str]) -> None:
    """Puts the entries of `dvc.lock` into an order, since DVC appends a new one when its stage ends.

    Args:
        layout: the project's paths.
        names: of stages; entries of others come last. A damaged file stays as it is.

    Raises:
        DataError: DVC is at work.
    """
    lock, place = layout.root / DVC_LOCK, {name: number for number, name in reversed(list(enumerate(names)))}
    with alone(layout, patience=60.0):
        if not lock.is_file() or damage(lock):
            return
        pieces = _split(lock.read_text(encoding="utf-8"))
        entries = [piece for piece in pieces if piece[0]]
        ordered = sorted(entries, key=lambda entry: place.get(entry[0], len(names)))
        if ordered != entries:
            following = iter(ordered)
            write_text(lock, "".join(next(following)[1] if name else text for name, text in pieces))


def _split(text: str) -> list[tuple[str, str]]:
    """The lines of a `dvc.lock` in pieces: the entry of a stage with its name, what is no stage's with none."""
    found, name = [("", "")], ""
    for line in text.splitlines(keepends=True):
        if entry := _ENTRY.match(line):
            name = str(yaml.load(entry[1], _LOADER))  # noqa: S506  # a safe loader
        elif not line.startswith(" "):
            name = ""
        if name == found[-1][0]:
            found[-1] = (name, found[-1][1] + line)
        else:
            found.append((name, line))
    return found


def _repair_lock(layout: Layout) -> list[str]:
    """Puts the copy in place of a damaged `dvc.lock`, or the committed one, or none."""
    lock, copy = layout.root / DVC_LOCK, layout.work / DVC_LOCK
    wrong = damage(lock)
    if not wrong:
        return []
    if "conflict" in wrong:
        raise DataError(
            f"{DVC_LOCK} {wrong}: take one side (`git checkout --ours {DVC_LOCK}`), then `dvc repro`, which brings "
            "what is missing from its cache"
        )
    committed = layout.work / f"{DVC_LOCK}.committed"
    said = git_said(layout.root, "show", f"HEAD:./{DVC_LOCK}")
    layout.work.mkdir(exist_ok=True)
    lock.replace(layout.work / f"{DVC_LOCK}.damaged")
    for source, name in ((copy, "the copy kept when the last stage began"), (committed, "the committed one")):
        if source is committed and said is not None:
            write_text(committed, said)
        if source.is_file() and not damage(source):
            with replacing(lock) as temporary:
                temporary.write_bytes(source.read_bytes())
            return [f"{DVC_LOCK} {wrong}, as a killed dvc leaves it: {name} was brought back"]
    return [
        f"{DVC_LOCK} {wrong}, as a killed dvc leaves it, and there is no copy: it was taken away; `dvc repro` makes it "
        "anew, and takes results from its cache"
    ]


def _looks_damaged(layout: Layout) -> bool:
    """A first look, without waiting for anybody: DVC may be writing."""
    return bool(damage(layout.root / DVC_LOCK) or _stale(layout)[0])


def _is_flat(text: str) -> bool:
    """Whether a YAML text is nested no deeper than DVC nests; the fast loader ends the process where it is too deep."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            return False
    return True


def _is_entry(entry: object) -> bool:
    """Whether a stage's entry has what DVC cannot do without."""
    return (
        isinstance(entry, dict)
        and "cmd" in entry
        and isinstance(params := entry.get("params", {}), dict)
        and all(isinstance(values, dict) for values in params.values())
        and all(isinstance(entry.get(key, []), list) for key in _PIECES)
        and all(
            isinstance(piece, dict) and needed in piece
            for key, needed in _PIECES.items()
            for piece in entry.get(key, [])
        )
    )


def _rwlock(layout: Layout) -> Path:
    """DVC's list of which process reads and writes what."""
    return layout.root / ".dvc" / "tmp" / "rwlock"


def _stale(layout: Layout) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with DVC's list, in a few words each, and the list without it.

    DVC itself drops a process that is gone, but not one whose number another program has now, and reads no list that it
    was killed in writing.
    """
    path = _rwlock(layout)
    if not path.is_file():
        return [], {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        writers = [(where, entry) for where, entry in said.get("write", {}).items()]
        readers = [(where, entry) for where, entries in said.get("read", {}).items() for entry in entries]
        numbers = {int(entry["pid"]) for _, entry in (*writers, *readers)}
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return ["cannot be read, as a killed dvc leaves it"], {}
    dead = {number for number in numbers if _is_another(number)}
    kept = {
        "write": {where: entry for where, entry in writers if entry["pid"] not in dead},
        "read": {
            where: left
            for where, entries in said.get("read", {}).items()
            if (left := [entry for entry in entries if entry["pid"] not in dead])
        },
    }
    return [f"names process {number}, which is no dvc any more" for number in sorted(dead)], kept


def _is_another(number: int) -> bool:
    """Whether there is a process of this number, and it is not DVC, or DVC that ended and was not waited for."""
    import psutil

    try:
        return not runs_dvc(psutil.Process(number))
    except psutil.NoSuchProcess:
        return False


@contextmanager
def alone(layout: Layout, patience: float = _WAIT_SECONDS) -> Iterator[None]:
    """Holds DVC's own lock, so that it writes nothing meanwhile.

    Args:
        layout: the project's paths.
        patience: seconds to wait for a DVC that holds it.

    Raises:
        DataError: DVC holds it.
    """
    if not (layout.root / ".dvc").is_dir():  # nobody uses DVC here
        yield
        return
    place = layout.root / ".dvc" / "tmp"
    place.mkdir(exist_ok=True)
    deadline = time.monotonic() + patience
    with (place / "lock").open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise DataError(f"a dvc is at work in {layout.root}: wait for it, then try again") from error
                time.sleep(0.1)
        yield
