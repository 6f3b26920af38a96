"""The MLflow store of a project: where it is, how it is opened, what is said when it does not answer.

Clients and run ids are passed around; MLflow's fluent, process-wide state is never used, so a run id that
`mlflow run` puts into the environment is never resumed by accident.
"""

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from podium.console.shell import silence_telemetry
from podium.core.errors import PodiumError, TrackingError, one_line
from podium.core.layout import Layout

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
PROBE_SECONDS = 5.0
PAUSES = (1.0, 2.0)
"""Seconds before the second and the third try, for those who can wait: a server may be starting."""
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what fails is raised and said in one line
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(layout: Layout) -> str:
    """Where runs and versions are kept: `MLFLOW_TRACKING_URI`, or `mlflow.db` in the root people look at.

    Args:
        layout: the project's paths; a throw-away copy that `dvc exp run` works in uses the main root's store.

    Returns:
        An absolute URI, the same one plain `mlflow ui` opens in the project's root.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{layout.main_root / 'mlflow.db'}"


def is_local(uri: str) -> bool:
    """Whether the store is an SQLite file that this process writes itself."""
    return uri.startswith("sqlite:")


def client(layout: Layout, pauses: Sequence[float] = ()) -> "MlflowClient":
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
        return _opened(uri)
    # Two processes that make the tables of one new file at the same time break each other.
    lock = layout.main_root / ".podium" / "mlflow.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        return _opened(uri)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turns what MLflow raises inside the block into one line.

    Args:
        uri: of the store the block talks to.

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
        raise unreachable(uri) from error
    except MlflowException as error:
        # MLflow wraps a failed connection without a code of its own; the cause is still attached.
        if isinstance(error.__cause__ or error.__context__, requests.exceptions.RequestException):
            raise unreachable(uri) from error
        raise TrackingError(f"MLflow at {shown(uri)} refused: {one_line(error)}") from error
    except ImportError as error:  # the driver of a database, or of the place a server keeps artifacts in
        raise TrackingError(
            f"MLflow at {shown(uri)} needs a library that is not installed ({one_line(error)}): install it with pip, "
            "or unset MLFLOW_TRACKING_URI"
        ) from error
    except SQLAlchemyError as error:
        raise TrackingError(
            f"MLflow's store {shown(uri)} cannot be used ({one_line(error)}): check its rights, or move it away and "
            "run `dvc repro publish` to make a new one"
        ) from error


def unreachable(uri: str) -> PodiumError:
    """The error for a server that does not answer."""
    return TrackingError(
        f"MLflow at {shown(uri)} cannot be reached: start it (or unset MLFLOW_TRACKING_URI), then run "
        "`dvc repro publish`, which fills it in"
    )


def shown(uri: str) -> str:
    """The URI without a user name or password in it, fit to be printed."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def experiment_id(store: "MlflowClient", layout: Layout, name: str) -> str:
    """The id of an experiment, made on first use and restored when somebody deleted it.

    Args:
        store: an open client.
        layout: the project's paths.
        name: `experiment` in params.yaml.

    Returns:
        MLflow's id.
    """
    from mlflow.exceptions import MlflowException

    found = store.get_experiment_by_name(name)
    if found is None:
        # Where a local store keeps artifacts would otherwise depend on the working directory.
        place = (layout.main_root / "mlruns" / name).as_uri() if is_local(tracking_uri(layout)) else None
        try:
            return str(store.create_experiment(name, artifact_location=place))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = store.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage == "deleted":
        store.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def outer_run() -> str | None:
    """The run that `mlflow run` opened around this process, if any: a parent to name, never a run to write to."""
    return os.environ.get("MLFLOW_RUN_ID")


def find_runs(store: "MlflowClient", experiment: str, **tags: str) -> "list[Run]":
    """All runs of an experiment that carry some of Podium's tags, oldest first.

    Args:
        store: an open client.
        experiment: MLflow's id of it.
        **tags: values of `podium.<name>` tags.

    Returns:
        Runs that nobody deleted.
    """
    wanted = " and ".join(f"tags.`podium.{name}` = '{value}'" for name, value in tags.items())
    found: list[Run] = []
    token = None
    while True:
        page = store.search_runs(
            [experiment], wanted, order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
        )
        found.extend(page)
        token = page.token
        if not token:
            return found


def create_run(store: "MlflowClient", experiment: str, name: str, tags: dict[str, str], source: str) -> str:
    """Starts a run that shows who made it and from what, as MLflow's own API would.

    Args:
        store: an open client.
        experiment: MLflow's id of it.
        name: what the run is called in the UI.
        tags: by full name.
        source: the script, relative to the project's root.

    Returns:
        The run's id.
    """
    about = {"mlflow.user": _user(), "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    run = store.create_run(experiment, tags={**about, **tags}, run_name=name)
    run_id: str = run.info.run_id
    return run_id


def _settle() -> None:
    """Settings that MLflow reads when it is imported; what the user has set stays."""
    silence_telemetry()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def _set_process_wide(uri: str) -> None:
    """Resolving `models:/...` inside MLflow's SQLite registry and in `pyfunc` reads this, not the client's URI."""
    import mlflow

    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if given is None:  # MLflow sets the variable too; `tracking_uri` of another project must not see it
        os.environ.pop("MLFLOW_TRACKING_URI", None)


def _user() -> str:
    """The login name, or `unknown`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def _opened(uri: str) -> "MlflowClient":
    """A client; where the URI is of a kind that MLflow does not know, the message lists those it does."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        with reaching(uri):
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except TrackingError as error:
        if urlsplit(uri).scheme.partition("+")[0] in _SCHEMES or not isinstance(error.__cause__, MlflowException):
            raise
        raise TrackingError(
            f"MLFLOW_TRACKING_URI {shown(uri)!r} is no store Podium can use: give a server (http, https) or a database "
            "(sqlite, postgresql, mysql, mssql), or unset it"
        ) from error


def _probe(uri: str, pauses: Sequence[float]) -> None:
    """Fails within seconds where MLflow would retry for minutes: any answer at all will do."""
    if urlsplit(uri).scheme not in ("http", "https"):
        return
    import requests

    left = list(pauses)
    while True:
        try:
            requests.head(uri, timeout=PROBE_SECONDS, allow_redirects=False)
        except requests.exceptions.SSLError:
            return  # it answers; MLflow has its own settings for certificates
        except requests.exceptions.RequestException as error:
            if not left:
                raise unreachable(uri) from error
            sleep(left.pop(0))
        else:
            return
