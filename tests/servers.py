"""Real servers on loopback for tests: started, waited for, ended by pid."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.small_project import SmallProject


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    project: SmallProject, command: list[str], health: str, log: Path, seconds: float = 180, **extra: str
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
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {seconds} s:\n{log.read_text()[-2000:]}")
