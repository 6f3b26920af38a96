"""The MLflow server of a team: PostgreSQL and a store for artifacts behind it, accounts, and who may promote what.

MLflow does the work; here is what it leaves to its user: secrets that are not guessed, tables that are made and
upgraded once, however many servers start, and a role for those who may register and promote one model.
"""

import base64
import configparser
import hmac
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from podium.console.process import stoppable
from podium.core.errors import TrackingError, UsageError, one_line
from podium.tracking import locks, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

PASSWORD, SECRET = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"  # names of variables
_SHORTEST = {PASSWORD: 16, SECRET: 32}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_END_SECONDS = 30.0
_REMEMBERED_SECONDS = 60  # a password is hashed anew for each request otherwise, which takes longer than the request
_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs of generative AI: a process more, and nothing of Podium's
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # else a worker that was asked before knows no new webhook for a minute
}
_WEBHOOK_KEY = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"
_TAG_SET = "model_version_tag.set"  # MLflow's event that carries `podium.event`
_MOST_WEBHOOKS = 1000  # that MLflow lists at once
_WORKSPACE = "default"


@dataclass(frozen=True)
class ServerSettings:
    """What `mlflow server` is started with.

    Attributes:
        backend: the database, `postgresql://USER:PASSWORD@HOST/NAME`; accounts and rights lie in it, too.
        artifacts: where artifacts go, `s3://BUCKET/PREFIX` or whatever else MLflow knows.
        s3_endpoint: address of an S3-compatible store that is not Amazon's; empty for Amazon's.
        host: the address that is listened on.
        port: its port.
        workers: processes that answer.
    """

    backend: str
    artifacts: str
    s3_endpoint: str
    host: str
    port: int
    workers: int


def serve(settings: ServerSettings) -> int:
    """Prepares the database and runs the server until it ends, or SIGTERM or Ctrl-C ends it.

    Returns:
        The server's exit code.

    Raises:
        UsageError: a setting is missing, or a secret is missing or too short.
        TrackingError: the database cannot be used, or a library of the extra `team` is missing.
    """
    check(settings)
    with TemporaryDirectory(prefix="podium-server-") as folder, stoppable():
        config = write_auth_config(Path(folder), settings.backend)
        environment = _environment(settings, config)
        os.environ["MLFLOW_AUTH_CONFIG_PATH"] = environment["MLFLOW_AUTH_CONFIG_PATH"]  # read when it is imported
        prepare_database(settings.backend)
        command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]  # no secret: `ps` shows it
        server = subprocess.Popen(command, env=environment)
        try:
            return server.wait()
        finally:
            server.terminate()
            try:
                server.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def check(settings: ServerSettings) -> None:
    """Refuses settings that no server of a team should start with.

    Raises:
        UsageError: the database is not PostgreSQL, there is no place for artifacts, or a secret is missing or short.
    """
    if not urlsplit(settings.backend).scheme.startswith("postgresql"):
        raise UsageError(
            f"the database {store.public_uri(settings.backend)!r} is not PostgreSQL: set MLFLOW_BACKEND_STORE_URI to "
            "postgresql://USER:PASSWORD@HOST/NAME (several people at once need more than an SQLite file)"
        )
    if not settings.artifacts:
        raise UsageError("no place for artifacts is given: set MLFLOW_ARTIFACTS_DESTINATION to s3://BUCKET/PREFIX")
    for name, least in _SHORTEST.items():
        given = len(os.environ.get(name, ""))
        if given < least:
            raise UsageError(
                f"{name} has {given} characters and needs {least}: there is no default, so set it in the environment, "
                f"for example to what `openssl rand -hex {least}` prints"
            )


