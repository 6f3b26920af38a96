"""The SQLite file of a local MLflow store: made and upgraded beside its place, and moved there whole.

MLflow makes its tables in some fifty steps that SQLite cannot take back: a process that is ended between two of them
leaves a file that no MLflow opens again. So tables are made and upgraded in another file; only the places of a copied
project are mended where they stand, in one transaction.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from podium.core.errors import TrackingError, one_line
from podium.core.files import beside, replacing, sync
from podium.core.layout import WORK

if TYPE_CHECKING:
    from sqlalchemy import Engine

_LOG = logging.getLogger(__name__)

QUIET_SECONDS = 15.0
"""How long a file without all tables must not have changed before nobody is taken to be making them (`mlflow ui`)."""
_POLL_SECONDS = 0.2
_KEPT = ("runs", "registered_models", "logged_models", "trace_info")  # whose rows people would miss
_COPIED = "_alembic_tmp_"  # how the name of a table starts while a step of MLflow copies it
_REPLACE = (
    "UPDATE experiments SET artifact_location = :new || substr(artifact_location, :rest) "
    "WHERE artifact_location GLOB :old",
    "UPDATE runs SET artifact_uri = :new || substr(artifact_uri, :rest) WHERE artifact_uri GLOB :old",
    "UPDATE logged_models SET artifact_location = :new || substr(artifact_location, :rest) "
    "WHERE artifact_location GLOB :old",
    "UPDATE model_versions SET storage_location = :new || substr(storage_location, :rest) "
    "WHERE storage_location GLOB :old",
    "UPDATE model_versions SET source = :new || substr(source, :rest) WHERE source GLOB :old",
)
_SPECIAL = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})  # of GLOB
_RUNS = "/mlruns/"


def file_of(uri: str) -> Path | None:
    """The file of an `sqlite:` URI, absolute; None for a database in memory."""
    from sqlalchemy import make_url

    database = make_url(uri).database
    return None if database in (None, "", ":memory:") else Path(str(database)).absolute()


@contextmanager
def complete_store(path: Path) -> Iterator[None]:
    """Sees to it that a store is there with all its tables, and holds its lock as long as the block runs.

    A missing one is made; one that holds nothing and lacks tables is made anew, and an older one is upgraded, with a
    notice each.

    Raises:
        TrackingError: it holds runs or models and lacks tables, is no database, or is of a newer MLflow.
    """
    work = path.parent / WORK
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / f"{path.name}.lock"):
        while not _is_complete(path):
            _complete(path, work)
        yield


def _is_complete(path: Path) -> bool:
    """Whether the tables are those of this MLflow: each of its steps notes its number when it is done."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return path.is_file() and path.stat().st_size > 0 and _revision(path) == _get_latest_schema_revision()


