"""Servers on loopback for tests: real ones in processes that are ended by pid, and handlers in a thread."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests

from benchmarks.scratch import Scratch

PROGRAMS = ("initdb", "postgres")


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Answers requests in threads until the block ends; yields the port."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield http.server_address[1]
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def free_port() -> int:
    """A port of the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    project: Scratch, command: list[str], health: str, log: Path, seconds: float = 180, **extra: str
) -> Iterator[str]:
    """Runs a server command (with `{port}` in it) until the block ends; yields its address."""
    port = free_port()
    with log.open("w") as output:
        server = subprocess.Popen(
            [part.format(port=port) for part in command],
            cwd=project.root,
            env={**project.environment, **extra},
            stdout=output,
            stderr=output,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(address + health, server, log, seconds)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(timeout=300)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server on loopback until the block ends; yields the URI of an empty database.

    Skips the test where PostgreSQL or the driver that SQLAlchemy takes is not installed.
    """
    psycopg = pytest.importorskip("psycopg")
    folders = [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]  # where Debian hides them
    places = os.pathsep.join([os.environ["PATH"], *folders])
    found = {name: path for name in PROGRAMS if (path := shutil.which(name, path=places))}
    if set(found) != set(PROGRAMS):
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with TemporaryDirectory(prefix="podium-") as folder:
        if user:
            shutil.chown(folder, user)
        make = [found["initdb"], "-D", f"{folder}/data", "-A", "trust", "-U", "podium", "--no-sync"]
        subprocess.run(make, cwd=folder, check=True, stdout=subprocess.DEVNULL, user=user)
        port = free_port()
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        run = [found["postgres"], "-D", f"{folder}/data", *(part for each in settings for part in ("-c", each))]
        server = subprocess.Popen(run, cwd=folder, stderr=subprocess.DEVNULL, user=user)
        try:
            address = f"postgresql://podium@127.0.0.1:{port}/postgres"
            for _ in range(300):
                try:
                    psycopg.connect(address).close()
                    break
                except psycopg.OperationalError:
                    assert server.poll() is None, "PostgreSQL ended"
                    time.sleep(0.1)
            yield address
        finally:
            server.send_signal(signal.SIGQUIT)  # at once, whoever is connected
            server.wait(timeout=300)


PASSWORDS = {user: f"a-password-of-{user}" for user in ("admin", "trainer", "ada", "bob")}


@contextmanager
def s3(*buckets: str) -> Iterator[dict[str, str]]:
    """moto's S3 on loopback with some buckets until the block ends; yields the variables that lead to it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        for bucket in buckets:
            boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=bucket)
        yield {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "NO_PROXY": "127.0.0.1",
        }
    finally:
        server.stop()


@contextmanager
def team_server(folder: Path, database: str) -> Iterator[str]:
    """`podium server` on loopback over a PostgreSQL database and moto's S3 until the block ends; yields its address.

    Args:
        folder: for its log.
        database: the URI of a PostgreSQL database.
    """
    with s3("mlflow") as settings:
        settings |= {
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts",
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS["admin"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "s" * 32,
            "MLFLOW_WORKERS": "1",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",  # a receiver on loopback, which MLflow tells nothing by default
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        }
        command = ["podium", "server", "--port", "{port}"]
        with serving(Scratch(folder), command, "/health", folder / "server.txt", 180, **settings) as address:
            for user in ("trainer", "ada", "bob"):
                made = requests.post(
                    f"{address}/api/2.0/mlflow/users/create",
                    json={"username": user, "password": PASSWORDS[user]},
                    auth=("admin", PASSWORDS["admin"]),
                    timeout=300,
                )
                assert made.ok, made.text
            yield address


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Returns once the server answers there.

    Raises:
        RuntimeError: it ended; the message holds the end of its log.
        TimeoutError: it does not answer in that time; likewise.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            if requests.get(url, timeout=5).ok:
                return
        except (requests.ConnectionError, requests.Timeout):  # not yet, or it listens and still loads
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {seconds} s:\n{log.read_text()[-2000:]}")
