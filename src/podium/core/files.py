"""Writing files whole or not at all, and their digests. Nothing here knows what is in a file."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from podium.core.errors import DataError

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)  # folders of some network file systems
TEMPORARY = ".podium-tmp-"
"""How the name of everything half-written starts; `.gitignore` and `.dvcignore` list it."""


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty temporary file beside `path`, with its suffix, that vanishes when the block ends unless it was moved.

    The folder is made if needed.
    """
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)  # with the rights that the user's umask leaves, as `open` would give
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends well, and vanishes otherwise.

    It has the suffix of `path`. The folder is made if needed. The name is given once the bytes are on the disk, so
    that a power cut leaves the old file or the new one.

    Raises:
        DataError: the disk is full.
    """
    with beside(path) as temporary:
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        except OSError as error:
            raise_if_full(error, path)
            raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder: the old one goes only once the new one is complete.

    Raises:
        DataError: the disk is full.
    """
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
        for inner in (*temporary.rglob("*"), temporary):
            sync(inner)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise_if_full(error, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Returns once a file's bytes, or a folder's names, are on the disk (`fsync`)."""
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


def _prefix(path: Path) -> str:
    """Makes room for a temporary beside `path`: its folder is there, and what killed processes left of it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"-{path.name[:40]}."
    for entry in path.parent.iterdir():
        left = re.match(rf"{re.escape(TEMPORARY)}(\d+){re.escape(name)}", entry.name)
        if left and not _runs(int(left[1])):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    return f"{TEMPORARY}{os.getpid()}{name}"


def _runs(pid: int) -> bool:
    """Whether there is a process of this id, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def raise_if_full(error: OSError, path: Path) -> None:
    """Turns "no space left", said while `path` was being written, into a message for a person.

    Raises:
        DataError: `error` is ENOSPC or EDQUOT.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DataError(
            f"no space left on the device while writing {_intended(path)}: free some space and run the stage again; "
            "nothing half-written was kept"
        ) from error


def _intended(path: Path) -> Path:
    """The place that what is written below a temporary name is for."""
    temporary = re.compile(rf"{re.escape(TEMPORARY)}\d+-(.+)\.[0-9a-f]{{8}}(\.\w+)?")
    return Path(*(found[1] if (found := temporary.fullmatch(part)) else part for part in path.parts))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Writes JSON that diffs well: sorted keys, two spaces, non-ASCII kept, NaN refused (ValueError)."""
    write_text(path, canonical_json(value) + "\n")


def canonical_json(value: object) -> str:
    """The one text form of a JSON value that is hashed and committed."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """sha256 of the UTF-8 bytes of a text as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_tree(paths: Iterable[Path], root: Path) -> str:
    """One digest (64 hex digits) over files and folders: names below `root` and contents, but for `__pycache__`.

    Raises:
        DataError: a path does not exist.
    """
    files: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files.update(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        elif path.is_file():
            files.add(path)
        else:
            raise DataError(f"{path} does not exist, but its digest is asked for: restore it (dvc checkout)")
    lines = sorted(f"{p.relative_to(root).as_posix()} {sha256_file(p)}" for p in files)
    return sha256_text("\n".join(lines))
