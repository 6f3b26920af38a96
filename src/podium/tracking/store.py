"""The MLflow store of a project: where it is, how it is opened, what is said when it does not answer.

Clients and run ids are passed around; MLflow's fluent, process-wide state is never used, so a run id that
`mlflow run` puts into the environment is never resumed by accident.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from podium.console.process import refuse_pickle, silence_telemetry
from podium.core.errors import PodiumError, TrackingError, one_line, through_proxy
from podium.core.layout import MLFLOW_DB, Layout
from podium.tracking.local_store import complete_store, file_of, mend_places

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from requests import Response
    from sqlalchemy import Engine

_LOG = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
PAUSES = (1.0, 2.0)
"""Seconds before the second and the third try, for those who can wait: a server may be starting."""
_ASKED = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
_LOCAL = "sqlite:///"
_FULL = "database or disk is full"
_TABLES = 7_063_486  # the number of a lock that all who make tables take
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # of 120 s, three tries of a server that hangs are six minutes
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",  # Podium's live view reads it
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",  # only the server reaches the store behind it
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what fails is raised and said in one line
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(layout: Layout) -> str:
    """Where runs and versions are kept: `MLFLOW_TRACKING_URI`, or `mlflow.db` in the root people look at.

    Args:
        layout: the project's paths; a throw-away copy that `dvc exp run` works in uses the main root's store.

    Returns:
        An absolute URI, the same one plain `mlflow ui` opens in the project's root. A relative path to an SQLite file
        is taken from the project's root, wherever the command was given.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return local_uri(layout.main_root / MLFLOW_DB)
    path, mark, options = given.removeprefix(_LOCAL).partition("?")
    if not given.startswith(_LOCAL) or path.startswith(("/", "file:", ":memory:")) or not path:
        return given
    found = layout.main_root / unquote(path)
    if Path.cwd() != layout.main_root:
        _tell_relative(given, found)
    return local_uri(found) + mark + options


def local_uri(path: Path) -> str:
    """The URI of an SQLite file. SQLAlchemy takes `?` for the start of options, and `%2F` for a slash."""
    return _LOCAL + path.as_posix().replace("%", "%25").replace("?", "%3F")


def is_local(uri: str) -> bool:
    """Whether the store is an SQLite file that this process writes itself."""
    return uri.startswith("sqlite:")


def is_server(uri: str) -> bool:
    """Whether the store is an MLflow server, which knows where artifacts go."""
    return urlsplit(uri).scheme in ("http", "https")


@cache
def _tell_relative(given: str, found: Path) -> None:
    """Says once that a relative store is not looked for in the working directory."""
    _LOG.warning(f"MLFLOW_TRACKING_URI={given} is relative: it is taken from the project's root, {found}")


def open_client(layout: Layout, pauses: Sequence[float] = ()) -> "MlflowClient":
    """Opens the store, making a local one on first use.

    Args:
        layout: the project's paths.
        pauses: seconds to wait before each further try to reach a server; none for a single try.

    Returns:
        A client for runs and for registered models.

    Raises:
        TrackingError: the store does not answer, is of a kind MLflow cannot open here, or its schema belongs to
            another MLflow version.
    """
    _settle()
    uri = tracking_uri(layout)
    _probe(uri, pauses)
    _set_process_wide(uri)
    if not is_local(uri):
        if uri.startswith("postgresql"):
            _make_tables(uri)
        return _connect(uri)
    with translate_errors(uri):
        path = file_of(uri)
    if path is None:
        return _connect(uri)
    # Two processes that open one new file at the same time break each other.
    with translate_errors(uri), complete_store(path):
        if path == layout.main_root / MLFLOW_DB:
            mend_places(path, layout.main_root)
        return _connect(uri)


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turns what MLflow raises inside the block into one line.

    Raises:
        TrackingError: the store cannot be reached or refused the request.
    """
    _settle()
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except requests.exceptions.RequestException as error:
        if error.response is not None:
            _raise_if_denied(uri, error.response.status_code, error)
        raise unreachable(uri) from error
    except MlflowException as error:
        _raise_if_denied(uri, error.get_http_status_code(), error)
        # MLflow wraps a failed connection without a code of its own; the cause is still attached.
        if isinstance(error.__cause__ or error.__context__, requests.exceptions.RequestException):
            raise unreachable(uri) from error
        _raise_if_full(uri, error)
        raise TrackingError(f"MLflow at {public_uri(uri)} refused: {one_line(error)}") from error
    except ImportError as error:  # the driver of a database, or of the place a server keeps artifacts in
        raise TrackingError(
            f"MLflow at {public_uri(uri)} needs a library that is not installed ({one_line(error)}): install it with "
            "pip, or unset MLFLOW_TRACKING_URI"
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        _raise_if_full(uri, error)
        remedy = "check its rights, or move it away and run `dvc repro publish` to make a new one"
        raise TrackingError(
            f"MLflow's store {public_uri(uri)} cannot be used ({one_line(error)}): "
            f"{remedy if is_local(uri) else 'is it running, and are address and account right?'}"
        ) from error


def _raise_if_denied(uri: str, status: int, error: Exception) -> None:
    """Says what to do about a server with accounts that knows none here, or one without the right."""
    where = f"MLflow at {public_uri(uri)} refused"
    if status == HTTPStatus.UNAUTHORIZED:
        raise TrackingError(
            f"{where}: it asks for an account: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        ) from error
    if status == HTTPStatus.FORBIDDEN:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this account")
        raise TrackingError(
            f"{where}: {user} may read there, but not do this: an administrator of the server gives the right with "
            f"`podium grant {user}`"
        ) from error


def _raise_if_full(uri: str, error: Exception) -> None:
    """Says of an SQLite file what `raise_if_full` says of others: SQLite has a message for it, and no number."""
    if is_local(uri) and _FULL in str(error):
        raise TrackingError(
            f"no space left on the device while writing MLflow's store {public_uri(uri)}: free some space, then run "
            "`dvc repro publish`, which fills it in"
        ) from error


def unreachable(uri: str) -> PodiumError:
    """The error for a server that does not answer."""
    return TrackingError(
        f"MLflow at {public_uri(uri)} cannot be reached{through_proxy(uri)}: start it (or unset "
        "MLFLOW_TRACKING_URI), then run `dvc repro publish`, which fills it in"
    )


def ask(uri: str, path: str, **query: str) -> "Response":
    """One answer of a server, to this account, within seconds.

    Raises:
        TrackingError: it does not answer, or does not know the account.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    with translate_errors(uri):
        found: Response = http_request(
            get_default_host_creds(uri), path, "GET", max_retries=0, timeout=PROBE_SECONDS, params=query
        )
        if found.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            found.raise_for_status()
    return found


