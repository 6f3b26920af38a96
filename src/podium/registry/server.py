"""The MLflow server of a team: PostgreSQL and a store for artifacts behind it, accounts, and who may promote what.

MLflow does the work; here is what it leaves to its user: secrets that are not guessed, tables that are made and
upgraded once, however many servers start, and a role for those who may register and promote one model.
"""

import configparser
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from podium.console.process import stoppable
from podium.core.errors import TrackingError, UsageError
from podium.registry import locks, store

PASSWORD, SECRET = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"  # names of variables
_SHORTEST = {PASSWORD: 16, SECRET: 32}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_END_SECONDS = 30.0
_REMEMBERED_SECONDS = 60  # a password is hashed anew for each request otherwise, which takes longer than the request
_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs of generative AI: a process more, and nothing of Podium's
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
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
