"""Is this machine fit to work, and does the store answer this account? What `podium doctor` asks, a line a question."""

import os
import secrets
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from podium.config.params import Params
from podium.console import dvc_files
from podium.console.openings import read_openings
from podium.core.errors import DataError, PodiumError, TrackingError, one_line
from podium.core.jobs import Cluster
from podium.core.layout import Layout
from podium.core.machine import Machine
from podium.core.storage import Checkout, Storage, StoredFile, cache_folder
from podium.tracking import store
from podium.tracking.local_store import file_of

_LEAST_FREE = 2 * 1024**3  # bytes; the sample's images, results and store take a tenth of that
_MOST_SKEW = 60.0  # seconds
_LONGEST = 300  # characters of what went wrong on a node
_SECRETS = (".dvc/config.local", "~/.mlflow/credentials", "~/.config/kaggle/kaggle.json", "~/.kaggle/kaggle.json")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Check:
    """One question: its name, whether all is well, and what was found."""

    name: str
    passed: bool
    said: str


def examine(layout: Layout, params: Params) -> list[Check]:
    """Asks everything; nothing is changed, and what fails is an answer, no error."""
    asked: list[tuple[str, Callable[[], str]]] = [
        ("dvc", lambda: _dvc(layout)),
        ("ledger", lambda: f"{len(read_openings(layout))} openings of the test split, none edited"),
        ("disk", lambda: _disk(layout.root)),
        ("permissions", lambda: _permissions(layout)),
        ("telemetry", _telemetry),
    ]
    found = [_ask(name, question) for name, question in asked]
    uri = store.tracking_uri(layout)
    return found + list(_server(uri, params) if store.is_server(uri) else _database(layout, uri))


def examine_cluster(layout: Layout, params: Params) -> list[Check]:
    """Asks every node of the Ray cluster at `resources.address`, whatever `resources.executor` is; a check a node.

    Raises:
        PodiumError: Ray is not installed, or no cluster answers.
    """
    from podium.core import ray_executor

    storage = params.resources.exchange
    cluster = Cluster(params.resources.address, layout.root, storage=storage)
    with ray_executor.connected(cluster), ray_executor.shared_file(cluster) as shared:
        uri, nodes = store.tracking_uri(layout), ray_executor.nodes()
        probe = None if storage is None else Checkout(storage, (_upload_probe(storage),))
        found = ray_executor.ask(nodes, _examine_node, layout.root, Machine.here(), shared, uri, probe)
    gone = "it did not answer: is Podium installed there, the same version?"
    return [_node_check(node.name, node.cpus, found.get(node, DataError(gone))) for node in nodes]


def _node_check(name: str, cpus: int, found: list[str] | BaseException) -> Check:
    if isinstance(found, BaseException):
        return Check(name, False, " ".join(str(found).split())[:_LONGEST])
    takes = f"takes jobs on {cpus} processors" if cpus else "takes no jobs"
    return Check(name, not found, "; ".join(found) or f"like this machine; {takes}")


def _examine_node(root: Path, expected: Machine, shared: Path | None, uri: str, probe: Checkout | None) -> list[str]:
    """Asked of a node: what is wrong with it. One that does not see the project's folder has nothing to do with it."""
    from podium.core.ray_executor import find_differences

    if problems := find_differences(expected, shared):
        return problems
    asked = [("store", lambda: _see_store(uri))]
    if probe is None:
        asked += [("disk", lambda: _disk(root)), ("remote", lambda: _see_remote(root))]
    else:
        asked += [("storage", lambda: _exchange(probe)), ("disk", lambda: _disk(cache_folder()))]
    checks = [_ask(name, question) for name, question in asked]
    return [f"{check.name}: {check.said}" for check in checks if not check.passed]


def _see_store(uri: str) -> str:
    """Whether MLflow's server answers here. Other stores are written to by the machine that runs the stages alone."""
    return _reach(uri) if store.is_server(uri) else ""


def _upload_probe(storage: Storage) -> StoredFile:
    """Puts a small file into the storage that was never there before."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "probe"
        file.write_bytes(secrets.token_bytes())
        return storage.upload([file], file.parent)[0]


def _exchange(probe: Checkout) -> str:
    """Whether what this machine's stages put into the storage can be read here, and others can be put there."""
    said = f"{probe.storage.url} can be read, from {probe.root.parent}, and written to"
    _upload_probe(probe.storage)
    return said


