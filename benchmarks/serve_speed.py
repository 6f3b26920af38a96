"""How fast `podium serve` answers: `python -m benchmarks.serve_speed [--minutes 10]`, where a version is at staging.

- Latency: the median of requests with one image, one after the other, against reading and judging the same files in
  this process, in turns.
- Throughput: images a second with 8 clients at once, in turns, against `mlflow models serve` of the same network logged
  with `mlflow.pytorch` (it is sent tensors in JSON that were prepared before, so it decodes nothing), and of the same
  version.
- Memory of the server, once a second under the load of 4 clients.
- `podium predict` on 300 images against a plain loop over the same files.

Each is also told in CPU-seconds of the processes (clients left out), which other programs on the machine hardly change.
Networks compute with one thread; the version behind `mlflow models serve` with as many as it was trained with.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch

from podium.cli.compare import load_model
from podium.cli.image_files import ImageFile
from podium.cli.predict import _answer_batches
from podium.config.params import load
from podium.core.layout import MANIFEST, Layout
from podium.data.augment.batch import normalise
from podium.data.manifest import PREPARED_COLUMNS, RAW_COLUMNS, RawImages, read_manifest
from podium.data.preprocess import read_image
from podium.registry.loading import LoadedModel
from podium.tracking.store import tracking_uri

MODEL = "staging"
IMAGES, ROUNDS, CALLS, SECONDS, FILES = 64, 5, 60, 5.0, 300
CLIENTS, LOADING, WARM = 8, 4, 10
LATENCY, THROUGHPUT, GROWTH = 1.5, 2.0, 1.05
Server = tuple[int, psutil.Process]
"""Port and process."""
Request = tuple[str, bytes, str]
"""Path, body, content type."""


def main() -> int:
    """Prints each measure with its target, and one JSON line; 1 where a target is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0, help="of load, for memory")
    minutes = parser.parse_args().minutes
    layout = Layout(Path.cwd())
    params = load(layout.params)
    loaded = load_model(layout, params, MODEL)
    torch.set_num_threads(1)
    files = _files(layout, IMAGES)
    print(f"load average {os.getloadavg()[0]:.1f} before", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = {"predict": _predict_speed(loaded, layout, Path(folder), params.resources.workers)}
        plain = _log_plain(loaded, Path(folder) / "plain")
        serve = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-h", "127.0.0.1"]
        podium = [sys.executable, "-c", "from podium.cli import main; main()", "serve", MODEL, "--threads", "1"]
        name = f"models:/{params.publish.registered_model}@{MODEL}"
        with (
            _running([*podium, "--port"], layout) as ours,
            _running([*serve, "-m", str(plain), "-p"], layout) as theirs,
            _running([*serve, "-m", name, "-p"], layout) as packaged,
        ):
            forms = [_form(data) for data in files]
            found["latency"] = _latency(loaded, files, ours, forms)
            sides = {
                "podium serve": (ours, forms),
                "mlflow.pytorch": (theirs, [_tensor(loaded, data) for data in files]),
                "the version": (packaged, [_base64(data) for data in files]),
            }
            found["throughput"] = _throughput(sides)
            found["memory"] = _memory(ours[0], forms, minutes)
    print(f"load average {os.getloadavg()[0]:.1f} after")
    print(json.dumps(found))
    met = [found["latency"]["ratio"] <= LATENCY, found["throughput"]["ratio"] >= THROUGHPUT]
    return 0 if all([*met, found["memory"]["ratio"] <= GROWTH]) else 1


def _latency(loaded: LoadedModel, files: list[bytes], server: Server, requests: list[Request]) -> dict[str, float]:
    """Medians of one image at a time, here and over HTTP, in turns; the middle round by their ratio."""
    preprocessing = loaded.classifier.card.preprocessing

    def here(n: int) -> object:
        return loaded.probabilities(read_image(files[n % IMAGES], preprocessing).pixels[None], 1)

    port, process = server
    rounds, spent = [], [0.0, 0.0]
    for _ in range(ROUNDS):
        connection = http.client.HTTPConnection("127.0.0.1", port)  # the server ends one that was idle
        before = [time.process_time(), _cpu(process)]
        own = _median(here)
        spent[0] += time.process_time() - before[0]
        over = _median(partial(_ask_nth, connection, requests))
        spent[1] += _cpu(process) - before[1]
        rounds.append((over / own, own, over))
    ratio, own, over = sorted(rounds)[ROUNDS // 2]
    print(f"one image: {1000 * own:.2f} ms here, {1000 * over:.2f} ms over HTTP: {ratio:.2f} times (target {LATENCY})")
    here_cpu, http_cpu = (1000 * each / ROUNDS / (CALLS + WARM) for each in spent)
    print(
        f"  CPU: {here_cpu:.2f} ms here, {http_cpu:.2f} ms of the server: {http_cpu / here_cpu:.2f} times", flush=True
    )
    return {"here_ms": 1000 * own, "http_ms": 1000 * over, "ratio": ratio, "cpu_ratio": http_cpu / here_cpu}


def _throughput(sides: dict[str, tuple[Server, list[Request]]]) -> dict[str, float]:
    """Images a second of each server with all clients, in turns; the ratio is that of the medians."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, ((port, process), requests) in sides.items():
            before = _cpu(process)
            answered = _load(port, requests, CLIENTS, SECONDS)
            rates[name].append(answered / SECONDS)
            spent[name].append(1000 * (_cpu(process) - before) / answered)
    medians = {name: statistics.median(each) for name, each in rates.items()}
    ratio = medians["podium serve"] / medians["mlflow.pytorch"]
    print("images/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in medians.items()), end="")
    print(f": {ratio:.1f} times (target {THROUGHPUT:g})", flush=True)
    costs = {name: statistics.median(each) for name, each in spent.items()}
    print("  CPU ms an image: " + ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items()), end="")
    print(f": {costs['mlflow.pytorch'] / costs['podium serve']:.1f} times", flush=True)
    return {**medians, "ratio": ratio, **{f"{name}, CPU ms": cost for name, cost in costs.items()}}


def _memory(port: int, requests: list[Request], minutes: float) -> dict[str, float]:
    """MiB of the server: the medians of the first and the last fifth of the minutes, after half a minute of load."""
    _load(port, requests, LOADING, 30)
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
                lines = reply.read().decode().splitlines()
            (line,) = (line for line in lines if line.startswith("process_resident_memory_bytes"))
            seen.append(float(line.split()[1]) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answered = _load(port, requests, LOADING, 60 * minutes)
    done.set()
    watcher.join()
    fifth = max(1, len(seen) // 5)
    first, last = statistics.median(seen[:fifth]), statistics.median(seen[-fifth:])
    print(f"memory: {first:.0f} MiB, after {minutes:g} min and {answered:,} images {last:.0f} MiB", end="")
    print(f": {last / first:.3f} times (target {GROWTH})", flush=True)
    return {"first_mib": first, "last_mib": last, "minutes": minutes, "images": answered, "ratio": last / first}


def _predict_speed(loaded: LoadedModel, layout: Layout, folder: Path, workers: int) -> dict[str, float]:
    """Images a second of `podium predict` and of a loop that reads and judges one file after the other, in turns."""
    places = []
    for number, data in enumerate(_files(layout, FILES)):
        places.append(folder / f"{number:04d}.jpg")
        places[-1].write_bytes(data)
    files = [ImageFile(place.name, place) for place in places]
    preprocessing = loaded.classifier.card.preprocessing
    rates = []
    for n in range(3):
        start = time.perf_counter()
        _answer_batches(loaded, files, 1, folder / f"parts-{n}", workers, maps=None)
        middle = time.perf_counter()
        for place in places:
            loaded.probabilities(read_image(place.read_bytes(), preprocessing).pixels[None], 1)
        rates.append((len(places) / (middle - start), len(places) / (time.perf_counter() - middle)))
    ours, plain = (statistics.median(each) for each in zip(*rates, strict=True))
    print(f"podium predict: {ours:.0f} images/s, a plain loop {plain:.0f}: {ours / plain:.1f} times", flush=True)
    return {"podium": ours, "plain": plain, "ratio": ours / plain}


def _cpu(process: psutil.Process) -> float:
    """CPU-seconds of a process and of those it started, so far."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _median(call: Callable[[int], object]) -> float:
    """Seconds of a call, after some that do not count."""
    seconds = []
    for n in range(CALLS + WARM):
        start = time.perf_counter()
        call(n)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM:])


