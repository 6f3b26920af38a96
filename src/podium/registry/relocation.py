"""A project that was copied or moved: MLflow's store notes absolute places, so the copy would write into the original.

MLflow makes every place absolute and has no call to change one, so those of a local store are mended in its tables.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

_LOG = logging.getLogger(__name__)
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


def mend_places(database: Path, root: Path) -> None:
    """Makes a store that lies in a project name places below this project, where it names those of another folder.

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
