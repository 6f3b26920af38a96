"""One publish at a time for a store and an experiment, one promotion at a time for a registered model.

A local store has a lock file, which dies with its process. A server, or a database, offers one thing that two clients
cannot both do: create a registered model of a name. So the lock is one, there for as long as the work takes, with its
owner in a tag. A thread shows every few seconds that the owner is alive. Whoever has seen no sign of life for a whole
lease, by its own clock, takes over: under a lock of its own that is named after the dead owner, so one does it, once.
"""

import getpass
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock

from podium.core.errors import TrackingError
from podium.core.files import sha256_text
from podium.core.layout import WORK
from podium.tracking import store
from podium.tracking.local_store import file_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE_SECONDS = 60.0
"""After this long without a sign of life, the lock of a killed process is taken over."""
BEAT_SECONDS = 10.0
PAUSE_SECONDS = 2.0
_OWNER, _BEAT = "podium.owner", "podium.beat."


def publishing(experiment: str) -> str:
    """The name of the lock that a publish holds."""
    return f"podium-lock-{experiment}"


def promoting(name: str) -> str:
    """The name of the lock that whoever appends to the record of a registered model holds."""
    return f"podium-promotion-{name}"


@contextmanager
def exclusive(client: "MlflowClient", uri: str, name: str, *, waits: bool = True) -> Iterator[Callable[[], None]]:
    """Holds a lock of a store while the block runs.

    Args:
        client: of the store.
        uri: of the store.
        name: what is locked.
        waits: for another's; one on a server is waited for in any case, since it may be a dead one's.

    Yields:
        A function that refuses to go on where the lock was lost; to be called before something is written.

    Raises:
        Timeout: a local lock is another's, and `waits` is false.
        TrackingError: the lock of a server was lost, since it did not answer for longer than the lease.
    """
    if not store.is_local(uri):
        with _StoreLock(client, uri, name).hold() as check:
            yield check
    elif file := file_of(uri):
        work = file.parent / WORK
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / f"{sha256_text(name)[:16]}.lock", blocking=waits):
            yield lambda: None
    else:  # in memory, of this process alone
        yield lambda: None


class _StoreLock:
    """A registered model that is a lock, and the one owner that this object stands for."""

    def __init__(self, client: "MlflowClient", uri: str, name: str) -> None:
        """Locks nothing yet."""
        self._client, self._uri, self._name = client, uri, name
        self._token = secrets.token_hex(8)
        self._beats = 0
        self._alive = 0.0
        self._ended = threading.Event()

    @contextmanager
    def hold(self) -> Iterator[Callable[[], None]]:
        """Waits for the lock, holds it while the block runs, and gives it back.

        Yields:
            A function that raises TrackingError where the lock was lost.
        """
        self._acquire()
        self._alive = time.monotonic()
        thread = threading.Thread(target=self._show_life, name=self._name, daemon=True)
        thread.start()
        try:
            yield self._check
        finally:
            self._ended.set()
            thread.join()
            if self._beat():  # else it is another's by now, or nobody's
                self._client.delete_registered_model(self._name)

    def _acquire(self) -> None:
        """Creates the lock, or takes over that of an owner who shows no life for a whole lease."""
        seen, since, told = None, 0.0, False
        while not self._create():
            found = self._read()
            if found is None or found != seen:
                seen, since = found, time.monotonic()
            elif found[0] == self._token or (
                time.monotonic() - since > LEASE_SECONDS and self._succeed(found)
            ):  # created, but the answer did not come through
                return
            if found is not None and not told:
                print(f"{self._name}: somebody else is at work in this store; waiting", flush=True)
                told = True
            time.sleep(PAUSE_SECONDS)

    def _create(self) -> bool:
        """Whether the lock is made now: there was none."""
        from mlflow.exceptions import MlflowException

        who = f"{getpass.getuser()} on {platform.node()}"
        about = f"{who} is at work; this goes away by itself, at the latest when another finds it too old."
        try:
            self._client.create_registered_model(self._name, tags={_OWNER: self._token}, description=about)
        except MlflowException as error:
            # the latter where it was there, and gone when the server looked for it to say so
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
            return False
        return True

    def _read(self) -> tuple[str, str] | None:
        """The owner and its last sign of life; None where there is no lock."""
        from mlflow.exceptions import MlflowException

        try:
            tags = self._client.get_registered_model(self._name).tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        owner = tags.get(_OWNER, "")
        return owner, tags.get(_BEAT + owner, "")

    def _succeed(self, dead: tuple[str, str]) -> bool:
        """Becomes the successor of an owner, unless it is alive after all or has one already."""
        with _StoreLock(self._client, self._uri, f"{self._name}-after-{sha256_text(dead[0])[:16]}").hold():
            if self._read() != dead:
                return False
            self._client.set_registered_model_tag(self._name, _OWNER, self._token)
            return True

    def _beat(self) -> bool:
        """Shows life; whether the lock is still this owner's."""
        now, self._beats = time.monotonic(), self._beats + 1
        with suppress(TrackingError), store.translate_errors(self._uri):
            self._client.set_registered_model_tag(self._name, _BEAT + self._token, str(self._beats))
            found = self._read()
            if found is not None and found[0] == self._token:
                self._alive = now
                return True
        return False

    def _show_life(self) -> None:
        """What the thread does until the block ends; one sign that does not come through is not the end."""
        while not self._ended.wait(BEAT_SECONDS):
            self._beat()

    def _check(self) -> None:
        if time.monotonic() - self._alive > 2 * BEAT_SECONDS and not self._beat():
            raise TrackingError(
                f"the lock {self._name} of MLflow at {store.public_uri(self._uri)} was lost, since the server did not "
                "answer for too long: run `dvc repro publish` again, which goes on where this ended"
            )
