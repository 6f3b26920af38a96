"""`podium serve` over HTTP: what it answers, what it refuses, and which version it is."""

import base64
import contextlib
import io
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import requests
import uvicorn
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from podium.config.params import load
from podium.core.errors import ModelError, TrackingError
from podium.core.layout import Layout
from podium.registry.loading import load_version
from podium.registry.predictor import ImageClassifier
from podium.registry.read_only import find_registered
from podium.serving.app import make_app
from podium.serving.prediction_log import read_log
from podium.serving.service import Limits, Service, Threads
from tests.data import hard_images
from tests.unit.conftest import CLASSES, MLFLOW_SETTINGS
from tests.unit.registry.promotions import NAME, gathered, hold_staging, register

SMALL = Limits(request_bytes=2**20, image_bytes=200_000, pixels=250_000, images=8, requests=6, seconds=20)
NO_LEAK = ("Traceback", "/tmp", "site-packages", "podium/", ".py")
JSON = {"Content-Type": "application/json"}


def picture(seed, size=(48, 40)):
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def text(data):
    return base64.b64encode(data).decode()


@dataclass
class Server:
    """A running server: its address, the service behind it, and what its registry would give next."""

    address: str
    service: Service
    next: list

    def post(self, path, **named):
        return requests.post(f"{self.address}{path}", timeout=300, **named)

    def get(self, path):
        return requests.get(f"{self.address}{path}", timeout=300)

    def metrics(self):
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


