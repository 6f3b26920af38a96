"""A local store is there with all its tables or not at all, whatever ended the process that made it."""

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic.runtime.migration import HeadMaintainer
from mlflow.store.db import utils as db_utils
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.tracking import local_store
from podium.tracking import store as stores
from podium.tracking.run_writer import RunWriter

KILLED = """
import os, signal, sys
from pathlib import Path
from alembic.runtime.migration import HeadMaintainer
HeadMaintainer.update_to_step = lambda self, step: os.kill(os.getpid(), signal.SIGKILL)
from podium.core.layout import Layout
from podium.tracking import store
store.open_client(Layout(Path(sys.argv[1])))
"""


def stop_before(patch: pytest.MonkeyPatch, number: int) -> None:
    """Interrupts MLflow before it notes that a step is done."""
    steps = itertools.count(1)
    original = HeadMaintainer.update_to_step

    def counted(self, step):
        if next(steps) == number:
            raise KeyboardInterrupt
        return original(self, step)

    patch.setattr(HeadMaintainer, "update_to_step", counted)


@pytest.fixture(scope="session")
def half_made(tmp_path_factory):
    """A store that MLflow itself made in its place, until it was interrupted."""
    path = tmp_path_factory.mktemp("half") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_before(patch, 20)
        _initialize_tables(create_sqlalchemy_engine(f"sqlite:///{path}"))
    return path


def age(path: Path) -> None:
    """As if nobody had touched it for a while."""
    then = time.time() - 60
    os.utime(path, (then, then))


def add_run(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO runs (run_uuid, name, user_id, status, lifecycle_stage, experiment_id, start_time) "
            "VALUES ('r', 'mine', 'me', 'FINISHED', 'active', 0, 1)"
        )


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("podium")]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_an_interruption_while_the_store_is_made_leaves_none_and_the_next_call_makes_it(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_before(patch, 20)
        stores.open_client(Layout(tmp_path))
    assert names(tmp_path) == [".podium"]
    stores.open_client(Layout(tmp_path))
    assert names(tmp_path) == [".podium", "mlflow.db"]
    assert said(caplog) == []


def test_a_process_killed_while_it_makes_the_store_leaves_none(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "mlflow.db").exists()
    stores.open_client(Layout(tmp_path))
    assert names(tmp_path) == [".podium", "mlflow.db"]


def test_a_store_left_half_made_that_holds_no_run_is_made_anew_with_a_notice(store, half_made, caplog):
    path = store.root / "mlflow.db"
    shutil.copyfile(half_made, path)
    age(path)
    client = stores.open_client(store)
    RunWriter(client, store, "sample").create("r", {}, "stages/train.py")
    assert "was never finished and held no run: it was made anew" in caplog.text
    assert (store.root / ".podium" / "mlflow.db.unfinished").is_file()
    caplog.clear()
    stores.open_client(store)
    assert said(caplog) == []


def test_an_empty_file_is_no_store(store):
    path = store.root / "mlflow.db"
    path.write_bytes(b"")
    age(path)
    assert stores.open_client(store).search_registered_models() == []


def test_a_store_left_half_made_that_holds_a_run_is_left_as_it_is(store, half_made):
    path = store.root / "mlflow.db"
    shutil.copyfile(half_made, path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE issues (id INTEGER)")  # what a step that was not noted had made
    add_run(path)
    age(path)
    before = path.read_bytes()
    with pytest.raises(TrackingError, match="holds runs, but its tables .* nothing was changed") as caught:
        stores.open_client(store)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_an_older_store_is_upgraded_on_a_copy_and_kept_as_it_was(store, half_made, caplog):
    path = store.root / "mlflow.db"
    shutil.copyfile(half_made, path)  # whole, as an MLflow of that time would have left it
    add_run(path)
    age(path)
    client = stores.open_client(store)
    assert client.get_run("r").info.run_name == "mine"
    assert "was upgraded to the present MLflow (as it was: .podium/mlflow-" in caplog.text
    (kept,) = (store.root / ".podium").glob("mlflow-*.db")
    assert kept.stat().st_size > 0


def test_a_file_that_is_no_database_is_one_line(store):
    path = store.root / "mlflow.db"
    path.write_bytes(b"this is not a database, whatever its name says\n" * 100)
    with pytest.raises(TrackingError, match="cannot be used .*move it away") as caught:
        stores.open_client(store)
    assert "\n" not in str(caught.value)
    assert path.read_bytes().startswith(b"this is not")


def test_a_store_of_a_newer_mlflow_is_left_as_it_is(store):
    path = store.root / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    add_run(path)
    age(path)
    with pytest.raises(TrackingError, match="its tables are of another MLflow .*Can't locate revision"):
        stores.open_client(store)


def test_one_that_mlflow_is_making_now_is_waited_for(tmp_path, monkeypatch, caplog):
    """As when `mlflow ui` was started by hand beside the first `dvc repro`."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(local_store, "QUIET_SECONDS", 120.0)  # however slow this machine is at the moment
    path = tmp_path / "mlflow.db"
    other = threading.Thread(target=_initialize_tables, args=[create_sqlalchemy_engine(f"sqlite:///{path}")])
    other.start()
    while not path.exists() or path.stat().st_size == 0:
        time.sleep(0.01)
    place = path.stat().st_ino
    stores.open_client(Layout(tmp_path))
    other.join()
    assert path.stat().st_ino == place
    assert said(caplog) == []


def test_one_that_was_finished_between_two_looks_is_kept(tmp_path, empty_store, monkeypatch, caplog):
    """It holds nothing yet and does not change any more, as one that was left half-made."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_store, path)
    age(path)
    looks = iter([False])  # at the first look, MLflow's last step was not done
    look = local_store._is_complete
    monkeypatch.setattr(local_store, "_is_complete", lambda path: next(looks, None) is None and look(path))
    place = path.stat().st_ino
    with local_store.complete_store(path):
        assert path.stat().st_ino == place
    assert said(caplog) == []


def test_two_that_make_it_at_once_make_it_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(db_utils, "_initialize_tables", lambda engine: made.append(_initialize_tables(engine)))

    def make():
        with local_store.complete_store(tmp_path / "mlflow.db"):
            pass

    both = [threading.Thread(target=make) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(made) == 1


def test_who_makes_it_first_keeps_it(tmp_path, empty_store, monkeypatch):
    """Another program puts a whole store there while ours is made beside it."""
    path = tmp_path / "mlflow.db"

    def slow(engine):
        shutil.copyfile(empty_store, path)

    local_store._make(path, slow)
    assert path.read_bytes() == empty_store.read_bytes()
    assert names(tmp_path) == ["mlflow.db"]
