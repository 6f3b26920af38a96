"""The log of predictions holds what was answered and nothing of the image, however many processes write at once."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from podium.config.preprocess import Preprocessing
from podium.core.errors import DataError
from podium.curation.measures import CHEAP
from podium.serving import prediction_log
from podium.serving.prediction_log import KEY_VARIABLE, PredictionLog, read_log
from tests.raw_images import picture, png

PHOTO = png(picture("lemon", 1, (48, 40)))
WRITER = """
import sys
from pathlib import Path
from tests.unit.serving.test_prediction_log import write
folder = Path(sys.argv[1])
while not (folder / "stop").exists():
    write(folder, "pear", 10)
write(folder, "pear", 1)
"""


def a_model(fingerprint="f" * 64):
    how = Preprocessing(image_size=32, pad_value=0, max_pixels=10**6)
    card = SimpleNamespace(model="resnet18", fingerprint=fingerprint, preprocessing=how)
    return SimpleNamespace(classifier=SimpleNamespace(card=card), version="3")


def write(folder: Path, label: str, times: int) -> None:
    """Appends rows one by one."""
    log = PredictionLog(folder, a_model())
    image = log.read(PHOTO)
    for _ in range(times):
        log.append([(image, label, 0.75, False)])


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_a_row_says_what_was_answered_and_measured_and_no_more(tmp_path):
    write(tmp_path, "lemon", 1)
    (part,) = tmp_path.glob("*.jsonl")
    row = json.loads(part.read_text())
    assert set(row) == {
        *("time", "id", "model", "version", "fingerprint", "label", "confidence", "abstained"),
        *("width", "height", "measures"),
    }
    assert (row["model"], row["version"], row["label"], row["confidence"]) == ("resnet18", "3", "lemon", 0.75)
    assert (row["width"], row["height"]) == (48, 40)
    assert tuple(row["measures"]) == CHEAP and row["measures"]["aspect"] == float(f"{np.float32(32 / 27):.9g}")


def test_an_id_follows_from_the_file_and_a_key_that_others_do_not_have(tmp_path, monkeypatch):
    ids = {}
    for name, key in (("a", ""), ("b", ""), ("c", "secret"), ("d", "secret")):
        monkeypatch.setenv(KEY_VARIABLE, key)
        log = PredictionLog(tmp_path / name, a_model())
        ids[name] = (log.read(PHOTO).id, log.read(PHOTO).id, log.read(png(picture("lemon", 2))).id)
    assert all(one == same != other for one, same, other in ids.values())
    assert ids["c"] == ids["d"] and len({one for one, _, _ in ids.values()}) == 3
    assert not (tmp_path / "c" / "hmac.key").exists()
    key = tmp_path / "a" / "hmac.key"
    assert key.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert PredictionLog(tmp_path / "a", a_model()).read(PHOTO).id == ids["a"][0]


def test_two_processes_append_at_once_and_every_row_is_whole(tmp_path):
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(log)]) as other:
        while other.poll() is None and not list(log.glob("*.jsonl")):
            time.sleep(0.001)
        write(log, "lemon", 300)
        (log / "stop").touch()
    assert other.returncode == 0
    rows, broken = read_log(log)
    labels = [row.label for row in rows]
    assert (broken, labels.count("lemon"), set(labels)) == (0, 300, {"lemon", "pear"})
    assert labels[0] == labels[-1] == "pear"  # the other one wrote before and after, so meanwhile, too
    assert len({row.id for row in rows}) == 1  # one key for all, whoever came first


def test_a_line_that_a_killed_process_left_open_costs_no_other(tmp_path):
    write(tmp_path, "lemon", 2)
    (part,) = tmp_path.glob("*.jsonl")
    part.write_bytes(part.read_bytes()[:-40])
    write(tmp_path, "pear", 1)
    rows, broken = read_log(tmp_path)
    assert ([row.label for row in rows], broken) == (["lemon", "pear"], 1)


def test_it_stays_within_its_bounds_and_the_oldest_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_log, "PART_BYTES", 2000)
    monkeypatch.setattr(prediction_log, "MOST_PARTS", 3)
    for number in range(30):
        write(tmp_path, f"label {number}", 1)
    parts = sorted(tmp_path.glob("*.jsonl"))
    rows, _ = read_log(tmp_path)
    assert len(parts) == 3 and sum(part.stat().st_size for part in parts) <= 6000
    labels = [row.label for row in rows]
    assert 3 <= len(labels) < 30 and labels == [f"label {number}" for number in range(30 - len(labels), 30)]


def test_a_folder_without_a_log_is_told(tmp_path):
    with pytest.raises(DataError, match="holds no prediction log"):
        read_log(tmp_path)


def test_rows_of_a_batch_stand_together(tmp_path):
    log = PredictionLog(tmp_path, a_model())
    image = log.read(PHOTO)
    log.append([])
    assert not list(tmp_path.glob("*.jsonl"))
    log.append([(image, "a", 0.5, True), (replace(image, id="0" * 32), "b", 1.0, False)])
    assert [(row.label, row.abstained) for row in read_log(tmp_path)[0]] == [("a", True), ("b", False)]