@contextlib.contextmanager
def running(service, coming=()):
    server = uvicorn.Server(uvicorn.Config(make_app(service), port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Server(f"http://127.0.0.1:{port}", service, coming)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def project(finished_project, empty_store, tmp_path_factory):
    """A finished experiment with two registered versions, the first at staging."""
    root = tmp_path_factory.mktemp("served")
    shutil.copytree(finished_project, root, dirs_exist_ok=True)
    shutil.copyfile(empty_store, root / "mlflow.db")
    layout = Layout(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_SETTINGS:
            patch.delenv(name, raising=False)
        params = load(layout.params)
        for model in ("tiny_resnet", "tiny_convnext"):
            register(layout, gathered(layout, params, root / "gathered" / model, model))
        hold_staging(layout, "1")
        yield layout


def loaded(layout, number):
    registered = find_registered(layout, NAME)
    (version,) = (one for one in registered.versions if one.version == number)
    return load_version(layout, registered, version, number, ask_golden=True)


@pytest.fixture(scope="module")
def server(project):
    with running(Service(NAME, loaded(project, "1"), SMALL, Threads.start(2))) as server:
        yield server


@pytest.fixture(scope="module")
def packaged(project):
    """What the package says by itself, as `mlflow models serve` runs it."""
    folder, model = project.root / "packages" / "1" / "artifacts", ImageClassifier()
    places = {"weights": str(folder / "weights.safetensors"), "metrics": str(folder / "metrics.json")}
    model.load_context(SimpleNamespace(artifacts=places))
    return lambda images: model.predict(None, pd.DataFrame({"image": images}))


# --- what is answered ------------------------------------------------------------------------------------------------


def test_files_and_base64_get_the_answers_of_the_package(server, packaged, project):
    images = [picture(seed) for seed in range(4)]
    wanted = packaged(images)
    files = [("image", (f"{n} 사과.png", data)) for n, data in enumerate(images)]
    texts = [text(images[0]), f"data:image/png;base64,{text(images[1])}", *map(text, images[2:])]
    by_file = server.post("/predict?top_k=2", files=files)
    by_text = server.post("/predict?top_k=2", json={"images": texts})
    for answer, names in ((by_file, [f"{n} 사과.png" for n in range(4)]), (by_text, ["0", "1", "2", "3"])):
        assert answer.status_code == 200
        said = answer.json()
        assert (said["name"], said["version"], said["model"]) == (NAME, "1", "tiny_resnet")
        rows = said["predictions"]
        assert [row["image"] for row in rows] == names
        assert [row["label"] for row in rows] == wanted["label"].tolist()
        assert np.allclose([row["score"] for row in rows], wanted["score"], atol=1e-5)
        shares = -np.sort(-wanted[[f"p_{name}" for name in CLASSES]].to_numpy())
        assert np.allclose([[one["score"] for one in row["top_k"]] for row in rows], shares[:, :2], atol=1e-5)
        assert all(row["top_k"][0]["label"] == row["label"] for row in rows)
        threshold = loaded(project, "1").threshold
        assert [row["abstained"] for row in rows] == [row["score"] < threshold for row in rows]
    assert len(server.post("/predict?top_k=99", files=files).json()["predictions"][0]["top_k"]) == 3


def test_mlflows_protocol_gets_the_answers_of_the_package(server, packaged):
    images = [picture(seed) for seed in range(3)]
    wanted = packaged(images)
    rows = [[text(data)] for data in images]
    documents = [
        {"dataframe_split": {"columns": ["image"], "data": rows}},
        {"dataframe_records": [{"image": row[0]} for row in rows]},
        {"inputs": {"image": [row[0] for row in rows]}},
    ]
    answers = [server.post("/invocations", json=document) for document in documents]
    table = pd.DataFrame({"image": [row[0] for row in rows]}).to_csv(index=False)
    answers.append(server.post("/invocations", data=table, headers={"Content-Type": "text/csv; charset=utf-8"}))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = pd.DataFrame(answer.json()["predictions"])
        assert found["label"].tolist() == wanted["label"].tolist()
        assert list(found) == list(wanted)
        assert np.allclose(found.iloc[:, 1:], wanted.iloc[:, 1:], atol=1e-6)
    none = server.post("/invocations", json={"dataframe_split": {"columns": ["image"], "data": []}})
    assert none.json() == {"predictions": []}
    assert (server.get("/ping").text, server.get("/ping").status_code) == ("\n", 200)
    assert server.get("/version").text == __import__("mlflow").__version__


def test_who_asks_at_the_same_time_changes_an_answer_by_rounding_only(server):
    images = [picture(seed) for seed in range(6)]

    def ask(seed):
        return [row["score"] for row in server.post("/predict", files=[("i", images[seed])]).json()["predictions"]]

    alone = [ask(seed) for seed in range(6)]
    before = server.metrics()
    with ThreadPoolExecutor(6) as clients:
        together = [list(clients.map(ask, range(6))) for _ in range(5)]
    after = server.metrics()
    assert all(np.allclose(each, alone, atol=2e-6) for each in together)
    passes = after[("podium_images_together_count",)] - before[("podium_images_together_count",)]
    assert after[("podium_images_together_sum",)] - before[("podium_images_together_sum",)] == 30
    assert passes < 30, "nobody was judged together with another"


def test_an_explanation_is_a_picture_of_the_square_the_model_sees(server):
    answer = server.post("/explain", files={"image": picture(0)})
    (row,) = answer.json()["predictions"]
    kind, _, data = row["heat_map"].partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (32, 32) and image.mode == "RGB"
    refused = server.post("/explain", files=[("a", picture(0)), ("b", picture(1))])
    assert refused.status_code == 400 and "one at a time" in refused.json()["error"]
    assert server.post("/explain", files={"image": b"no image"}).status_code == 400


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", hard_images.UNREADABLE, ids=lambda hard: hard.name)
def test_an_unreadable_image_is_one_sentence(server, hard):
    data = hard.make()
    for answer in (
        server.post("/predict", files={"image": ("photo.jpg", data)}),
        server.post("/predict", json={"images": [text(data)]}),
        server.post("/invocations", json={"dataframe_records": [{"image": text(data)}]}),
    ):
        assert answer.status_code == 400
        said = answer.json()
        message = said.get("error") or said["message"]
        assert hard.reason in message and "\n" not in message
        assert not any(leak in answer.text for leak in NO_LEAK)


@pytest.mark.parametrize("hard", hard_images.READABLE, ids=lambda hard: hard.name)
def test_a_hard_image_is_answered(server, hard):
    answer = server.post("/predict", files={"image": hard.make()})
    assert answer.status_code == 200 and answer.json()["predictions"][0]["label"] in CLASSES


def test_one_bad_image_among_good_ones_spoils_nothing(server):
    answer = server.post("/predict", files=[("a", picture(0)), ("b", b"no image"), ("c", picture(1))])
    assert answer.status_code == 200
    assert ["error" in row for row in answer.json()["predictions"]] == [False, True, False]
    row = server.post("/invocations", json={"inputs": {"image": [text(picture(0)), text(b"no image")]}})
    assert row.status_code == 400
    assert row.json()["message"].startswith("row 1: not an image: unreadable")


def form(*bodies, kind='form-data; name="image"; filename="a.png"'):
    parts = [f"--x\r\nContent-Disposition: {kind}\r\n\r\n".encode() + body + b"\r\n" for body in bodies]
    return b"".join(parts) + b"--x--\r\n"


def flat(size):
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
BAD_REQUESTS = {
    "no body": (400, "is no JSON", b"", JSON),
    "no JSON": (400, "is no JSON", b"image=photo.jpg", JSON),
    "cut JSON": (400, "is no JSON", b'{"images": ["', JSON),
    "deep JSON": (400, "is no JSON", b"[" * 100_000, JSON),
    "a huge number": (400, "is no JSON", b"9" * 5_000, JSON),
    "not UTF-8": (400, "is no JSON", b'{"images": ["\xff"]}', JSON),
    "a list": (400, "no JSON object", b"[]", JSON),
    "another key": (400, "the JSON is not", b'{"image": ["x"]}', JSON),
    "one key more": (400, "the JSON is not", b'{"images": ["x"], "model": "2"}', JSON),
    "no list": (400, "the JSON is not", b'{"images": "x"}', JSON),
    "no image": (400, "no image is given", b'{"images": []}', JSON),
    "no text": (400, "int given, base64", b'{"images": [3]}', JSON),
    "no base64": (400, "is not base64 text", b'{"images": ["photo.jpg"]}', JSON),
    "a web page as data:": (400, "a web page (HTML)", b'{"images": ["data:text/html;base64,PGh0bWw+"]}', JSON),
    "a data: without base64": (400, "is not base64", b'{"images": ["data:image/svg+xml,%3Csvg/%3E"]}', JSON),
    "a data: of nothing": (400, "the file is empty", b'{"images": ["data:"]}', JSON),
    "an address": (400, "is not base64", b'{"images": ["http://127.0.0.1/a.png"]}', JSON),
    "a path": (400, "is not base64", b'{"images": ["../../etc/passwd"]}', JSON),
    "no type": (415, "is not taken", b"x", {}),
    "another type": (415, "is not taken", b"x", {"Content-Type": "image/png"}),
    "a form without boundary": (400, "boundary", b"x", {"Content-Type": "multipart/form-data"}),
    "no form": (400, "the form was cut off", b"", FORM),
    "an empty form": (400, "no image is given", b"--x--\r\n", FORM),
    "a cut form": (400, "the form was cut off", form(picture(0))[:90], FORM),
    "a form of another boundary": (400, "cannot be read", form(picture(0)).replace(b"--x", b"--y"), FORM),
    "a field without a name": (400, "cannot be read", form(b"x", kind="form-data"), FORM),
    "a text field": (400, "is no file", form(b"x", kind='form-data; name="image"'), FORM),
    "an empty file": (400, "the file is empty", form(b""), FORM),
    "too many images": (413, "more than the 8 allowed", json.dumps({"images": ["x"] * 9}).encode(), JSON),
    "far too many": (413, "more than the 8 allowed", form(*[b"x"] * 9), FORM),
    "a large request": (413, "allowed in a request", b" " * (2**20 + 1), JSON),
    "a large form": (413, "allowed in a request", form(bytes(2**20)), FORM),
    "a large file": (400, "than the 200,000 bytes", form(bytes(200_001)), FORM),
    "a large base64": (400, "than the 200,000 bytes", json.dumps({"images": ["A" * 400_001]}).encode(), JSON),
    "hundreds of images": (400, "Too many files", form(*[b"x"] * 500), FORM),
    "many pixels": (400, "pixels are more than", form(flat((501, 500))), FORM),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_one_sentence(server, case):
    status, message, body, headers = BAD_REQUESTS[case]
    answer = server.post("/predict", data=body, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert message in error and "\n" not in error and len(error) < 400
    assert not any(leak in answer.text for leak in NO_LEAK)


SCORED = {
    "no JSON": (400, "is no JSON", b"{", JSON),
    "a list": (400, "no JSON object", b"[]", JSON),
    "no known key": (400, "exactly one of the input fields", b'{"images": []}', JSON),
    "another column": (400, "Model is missing inputs ['image']", b'{"inputs": {"img": ["x"]}}', JSON),
    "another form": (400, "", b'{"dataframe_split": {"columns": ["image"], "data": [[["x"]]]}}', JSON),
    "no table": (400, "", b'{"dataframe_split": 7}', JSON),
    "null": (400, "row 0: not an image", b'{"dataframe_records": [{"image": ""}]}', JSON),
    "too many": (
        400,
        "9 images are more than the 8",
        b'{"inputs": {"image": %s}}' % json.dumps(["x"] * 9).encode(),
        JSON,
    ),
    "no CSV": (400, "", b'image\n"x', {"Content-Type": "text/csv"}),
    "Parquet": (415, "is not taken", b"PAR1", {"Content-Type": "application/vnd.apache.parquet"}),
    "too large": (413, "allowed in a request", b" " * (2**20 + 1), JSON),
}


@pytest.mark.parametrize("case", SCORED)
def test_a_bad_request_to_mlflows_protocol_is_short_and_without_a_stack_trace(server, case):
    status, message, body, headers = SCORED[case]
    answer = server.post("/invocations", data=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert message in answer.text and len(answer.text) < 500
    assert "stack_trace" not in answer.json() and not any(leak in answer.text for leak in NO_LEAK)


def test_other_addresses_and_methods_are_refused_in_json(server):
    assert server.get("/predict").status_code == 405 and "error" in server.get("/predict").json()
    assert server.get("/nowhere").status_code == 404 and "error" in server.get("/nowhere").json()
    for bad in ("0", "-1", "x", "1.5", "", "9" * 40):
        refused = server.post(f"/predict?top_k={bad}", files={"image": picture(0)})
        assert refused.status_code == 400 and "whole number" in refused.json()["error"]


@pytest.fixture
def blocked(server):
    """The thread that asks the network is kept busy until the test lets it go."""
    go = threading.Event()
    server.service.threads.asking.submit(go.wait)
    yield go
    go.set()


def test_more_requests_than_allowed_are_told_to_come_back(server, blocked):
    with ThreadPoolExecutor(SMALL.requests) as clients:
        waiting = [clients.submit(server.post, "/predict", files={"i": picture(n)}) for n in range(SMALL.requests)]
        while server.get("/ready").status_code == 200:
            pass
        refused = server.post("/predict", files={"image": picture(9)})
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "1"
        assert "6 requests are being answered" in refused.json()["error"]
        assert server.get("/health").status_code == 200
        blocked.set()
        assert {each.result().status_code for each in waiting} == {200}
    assert server.get("/ready").status_code == 200


def test_an_answer_that_takes_too_long_is_given_up_and_the_next_is_right(project):
    limits = SMALL.model_copy(update={"seconds": 0.3})
    with running(Service(NAME, loaded(project, "1"), limits, Threads.start(1))) as server:
        right = server.post("/predict", files={"image": picture(0)}).json()
        go = threading.Event()
        server.service.threads.asking.submit(go.wait)
        late = server.post("/predict", files={"image": picture(1)})
        assert late.status_code == 503 and "no answer within 0.3 s" in late.json()["error"]
        go.set()
        assert server.post("/predict", files={"image": picture(0)}).json() == right


def test_a_request_that_never_ends_is_given_up(project):
    import socket

    limits = SMALL.model_copy(update={"seconds": 0.3})
    with running(Service(NAME, loaded(project, "1"), limits, Threads.start(1))) as server:
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 503")


# --- which version ---------------------------------------------------------------------------------------------------


def test_it_follows_the_alias_and_stays_with_the_old_version_when_the_next_is_bad(project):
    coming = [None]

    def newer(now):
        found = coming[0]
        if isinstance(found, Exception):
            raise found
        return found if found is not None and found.version != now else None

    service = Service(NAME, loaded(project, "1"), SMALL, Threads.start(2), newer=newer, poll_seconds=0.01)
    with running(service) as server:

        def version():
            return server.post("/predict", files={"image": picture(0)}).json()["version"]

        def until(true):
            while not true():
                pass

        assert server.get("/health").json() == {
            "status": "ok",
            "follows": True,
            "name": NAME,
            "version": "1",
            "model": "tiny_resnet",
        }
        coming[0] = loaded(project, "2")
        until(lambda: version() == "2")
        assert server.get("/health").json()["model"] == "tiny_convnext"
        for error in (ModelError("golden batch"), TrackingError("no answer"), OSError("gone")):
            coming[0] = error
            until(lambda: server.get("/health").json()["status"] == "behind")
            assert version() == "2"
            assert server.metrics()[("podium_behind",)] == 1
            coming[0] = None
            until(lambda: server.get("/health").json()["status"] == "ok")
        metrics = server.metrics()
        assert metrics[("podium_follow_failures_total",)] >= 3 and metrics[("podium_behind",)] == 0
        named = {"name": NAME, "version": "2", "model": "tiny_convnext"}
        assert metrics[("podium_version", *sorted(named.items()))] == 1
        assert sum(key[0] == "podium_version" for key in metrics) == 1


def test_a_version_that_answers_its_golden_batch_otherwise_is_not_loaded(project, monkeypatch):
    monkeypatch.setattr("podium.registry.predictor.golden_difference", lambda classifier, golden: 0.5)
    with pytest.raises(ModelError, match="version 1 answers its golden batch otherwise"):
        loaded(project, "1")


def test_metrics_count_what_was_asked(server):
    before = server.metrics()
    server.post("/predict", files=[("a", picture(0)), ("b", b"no image")])
    server.post("/predict", files={"a": b"no image"})
    after = server.metrics()

    def more(name, **labels):
        key = (name, *sorted(labels.items()))
        return after[key] - before.get(key, 0)

    assert more("podium_requests_total", endpoint="/predict", status="200") == 1
    assert more("podium_requests_total", endpoint="/predict", status="400") == 1
    assert more("podium_images_total", outcome="unreadable") == 2
    assert more("podium_request_seconds_count", endpoint="/predict") == 2
    assert after[("podium_requests_in_flight",)] == 0
    assert after[("process_resident_memory_bytes",)] > 0


def test_answers_are_logged_for_drift_where_that_is_asked_for(project, tmp_path):
    with running(Service(NAME, loaded(project, "1"), SMALL, Threads.start(2), log=tmp_path)) as server:
        sent = {"secret.png": picture(1), "broken.png": b"no image", "other.png": picture(2)}
        said = server.post("/predict", files=[("image", file) for file in sent.items()]).json()["predictions"]
        server.post("/invocations", data=json.dumps({"inputs": {"image": [text(picture(1))]}}), headers=JSON)
    rows, broken = read_log(tmp_path)
    assert (len(rows), broken) == (3, 0)
    answered = [row for row in said if "error" not in row]
    assert [row.label for row in rows] == [*(row["label"] for row in answered), answered[0]["label"]]
    assert [row.confidence for row in rows[:2]] == pytest.approx([row["score"] for row in answered], abs=1e-6)
    assert rows[0].id == rows[2].id != rows[1].id
    assert {(row.version, row.width, row.height) for row in rows} == {("1", 48, 40)}
    assert "secret" not in "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