def account_of(uri: str) -> str | None:
    """The account that a server knows this process by; None where the store has no accounts.

    Raises:
        TrackingError: it does not answer, or does not know the account.
    """
    found = ask(uri, "/api/2.0/mlflow/users/current") if is_server(uri) else None
    return str(found.json()["user"]["username"]) if found is not None and found.ok else None


def public_uri(uri: str) -> str:
    """The URI without a user name or password in it, fit to be printed."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def told_uri(layout: Layout) -> str:
    """The store as a person would write it in the project's folder, without a password."""
    uri = tracking_uri(layout)
    return f"{_LOCAL}{MLFLOW_DB}" if uri == local_uri(layout.main_root / MLFLOW_DB) else public_uri(uri)


def _settle() -> None:
    """Settings that MLflow reads when it is imported; what the user has set stays."""
    silence_telemetry()
    refuse_pickle()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def _set_process_wide(uri: str) -> None:
    """Resolving `models:/...` inside MLflow's SQLite registry and in `pyfunc` reads this, not the client's URI."""
    import mlflow

    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if given is None:  # MLflow sets the variable too; `tracking_uri` of another project must not see it
        os.environ.pop("MLFLOW_TRACKING_URI", None)


def _connect(uri: str) -> "MlflowClient":
    """A client; where the URI is of a kind that MLflow does not know, the message lists those it does."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        with translate_errors(uri):
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except TrackingError as error:
        if urlsplit(uri).scheme.partition("+")[0] in _SCHEMES or not isinstance(error.__cause__, MlflowException):
            raise
        raise TrackingError(
            f"MLFLOW_TRACKING_URI {public_uri(uri)!r} is no store Podium can use: give a server (http, https) or a "
            "database (sqlite, postgresql, mysql, mssql), or unset it"
        ) from error


def _make_tables(uri: str) -> None:
    """Makes MLflow's tables in a PostgreSQL database that lacks them; two that make them at once break each other."""
    with translate_errors(uri), changing_tables(uri) as engine:
        from mlflow.store.db.utils import _all_tables_exist, _initialize_tables

        if not _all_tables_exist(engine):
            _initialize_tables(engine)


@contextmanager
def changing_tables(uri: str) -> Iterator["Engine"]:
    """Lets one process of all machines at a time make or upgrade tables of a PostgreSQL database.

    The database gives the lock back when its owner's connection ends, and a killed one leaves nothing half-made:
    PostgreSQL takes tables back with their transaction.
    """
    from sqlalchemy import create_engine, func, select
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(select(func.pg_advisory_lock(_TABLES)))
        yield engine


def _probe(uri: str, pauses: Sequence[float]) -> None:
    """Fails within seconds where MLflow would retry for minutes: any answer at all will do.

    The server is asked something it has to look up: one that hangs may still answer what it need not think about.
    """
    if not is_server(uri):
        return
    import requests

    left = list(pauses)
    while True:
        try:
            requests.get(f"{uri.rstrip('/')}{_ASKED}", timeout=PROBE_SECONDS, allow_redirects=False)
        except requests.exceptions.SSLError:
            return  # it answers; MLflow has its own settings for certificates
        except requests.exceptions.RequestException as error:
            if not left:
                raise unreachable(uri) from error
            sleep(left.pop(0))
        else:
            return
