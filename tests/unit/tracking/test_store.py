"""Opening the store: what is tried again, and what is said of a store that cannot be opened."""

import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import pytest

from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.tracking import store as stores
from podium.tracking.local_store import file_of
from podium.tracking.run_writer import RunWriter


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        """Keeps the terminal quiet."""


@pytest.fixture
def late(monkeypatch):
    """A server that starts while the second pause lasts; the pauses themselves take no time here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    paused, servers = [], []

    def pause(seconds):
        paused.append(seconds)
        if len(paused) == 2:
            servers.append(HTTPServer(("127.0.0.1", port), Answer))
            threading.Thread(target=servers[0].serve_forever, kwargs={"poll_interval": 0.05}).start()

    monkeypatch.setattr(stores, "sleep", pause)
    yield paused
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_server_that_starts_late_is_reached_with_pauses(store, late):
    assert stores.open_client(store, stores.PAUSES).tracking_uri.startswith("http://127.0.0.1:")
    assert late == [1.0, 2.0]


def test_a_proxy_on_the_way_is_named_with_the_way_around_it(store, late, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(TrackingError, match=r"proxy http://127\.0\.0\.1:9; put 127\.0\.0\.1 into NO_PROXY"):
        stores.open_client(store)


def test_without_pauses_there_is_a_single_try(store, late):
    with pytest.raises(TrackingError, match="cannot be reached: start it"):
        stores.open_client(store)
    assert late == []


class OnlyHead(Answer):
    """Answers what it need not think about, and hangs where it would have to look something up."""

    def do_HEAD(self):
        Answer.do_GET(self)

    def do_GET(self):
        self.server.released.wait(600)


def test_a_server_that_answers_and_then_hangs_is_told_within_seconds(store, monkeypatch):
    monkeypatch.setattr(stores, "PROBE_SECONDS", 0.3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), OnlyHead)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_address[1]}")
    begun = time.monotonic()
    try:
        with pytest.raises(TrackingError, match="cannot be reached: start it"):
            stores.open_client(store)
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert time.monotonic() - begun < 300


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mysql://me:secret@127.0.0.1/x", r"mysql://127.0.0.1/x needs a library .* install it with pip, or"),
        ("ftp://me:secret@127.0.0.1/x", r"'ftp://127.0.0.1/x' is no store Podium can use: give a server"),
        ("file:///tmp/runs", "is no store Podium can use: give a server"),
    ],
)
def test_a_store_that_cannot_be_opened_is_said_in_one_line_with_a_remedy(store, monkeypatch, uri, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=message) as caught:
        stores.open_client(store)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KB, less than a store needs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # SQLAlchemy keeps the file open


def test_a_store_on_a_full_disk_is_one_line_and_is_made_once_there_is_room(small_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{small_disk}/mlflow.db")
    with pytest.raises(TrackingError, match=r"no space left on the device while writing .*/disk/mlflow.db: free some"):
        stores.open_client(Layout(tmp_path))
    assert [path.name for path in small_disk.iterdir()] == [".podium"]  # with the lock
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert stores.open_client(Layout(tmp_path)).search_experiments() != []


def test_a_relative_store_is_taken_from_the_root_with_a_notice(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    assert stores.tracking_uri(Layout(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert capsys.readouterr().err == ""
    monkeypatch.chdir(tmp_path / "below")
    assert stores.tracking_uri(Layout(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert stores.tracking_uri(Layout(tmp_path)).endswith("mlflow.db")
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(f"is relative: it is taken from the project's root, {tmp_path}/mlflow.db")


@pytest.mark.parametrize("name", ["a%2Fb", "what?", "a#b c", "100% 과일"])
def test_a_project_may_lie_below_any_path(tmp_path, empty_store, monkeypatch, name):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    layout = Layout(tmp_path / name)
    layout.root.mkdir()
    shutil.copyfile(empty_store, layout.root / "mlflow.db")
    assert file_of(stores.tracking_uri(layout)) == layout.root / "mlflow.db"
    client = stores.open_client(layout)
    run_id = RunWriter(client, layout, "sample").create("r", {}, "stages/train.py")
    client.log_text(run_id, "x", "note.txt")
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    note = f"{name}/mlruns/sample/{run_id}/artifacts/note.txt"
    assert made - {f"{name}/.podium/mlflow.db.lock"} == {f"{name}/mlflow.db", note}