def _load(port: int, requests: list[Request], clients: int, seconds: float) -> int:
    """How many requests were answered while so many clients asked one after the other for so long."""
    end = time.perf_counter() + seconds
    counts = [0] * clients

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < end:
            _ask(connection, requests[(number * 7 + counts[number]) % len(requests)])
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _ask_nth(connection: http.client.HTTPConnection, requests: list[Request], n: int) -> bytes:
    """The answer to one of some requests."""
    return _ask(connection, requests[n % len(requests)])


def _ask(connection: http.client.HTTPConnection, request: Request) -> bytes:
    """The answer to a request, which must be a good one."""
    path, body, kind = request
    connection.request("POST", path, body, {"Content-Type": kind})
    reply = connection.getresponse()
    said = reply.read()
    if reply.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{path}: {reply.status} {said[:300]!r}")
    return said


def _form(data: bytes) -> Request:
    """An image file for `/predict`."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return "/predict", head + data + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def _base64(data: bytes) -> Request:
    """An image file in MLflow's protocol."""
    import base64

    document = {"dataframe_split": {"columns": ["image"], "data": [[base64.b64encode(data).decode()]]}}
    return "/invocations", json.dumps(document).encode(), "application/json"


def _tensor(loaded: LoadedModel, data: bytes) -> Request:
    """An image as the network takes it, in MLflow's protocol, with four digits."""
    card = loaded.classifier.card
    x = normalise(read_image(data, card.preprocessing).pixels[None].copy(), card.mean, card.std)
    numbers = [[[[round(v, 4) for v in row] for row in plane] for plane in image] for image in x.tolist()]
    return "/invocations", json.dumps({"inputs": numbers}, separators=(",", ":")).encode(), "application/json"


def _log_plain(loaded: LoadedModel, place: Path) -> Path:
    """The network as `mlflow.pytorch` saves it by default."""
    import mlflow.pytorch

    side = loaded.classifier.card.preprocessing.image_size
    example = np.zeros((2, 3, side, side), np.float32)
    with torch.inference_mode(False):
        mlflow.pytorch.save_model(loaded.classifier.module, str(place), input_example=example, pip_requirements=[])
    return place


def _files(layout: Layout, count: int) -> list[bytes]:
    """The first images of the project that can be read."""
    raw, images = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS), RawImages(layout.raw)
    readable = read_manifest(layout.manifest, PREPARED_COLUMNS)["image_id"]
    rows = raw[raw["image_id"].isin(readable)].head(count).to_dict("records")
    return [images.read(row["shard"], row["photo_id"]) for row in rows]


@contextmanager
def _running(command: list[str], layout: Layout) -> Iterator[Server]:
    """A server; its port is put at the end of the command, and both are yielded once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(layout), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([*command, str(port)], stdout=log, stderr=log, env=environment)
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                    break
                except OSError:
                    if server.poll() is not None:
                        log.seek(0)
                        raise RuntimeError(log.read().decode()[-2000:]) from None
                    time.sleep(0.2)
            yield port, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
