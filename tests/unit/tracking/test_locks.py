"""One at a time, whoever is killed, silent or late: the lock of a store that is an MLflow server or a database."""

import signal
import subprocess
import sys
import threading
import time

import pytest
from mlflow import MlflowClient

from benchmarks.scratch import Scratch
from podium.tracking import locks, store
from tests.servers import postgresql, serving

NAME = "podium-lock-sample"
LEASE = 4.0


@pytest.fixture(scope="module", params=["server", "postgresql"])
def uri(request, tmp_path_factory, empty_store):
    """An MLflow server on loopback over SQLite, and a PostgreSQL database that clients write to themselves."""
    if request.param == "postgresql":
        with postgresql() as address:
            store._make_tables(address)
            yield address
        return
    root = tmp_path_factory.mktemp("server")
    (root / "mlflow.db").write_bytes(empty_store.read_bytes())
    database = f"sqlite:///{root}/mlflow.db"
    command = ["mlflow", "server", "--backend-store-uri", database, "--port", "{port}", "--workers", "1"]
    with serving(Scratch(root), command, "/health", root / "log.txt") as address:
        yield address


@pytest.fixture
def client(uri, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", LEASE)
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.05)
    return MlflowClient(uri, uri)


class Work:
    """What must not be done twice at once."""

    def __init__(self, client, uri):
        self.client, self.uri, self.inside, self.most, self.done = client, uri, 0, 0, []

    def __call__(self, who):
        with store.translate_errors(self.uri), locks.exclusive(self.client, self.uri, NAME) as check:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.1)
            check()
            self.inside -= 1
            self.done.append(who)

    def by(self, number):
        threads = [threading.Thread(target=self, args=(who,)) for who in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)


def hold_in_another_process(uri):
    """A process that holds the lock until it is killed."""
    code = f"""
from podium.tracking import locks
from mlflow import MlflowClient
import time
locks.BEAT_SECONDS = 0.2
with locks.exclusive(MlflowClient({uri!r}, {uri!r}), {uri!r}, {NAME!r}) as check:
    print("held", flush=True)
    while True:
        time.sleep(0.05)
        check()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_one_is_at_work_at_a_time_and_nothing_is_left(client, uri, capsys):
    work = Work(client, uri)
    work.by(4)
    assert (work.most, sorted(work.done)) == (1, [0, 1, 2, 3])
    assert f"{NAME}: somebody else is at work in this store; waiting" in capsys.readouterr().out
    assert client.search_registered_models() == []


def test_the_lock_of_a_killed_process_is_taken_over_once_after_its_lease(client, uri):
    with hold_in_another_process(uri) as holder:
        waited, work = threading.Event(), Work(client, uri)
        rivals = threading.Thread(target=lambda: (work.by(4), waited.set()))
        rivals.start()
        time.sleep(1.5 * LEASE)
        assert work.done == []  # it lives, however long it takes
        holder.kill()
        killed = time.monotonic()
    assert waited.wait(600)
    assert time.monotonic() - killed > LEASE
    assert (work.most, sorted(work.done)) == (1, [0, 1, 2, 3])
    assert client.search_registered_models() == []


def test_an_owner_that_was_silent_for_too_long_stops_and_leaves_its_successor_s_lock_alone(client, uri):
    with hold_in_another_process(uri) as holder:
        holder.send_signal(signal.SIGSTOP)  # as a machine that sleeps
        with locks.exclusive(client, uri, NAME) as check:
            holder.send_signal(signal.SIGCONT)
            said = holder.communicate(timeout=600)[1]
            check()
            assert [model.name for model in client.search_registered_models()] == [NAME]
    assert "was lost, since the server did not answer for too long: run `dvc repro publish` again" in said
    assert client.search_registered_models() == []
