"""Stages that start at once: a process that has imported what they need and becomes a copy of itself for each command.

An experiment of six models is 23 processes, and each spends five seconds on importing torch. `warm(folder)` puts a
`python` into a folder; with it first on the PATH, `dvc repro` runs its stages as forks of one process that has done so.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IMPORTED = (
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "optuna.storages",
    "podium.core.vision",
    "great_expectations.checkpoint",
    "mlflow.pyfunc",
    "optuna.visualization",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "sklearn.linear_model",
    "sklearn.metrics",
    "skimage.exposure",
    "skimage.feature",
    "scipy.stats",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "alembic.command",
    "rich.table",
    "imagehash",
    "cv2",
)
_CLIENT = """#!{python} -IS
import json, os, select, signal, socket, sys
if sys.argv[1:2] != ["-m"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
parent = os.getppid()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(request)
    for number in (signal.SIGTERM, signal.SIGINT):  # what it is told, the fork is told
        signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
    while not select.select([server], [], [], 0.5)[0]:
        if os.getppid() != parent:  # a fork is no child of the dvc that is gone
            server.sendall(bytes([signal.SIGTERM]))
    sys.exit(int(server.recv(8) or 1))
"""


@contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """A folder with a `python` that answers `python -m MODULE ARGUMENTS` from a process that is warm already.

    What is given in another way, such as `python -c`, is run as always.

    Args:
        folder: to be made; its path must be short enough for a socket.

    Yields:
        The folder, for the PATH.
    """
    folder.mkdir()
    address, client = folder / "socket", folder / "python"
    client.write_text(_CLIENT.format(python=sys.executable, address=str(address)), encoding="utf-8")
    client.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, str(address)])
    try:
        while not address.exists():
            assert server.poll() is None, "the warm process ended"
            time.sleep(0.05)
        yield folder
    finally:
        server.kill()
        server.wait()


def _serve(address: str) -> None:
    """Imports what stages need; then, for ever, forks once a request, and answers with the exit code when it ends."""
    from podium.console.process import silence_telemetry

    silence_telemetry()
    for module in IMPORTED:
        __import__(module)
    gc.freeze()  # the forks share these objects, and need not look through them when they end
    clients: dict[int, socket.socket] = {}  # by the fork that does what they asked for
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            ready, _, _ = select.select([listening, *clients.values()], [], [], 0.02 if clients else None)
            for child in [child for child, client in clients.items() if client in ready]:
                told = clients[child].recv(1)
                os.kill(child, told[0] if told else signal.SIGKILL)  # a fork is killed with its client
            for child in list(clients):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    with clients.pop(child) as client, suppress(BrokenPipeError):
                        client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            if listening in ready:
                client, _ = listening.accept()
                clients[_start(client)] = client


def _start(client: socket.socket) -> int:
    """The fork that does what a client asks for."""
    head, files, _, _ = socket.recv_fds(client, 8, 3)
    request = _read(client, int.from_bytes(head, "little"))
    child = os.fork()
    if child == 0:
        _become(files, *json.loads(request))
    for file in files:
        os.close(file)
    return child


def _read(connection: socket.socket, length: int) -> bytes:
    """So many bytes, in as many pieces as they come."""
    parts = []
    while length:
        parts.append(connection.recv(min(length, 1 << 16)))
        length -= len(parts[-1])
    return b"".join(parts)


def _become(files: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Goes on as `python -m ...` in this process, a fork: what is raised ends it, as it ends any."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(folder)
    from podium.config.runtime import Runtime, instruction_settings

    # torch is loaded, so what it was loaded with stays
    kept = {name: os.environ[name] for name in instruction_settings(Runtime(instructions="avx2")) if name in os.environ}
    os.environ.clear()
    os.environ.update(environment | kept)
    sys.path[0:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "podium"]:
        if name != "podium.core.vision":  # what it tells torch cannot be told twice
            del sys.modules[name]  # the project brings its own
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve(sys.argv[1])
