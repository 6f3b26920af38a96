"""Copies a local MLflow store into the empty database of a team's server: runs, versions, aliases, the audit record.

`python deploy/sqlite_to_postgresql.py mlflow.db`, with MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION in the
environment, before the server is started on that database. Rows go over as they are, but for the places of artifacts,
which become the server's (`mlflow-artifacts:/EXPERIMENT`: by the number its rights are checked); the commands that copy
the files themselves are printed.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow.store.db.base_sql_model import Base
from mlflow.store.db.utils import _verify_schema
from sqlalchemy import Connection, NullPool, create_engine, delete, func, select, text

from podium.core.errors import DataError, PodiumError
from podium.tracking.server import prepare_database

_PLACES = {"artifact_location", "artifact_uri", "source", "storage_location"}
_AT_ONCE = 1000  # rows of one statement


def copy(source: Path, target: str) -> tuple[dict[str, int], dict[str, str]]:
    """Copies every table, or nothing.

    Args:
        source: the SQLite file, of the MLflow that is installed.
        target: the URI of a PostgreSQL database without runs.

    Returns:
        How many rows of which table, for tables that have any; and the experiment's number by the folder of its files.

    Raises:
        DataError: there is no such file, or the database holds runs or registered models.
    """
    if not source.is_file():
        raise DataError(f"{source} does not exist: name an MLflow store in an SQLite file")
    prepare_database(target)
    old, new = create_engine(f"sqlite:///{source.absolute()}"), create_engine(target, poolclass=NullPool)
    _verify_schema(old)
    tables = Base.metadata.sorted_tables
    counts: dict[str, int] = {}
    with old.connect() as read, new.begin() as write:
        for name in ("runs", "registered_models"):
            if write.scalar(select(func.count()).select_from(Base.metadata.tables[name])):
                raise DataError(f"the database holds {name} already: give an empty one")
        known = Base.metadata.tables["experiments"]
        found = read.execute(select(known.c.artifact_location, known.c.experiment_id)).all()
        folders = {_path(place): str(number) for place, number in found if urlsplit(place).scheme in ("", "file")}
        for table in reversed(tables):
            write.execute(delete(table))  # what making the tables put there
        for table in tables:
            for rows in read.execute(select(table)).mappings().partitions(_AT_ONCE):
                write.execute(table.insert(), [_moved(dict(row), folders) for row in rows])
                counts[table.name] = counts.get(table.name, 0) + len(rows)
            _count_on(write, table)
    old.dispose()
    return counts, folders


def _path(place: str) -> str:
    """The folder that a place on this machine is."""
    return url2pathname(urlsplit(place).path).rstrip("/")


def _moved(row: dict[str, Any], folders: dict[str, str]) -> dict[str, Any]:
    """A row with the places of its artifacts on the server."""
    for name in _PLACES & row.keys():
        if not isinstance(row[name], str) or urlsplit(row[name]).scheme not in ("", "file"):
            continue
        path = _path(row[name])
        for folder, number in folders.items():
            if path == folder or path.startswith(f"{folder}/"):
                row[name] = f"mlflow-artifacts:/{number}{path.removeprefix(folder)}"
    return row


def _count_on(write: Connection, table: Any) -> None:
    """Lets the database number new rows after those that came with their numbers."""
    column = table.autoincrement_column
    if column is None:
        return
    sequence = write.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
    if sequence:
        last = write.scalar(select(func.coalesce(func.max(column), 0)))
        write.execute(text("SELECT setval(:name, :next, false)"), {"name": sequence, "next": last + 1})


def main() -> int:
    """Prints what was copied."""
    try:
        counts, folders = copy(Path(sys.argv[1]), os.environ["MLFLOW_BACKEND_STORE_URI"])
    except PodiumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name, count in counts.items():
        print(f"{name:<32}{count:>10,}")
    print("\nNow the files, then start the server:")
    endpoint = f"--endpoint-url {given} " if (given := os.environ.get("MLFLOW_S3_ENDPOINT_URL")) else ""
    for folder, number in folders.items():
        if Path(folder).is_dir():
            print(f"aws {endpoint}s3 sync {shlex.quote(folder)} {os.environ['MLFLOW_ARTIFACTS_DESTINATION']}/{number}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
