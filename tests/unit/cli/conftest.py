"""A finished experiment as the working directory, and two registered versions of it."""

import pytest

from podium.config.params import load
from tests.unit.cli.calls import change_gates
from tests.unit.registry.promotions import gathered, register

LENIENT = {"minimum_accuracy": 0.0, "minimum_macro_f1": 0.0, "maximum_latency_seconds": 60.0}


@pytest.fixture
def project(experiment, monkeypatch):
    """A finished experiment whose gates anything passes, as the working directory."""
    root = experiment.layout.root
    change_gates(root, **LENIENT)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "experiments").mkdir()
    (root / "experiments" / "tiny.yaml").write_bytes((root / "params.yaml").read_bytes())
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "100")
    return experiment.layout


@pytest.fixture
def versions(project, tmp_path):
    """Two registered versions."""
    evidence = gathered(project, load(project.params), tmp_path / "gathered")
    return [register(project, evidence), register(project, evidence)]