def write_auth_config(folder: Path, backend: str) -> Path:
    """Writes the settings of MLflow's basic authentication, readable by this user alone: a password is in them.

    Everybody with an account may read everything, and write to what they made; more is granted by name.
    """
    config = configparser.ConfigParser(interpolation=None)
    config["mlflow"] = {
        "default_permission": "READ",
        "database_uri": backend.replace("%", "%%"),  # MLflow reads the file with interpolation
        "admin_username": os.environ.get("MLFLOW_AUTH_ADMIN_USERNAME", "admin"),
        "admin_password": os.environ[PASSWORD].replace("%", "%%"),
        "auth_cache_ttl_seconds": str(_REMEMBERED_SECONDS),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    path = folder / "basic_auth.ini"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as file:
        config.write(file)
    return path


def _environment(settings: ServerSettings, config: Path) -> dict[str, str]:
    """The environment of `mlflow server`: this one, with the settings in MLflow's own variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING_")}
    kept.pop(PASSWORD)  # it is in the file
    # webhooks' secrets lie in the database under this key; without one each process of MLflow's makes up its own
    key = hmac.digest(os.environ[SECRET].encode(), b"podium: secrets of webhooks", "sha256")
    kept.setdefault(_WEBHOOK_KEY, base64.urlsafe_b64encode(key).decode())
    given = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_BACKEND_STORE_URI": settings.backend,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts,
        "MLFLOW_HOST": settings.host,
        "MLFLOW_PORT": str(settings.port),
        "MLFLOW_WORKERS": str(settings.workers),
        **({"MLFLOW_S3_ENDPOINT_URL": settings.s3_endpoint} if settings.s3_endpoint else {}),
    }
    return {**_SETTINGS, **kept, **given}


def warn_of_plain_text(host: str) -> str | None:
    """A sentence where passwords would travel as they are; None where they stay on this machine."""
    if host in _LOOPBACK:
        return None
    return (
        f"{host} is reached from other machines, and passwords travel in plain text: put a proxy with TLS in front of "
        "it (deploy/README.md), and name its host in MLFLOW_SERVER_ALLOWED_HOSTS"
    )


def prepare_database(uri: str) -> None:
    """Makes the tables of MLflow and of its accounts, or upgrades them; one server at a time, the others wait.

    Raises:
        TrackingError: the database does not answer or was made by a newer MLflow, or a library is missing.
    """
    from alembic.util import CommandError

    with store.translate_errors(uri), store.changing_tables(uri) as engine:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Starlette about MLflow's use of it
            from mlflow.server.auth.db.utils import migrate_if_needed
        from mlflow.store.db.utils import (
            _get_latest_schema_revision,
            _get_schema_version,
            _initialize_tables,
            _upgrade_db,
        )

        try:
            found = _get_schema_version(engine)
            if found is None:
                _initialize_tables(engine)
            elif found != _get_latest_schema_revision():
                _upgrade_db(engine)
            migrate_if_needed(engine, "head")
        except CommandError as error:
            raise TrackingError(
                f"the tables of {store.public_uri(uri)} are of another version of MLflow than this one ({error}): "
                "install the version that made them, or a newer one"
            ) from error


def grant(uri: str, user: str, name: str, experiment: str, *, revoke: bool = False) -> None:
    """Lets an account register and promote versions of one model, or not any more.

    It is a role of MLflow's, `podium-NAME`, so that its rights on locks outlast these: MLflow takes what a user was
    granted on a registered model away with the model.

    Args:
        uri: of the server; the account in the environment is an administrator of it.
        user: who is granted the right.
        name: of the registered model.
        experiment: where its runs are, and each promotion leaves its record; made where it is missing.
        revoke: takes the right back.

    Raises:
        TrackingError: the server does not answer or refuses, there is no such account, or the extra `team` is missing.
    """
    from mlflow import MlflowClient

    with store.translate_errors(uri):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Starlette about MLflow's use of it
            from mlflow.server.auth.client import AuthServiceClient

        accounts, client = AuthServiceClient(uri), MlflowClient(uri, uri)
        if revoke:
            for role in accounts.list_user_roles(user):
                if role.name == f"podium-{name}":
                    accounts.unassign_role(user, role.id)
            return
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        wanted = [("registered_model", name, "EDIT"), ("experiment", place, "EDIT")]
        ours = (locks.promoting(name), locks.publishing(experiment))
        wanted += [("registered_model", lock, "MANAGE") for lock in ours]  # a dead owner's is taken over
        known = [role for role in accounts.list_roles(_WORKSPACE) if role.name == f"podium-{name}"]
        role = known[0] if known else accounts.create_role(_WORKSPACE, f"podium-{name}", f"may promote {name}")
        held = {(p.resource_type, p.resource_pattern) for p in accounts.list_role_permissions(role.id)}
        for kind, pattern, permission in wanted:
            if (kind, pattern) not in held:
                accounts.add_role_permission(role.id, kind, pattern, permission)
        if role.id not in {each.id for each in accounts.list_user_roles(user)}:
            accounts.assign_role(user, role.id)


def list_webhooks(uri: str) -> dict[str, str]:
    """MLflow's ids of a server's webhooks that send tags of versions, by their addresses.

    Raises:
        TrackingError: the server does not answer, or the account is no administrator's.
    """
    with _administrating(uri) as client:
        found = client.list_webhooks(max_results=_MOST_WEBHOOKS)
    return {webhook.url: webhook.webhook_id for webhook in found if _TAG_SET in map(str, webhook.events)}


def add_webhook(uri: str, url: str, secret: str) -> None:
    """Has a server send what is done to versions to an address, signed with a secret (HMAC-SHA256).

    Raises:
        TrackingError: the server does not answer, or refuses the address or the account.
    """
    with _administrating(uri) as client:
        client.create_webhook("podium", url, [_TAG_SET], secret=secret)


def try_webhook(uri: str, number: str) -> int:
    """Has a server send an example, MLflow's own, and tells the status that came back.

    Raises:
        TrackingError: the server does not answer, or the receiver does not, or answers with an error.
    """
    with _administrating(uri) as client:
        tried = client.test_webhook(number, _TAG_SET)
    if not tried.success or tried.response_status is None:
        why = tried.error_message or f"it answers {tried.response_status}"
        raise TrackingError(f"the receiver did not take an example: {one_line(why)}; the webhook stays")
    return int(tried.response_status)


def remove_webhook(uri: str, number: str) -> None:
    """Takes a webhook away.

    Raises:
        TrackingError: the server does not answer, or the account is no administrator's.
    """
    with _administrating(uri) as client:
        client.delete_webhook(number)


@contextmanager
def _administrating(uri: str) -> "Iterator[MlflowClient]":
    """A client of a server for what administrators alone may do."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with store.translate_errors(uri):
        try:
            yield MlflowClient(uri, uri)
        except MlflowException as error:
            if error.get_http_status_code() != HTTPStatus.FORBIDDEN:
                raise
            raise TrackingError(
                "webhooks are for administrators of the server: set MLFLOW_TRACKING_USERNAME"
            ) from error