def _complete(path: Path, work: Path) -> None:
    """Makes a store that is not there, or mends the one that is; whether that was enough is asked again."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from mlflow.store.db.utils import _initialize_tables, _upgrade_db
    from sqlalchemy.exc import SQLAlchemyError

    if not path.exists():
        _make(path, _initialize_tables)
        return
    if not _was_left(path):
        return  # somebody is at work on it
    if _holds_nothing(path):
        aside = _set_aside(path, work)
        _make(path, _initialize_tables)
        _LOG.warning(
            f"MLflow's store {path} was never finished and held no run: it was made anew "
            f"(the old file is {aside.relative_to(path.parent)})"
        )
        return
    aside = work / f"{path.stem}-{_revision(path)}{path.suffix}"
    with replacing(path) as temporary:
        _copy(path, temporary)
        try:
            _change(temporary, _upgrade_db)
        except (SQLAlchemyError, CommandError, MlflowException) as error:
            raise TrackingError(
                f"MLflow's store {path} holds runs, but its tables are of another MLflow or were left half-made "
                f"({one_line(error)}): nothing was changed; open it with the MLflow that made it, bring back a copy, "
                "or move it away and run `dvc repro publish` to make a new one"
            ) from error
        _copy(path, aside)
    _LOG.warning(
        f"MLflow's store {path} was upgraded to the present MLflow (as it was: {aside.relative_to(path.parent)})"
    )


def _make(path: Path, tables: "Callable[[Engine], None]") -> None:
    """Makes a store beside its place and gives it its name, unless somebody else's has it meanwhile."""
    with beside(path) as temporary:
        _change(temporary, tables)
        sync(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            temporary.replace(path)
        sync(path.parent)


def _change(path: Path, change: "Callable[[Engine], None]") -> None:
    """Has MLflow change the tables of a file that has no name yet: nothing of it needs to survive a crash."""
    from sqlalchemy import URL, create_engine, event
    from sqlalchemy.pool import NullPool

    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # three times as fast
        connection.execute("PRAGMA journal_mode = MEMORY")

    change(engine)
    engine.dispose()


def _copy(path: Path, to: Path) -> None:
    """Copies a store that may be in use."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _was_left(path: Path) -> bool:
    """Whether nobody works on a file: waits until it changes, or has not changed for `QUIET_SECONDS`.

    A store that is complete was not left: it may have become so since it was last looked at, and changes no more.
    """
    before = path.stat()
    if _is_complete(path):
        return False
    while (age := time.time() - before.st_mtime) < QUIET_SECONDS:
        time.sleep(min(_POLL_SECONDS, max(QUIET_SECONDS - age, 0.01)))
        now = path.stat()
        if (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size):
            return False
    return True


def _set_aside(path: Path, work: Path) -> Path:
    """Moves a store away, and what SQLite keeps beside it: it would be taken for the new one's."""
    aside = work / f"{path.name}.unfinished"
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    return aside


def _holds_nothing(path: Path) -> bool:
    """Whether a store has no row that people would miss."""
    with _reading(path) as database:
        names = [str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = [name for name in names if name.removeprefix(_COPIED) in _KEPT]
        return not any(database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() for name in kept)  # noqa: S608


def _revision(path: Path) -> str | None:
    """The number of the last of MLflow's steps that was done; None where none was."""
    with _reading(path) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return None
        found = database.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(found[0]) if found else None


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """An open SQLite file.

    Raises:
        TrackingError: it is none, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            yield database
    except sqlite3.Error as error:
        raise TrackingError(
            f"MLflow's store {path} cannot be used ({one_line(error)}): check its rights, or move it away and run "
            "`dvc repro publish` to make a new one"
        ) from error


def mend_places(database: Path, root: Path) -> None:
    """Makes a store that lies in a project name places below this project, where it names those of another folder.

    A project that was copied or moved would write into the original: MLflow makes every place absolute and has no call
    to change one.

    Args:
        database: the SQLite file; nothing happens where it does not exist or has no tables yet.
        root: of the project, the folder that holds `mlruns/`.
    """
    if not database.is_file():
        return
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=20)) as connection:
        try:
            rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:  # no tables yet, or no database: MLflow says what is wrong
            return
        others = {_root_of(str(name), str(place)) for name, place in rows} - {None}
        for other in sorted(place for place in others if place is not None and not _is_same(place, root)):
            _move(connection, other, root)
            _LOG.warning(
                f"this project was copied or moved from {other}: MLflow's files are read and written in {root}/mlruns "
                "from now on"
            )


def _root_of(name: str, place: str) -> Path | None:
    """The project below which an experiment keeps its artifacts; None for a place that Podium did not choose."""
    path = unquote(urlsplit(place).path)
    ending = f"{_RUNS}{name}"
    return Path(path.removesuffix(ending)) if place.startswith("file://") and path.endswith(ending) else None


def _is_same(place: Path, root: Path) -> bool:
    """Whether two paths lead to one folder."""
    return place == root or (place.exists() and place.samefile(root))


def _move(connection: sqlite3.Connection, old: Path, new: Path) -> None:
    """Replaces the beginning of every noted place below `old`, whether it is written as a URI or as a path."""
    with connection:
        for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
            values = {"new": after, "rest": len(before) + 1, "old": f"{before.translate(_SPECIAL)}{_RUNS}*"}
            for statement in _REPLACE:
                connection.execute(statement, values)