def _see_remote(root: Path) -> str:
    """Whether DVC's default remote, if there is one, can be listed."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            remote = repo.cloud.get_remote()
            if not remote.fs.exists(remote.path):
                raise DataError(f"there is nothing at {remote.path}: mount it, or run `dvc push` where it is there")
    except NoRemoteError:
        return "DVC has no remote"
    except (DvcException, OSError) as error:
        raise DataError(f"DVC's remote cannot be reached ({one_line(error)}): set its address and its keys") from error
    return f"{remote.path} can be read"


def _ask(name: str, question: Callable[[], str]) -> Check:
    """What a question finds, or why it fails."""
    try:
        return Check(name, True, question())
    except PodiumError as error:
        return Check(name, False, str(error))


def _dvc(layout: Layout) -> str:
    if found := dvc_files.find_damage(layout):
        raise DataError(f"{'; '.join(found)}: run `podium doctor --repair`")
    return "dvc.lock and DVC's own locks are whole"


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    said = f"{free / 1024**3:,.1f} GiB free at {folder}"
    if free < _LEAST_FREE:
        raise DataError(f"{said}, less than {_LEAST_FREE / 1024**3:.0f}: `dvc gc -w` removes results of other states")
    return said


def _permissions(layout: Layout) -> str:
    """Project folders can be written to, and files that hold secrets are this user's alone."""
    folders = [layout.root, layout.main_root, layout.work, layout.data, *(layout.root / n for n in (".git", ".dvc"))]
    shut = [folder for folder in folders if folder.exists() and not os.access(folder, os.W_OK)]
    if shut:
        raise DataError(f"{', '.join(map(str, shut))} cannot be written to: change the rights or the owner")
    secrets = [layout.root / Path(name).expanduser() for name in _SECRETS]
    if read := [path for path in secrets if path.is_file() and path.stat().st_mode & _OTHERS]:
        raise DataError(f"{', '.join(map(str, read))} may hold a password and is open to others: chmod 600")
    return "the project can be written to; no file with secrets is open to others"


def _telemetry() -> str:
    from mlflow.telemetry.utils import is_telemetry_disabled

    if not is_telemetry_disabled():
        raise DataError("MLflow would send usage data: export MLFLOW_DISABLE_TELEMETRY=true")
    return "MLflow sends nothing"


def _database(layout: Layout, uri: str) -> Iterator[Check]:
    """What there is to ask of a file or a database that this process opens itself."""
    path = file_of(uri) if store.is_local(uri) else None
    if path is not None and not path.is_file():
        yield Check("store", True, f"{store.told_uri(layout)} is not made yet: the first `dvc repro` does")
        return
    yield _ask("store", lambda: _open_database(layout, uri, path))


def _open_database(layout: Layout, uri: str, path: Path | None) -> str:
    from mlflow import __version__

    started = time.perf_counter()
    with store.translate_errors(uri):
        if path is not None:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
                (damage,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if damage != "ok":
                raise DataError(f"{path} is damaged ({damage}): bring back a copy, or move it and `dvc repro publish`")
        count = len(store.open_client(layout).search_experiments())
    return f"{store.told_uri(layout)}: {count} experiments, MLflow {__version__}, {time.perf_counter() - started:.1f} s"


def _server(uri: str, params: Params) -> Iterator[Check]:
    """What there is to ask of a server; nothing more of one that does not answer, or knows no such account."""
    reached = _ask("server", lambda: _reach(uri))
    yield reached
    if not reached.passed:
        return
    yield _ask("versions", lambda: _versions(uri))
    yield _ask("clock", lambda: _clock(uri))
    yield _ask("rights", lambda: _rights(uri, params.publish.registered_model))


def _reach(uri: str) -> str:
    started = time.perf_counter()
    found = store.ask(uri, "/health")
    if not found.ok:
        raise TrackingError(f"{store.public_uri(uri)} answers {found.status_code} to /health: is it MLflow?")
    return f"{store.public_uri(uri)} answers in {(time.perf_counter() - started) * 1000:.0f} ms"


def _versions(uri: str) -> str:
    from mlflow import __version__

    served = store.ask(uri, "/version").text.strip()
    said = f"MLflow {__version__} here, {served} on the server"
    if served.split(".")[:2] != __version__.split(".")[:2]:
        raise TrackingError(f"{said}: install the server's (pip install mlflow=={served}), or upgrade the server")
    return said


def _clock(uri: str) -> str:
    """The server's clock against this one, as the header `Date` tells it to the second."""
    found = store.ask(uri, "/health")
    theirs = parsedate_to_datetime(found.headers["Date"])
    skew = (datetime.now(theirs.tzinfo) - theirs).total_seconds()
    if abs(skew) > _MOST_SKEW:
        raise TrackingError(f"this clock is {skew:+.0f} s off the server's: set it, since the record is told by it")
    return "within a second or two of the server's" if abs(skew) < 2 else f"{skew:+.0f} s off the server's"


def _rights(uri: str, name: str) -> str:
    """What this account may do with the registered model; to be allowed to read alone is no failure."""
    who = store.ask(uri, "/api/2.0/mlflow/users/current")
    if who.status_code == 404:
        return "the server has no accounts: whoever reaches it may do everything"
    account = who.json()["user"]
    user = account["username"]
    if account["is_admin"]:
        return f"{user} is an administrator"
    query = {"username": user, "resource_type": "registered_model", "resource_id": name}
    held = store.ask(uri, "/api/3.0/mlflow/users/permissions/get", **query).json()["permission"]
    if held in ("EDIT", "MANAGE"):
        return f"{user} may register and promote versions of {name} ({held})"
    return f"{user} may read {name} ({held}); an administrator's `podium grant {user}` adds more"
