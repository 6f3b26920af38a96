"""One publish at a time for a store and an experiment, one promotion at a time for a registered model.

A local store has a lock file, which dies with its process. A server, or a database, offers one thing that two clients
cannot both do: create a registered model of a name. So the lock is one, there for as long as a publish takes.
"""

import getpass
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from podium.core.files import sha256_text
from podium.core.layout import WORK
from podium.registry import store
from podium.registry.local_store import file_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE_SECONDS = 600.0
"""After this long without a sign of life, the lock of a killed publish is taken over."""
PAUSE_SECONDS = 2.0
_OWNER, _UNTIL = "podium.owner", "podium.until"


@contextmanager
def publish_lock(client: "MlflowClient", uri: str, experiment: str) -> Iterator[Callable[[], None]]:
    """Waits until nobody else publishes an experiment to a store.

    Yields:
        A function that shows a sign of life; to be called more often than every `LEASE_SECONDS`.
    """
    if store.is_local(uri):
        folder = lock_folder(uri)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"publish-{sha256_text(experiment)[:16]}.lock"):
            yield lambda: None
        return
    with lock_in_store(client, f"podium-lock-{experiment}", f"{getpass.getuser()} on {platform.node()}") as renew:
        yield renew


@contextmanager
def lock_in_store(client: "MlflowClient", name: str, owner: str) -> Iterator[Callable[[], None]]:
    """Holds a registered model of this name while the block runs; waits for another's, and takes over a dead one's.

    Yields:
        A function that prolongs the lease.
    """
    from mlflow.exceptions import MlflowException

    about = f"{owner} is publishing; this goes away by itself, at the latest when another publish finds it too old."
    told = False
    while True:
        try:
            client.create_registered_model(name, tags={_OWNER: owner, _UNTIL: _lease()}, description=about)
            break
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if _drop_dead(client, name):
            continue
        if not told:
            print(f"{name}: somebody else is publishing to this store; waiting", flush=True)
            told = True
        time.sleep(PAUSE_SECONDS)
    try:
        yield lambda: client.set_registered_model_tag(name, _UNTIL, _lease())
    finally:
        client.delete_registered_model(name)


def lock_folder(uri: str) -> Path:
    """Beside a local store; in the user's temporary folder for a server, where it holds for this machine only."""
    file = file_of(uri) if store.is_local(uri) else None
    if file is not None:
        return file.parent / WORK
    return Path(tempfile.gettempdir()) / f"podium-{getpass.getuser()}"


def _lease() -> str:
    """The moment, in seconds since 1970, until which a lock holds without a sign of life."""
    return str(time.time() + LEASE_SECONDS)


def _drop_dead(client: "MlflowClient", name: str) -> bool:
    """Deletes a lock whose lease has run out; whether there is nothing to wait for."""
    from mlflow.exceptions import MlflowException

    try:
        if float(client.get_registered_model(name).tags.get(_UNTIL, "inf")) > time.time():
            return False
        client.delete_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return True
