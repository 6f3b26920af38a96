"""Nothing that lies in a package is run or unpickled, even where somebody put it on record."""

import os
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from podium.config.params import load
from podium.core.layout import Layout
from tests.unit.cli.calls import change_params, one_line, podium
from tests.unit.registry import malicious
from tests.unit.registry.promotions import copied, gathered, register, register_anew

COMMANDS = (
    ("promote", "1", "--check"),
    ("predict", "a.png", "--model", "1", "--out", "out.csv"),
    ("predict", "a.png", "--model", "1", "--out", "out.csv", "--runtime", "onnx"),
    ("explain", "a.png", "--model", "1"),
    ("lineage", "1"),
    ("export", "hub", "hub", "--model", "1"),
    ("audit",),
)


@pytest.fixture(scope="module")
def honest(finished_project, empty_store, tmp_path_factory):
    """A project with one version on record."""
    root = tmp_path_factory.mktemp("honest") / "project"
    shutil.copytree(finished_project, root)
    shutil.copyfile(empty_store, root / "mlflow.db")
    (root / "dvc.yaml").write_text("stages: {}\n")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(root / "a.png")
    change_params(root, "promote", minimum_accuracy=0.0, minimum_macro_f1=0.0, maximum_latency_seconds=60.0)
    layout = Layout(root)
    register(layout, gathered(layout, load(layout.params), tmp_path_factory.mktemp("gathered")))
    return layout


@pytest.fixture
def world(honest, tmp_path, monkeypatch):
    """A copy of the honest project, in which commands are given."""
    layout = copied(honest, tmp_path / "project")
    monkeypatch.chdir(layout.root)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    return layout


def test_the_payload_works(tmp_path):
    pickle.loads(malicious.pickled(tmp_path / "marker"))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", malicious.CORPUS)
def test_nothing_of_a_package_is_run_even_if_it_is_on_record(world, tmp_path, name):
    marker = tmp_path / "marker"
    attack, refusal = malicious.CORPUS[name]
    attack(world.root / "packages" / "1" / "artifacts", marker)
    register_anew(world, "1")
    told = {}
    for command in COMMANDS:
        result = podium(*command)
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
        assert "Traceback" not in result.output
        assert result.exit_code == 0 or command == ("audit",) or one_line(result.stderr), (command, result.stderr)
        assert not marker.exists(), command
        told[command] = result
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    answer = told[COMMANDS[1]]
    assert answer.exit_code == (1 if refusal else 0), answer.output
    assert re.search(refusal, answer.stderr)
    assert told[COMMANDS[2]].exit_code == 1  # no usable ONNX file in any


def test_an_archive_that_climbs_out_of_its_folder_writes_nothing_there(world, tmp_path):
    marker = tmp_path / "marker"
    malicious.slip(tmp_path / "slip.zip", marker)
    result = podium("predict", str(tmp_path / "slip.zip"), "--model", "1", "--out", "out.csv")
    assert (result.exit_code, one_line(result.stderr)) == (1, True)
    assert not marker.exists()
