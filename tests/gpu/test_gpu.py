"""What a CUDA device must do as the CPU does. `python -m pytest tests/gpu`; skipped where there is none.

`python -m benchmarks.gpu` runs these before it measures.
"""

import numpy as np
import pytest
import torch

from podium.config.models import Head, Network
from podium.config.runtime import Runtime
from podium.core.layout import MODEL_CARD, Layout
from podium.models import zoo
from podium.models.checkpoint import Checkpoint
from podium.models.compute import Compute
from podium.models.engine import fit
from podium.models.job import ActivationCache
from podium.records.training import ModelCard
from tests.small_jobs import Interrupting, job
from tests.small_project import build
from tests.small_splits import RECIPE, a_config, write_prepared

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
PLAIN = Runtime(device=DEVICE, threads=1)
FAST = Runtime(device=DEVICE, threads=1, dtype="bfloat16", channels_last=True)
RUNTIMES = pytest.mark.parametrize("runtime", [PLAIN, FAST], ids=["float32", "bfloat16"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("gpu") / "prepared", train=80, val=16)


def network():
    return zoo.create(Network(architecture="test_resnet", head=Head(dropout=0.2)), 3, 0)


def equal(one, other):
    return all(torch.equal(one.best[name], other.best[name]) for name in one.best)


def test_the_loss_after_twenty_steps_is_the_cpu_s(prepared):
    still = RECIPE.model_copy(update={"epochs": 2})  # 20 steps of 8 images
    undropped = Network(architecture="test_resnet")  # a device draws other numbers for dropout
    here, there = (
        fit(job(prepared, still, runtime=runtime), zoo.create(undropped, 3, 0)).progress.history
        for runtime in (Runtime(device="cpu", threads=1), PLAIN)
    )
    for own, row in zip(here, there, strict=True):
        assert row.train_loss == pytest.approx(own.train_loss, rel=1e-2)  # convolutions compute in TF32 there
        assert row.val_loss == pytest.approx(own.val_loss, rel=1e-2)


@RUNTIMES
def test_two_runs_give_the_same_bytes(prepared, runtime):
    first, second = (fit(job(prepared, runtime=runtime), network()) for _ in range(2))
    assert first.progress.history == second.progress.history
    assert equal(first, second)


@RUNTIMES
def test_a_run_that_was_broken_off_goes_on_to_the_same_bytes(prepared, tmp_path, runtime):
    whole = fit(job(prepared, runtime=runtime), network())
    with pytest.raises(InterruptedError):
        fit(job(prepared, runtime=runtime), network(), [Interrupting(at=2)], Checkpoint(tmp_path))
    resumed = fit(job(prepared, runtime=runtime), network(), checkpoint=Checkpoint(tmp_path))
    assert resumed.progress.history == whole.progress.history
    assert equal(resumed, whole)


@RUNTIMES
def test_views_kept_in_the_device_s_memory_are_those_on_disk(prepared, tmp_path, runtime, monkeypatch):
    recipe = RECIPE.model_copy(update={"views": 2, "epochs": 4})
    section = a_config().model_copy(update={"trainable": "last_stage"})

    def learned(folder):
        cache = ActivationCache(tmp_path / folder, 1.0, {})
        return fit(job(prepared, recipe, runtime=runtime, section=section, cache=cache), network())

    there = learned("device")
    monkeypatch.setattr(Compute, "free_bytes", lambda _: 0)
    assert equal(there, learned("disk"))


def test_compiling_changes_no_more_than_rounding(prepared):
    compiled = PLAIN.model_copy(update={"compile": True})
    plain, other = (fit(job(prepared, runtime=runtime), network()).progress.history for runtime in (PLAIN, compiled))
    np.testing.assert_allclose([row.val_loss for row in other], [row.val_loss for row in plain], rtol=2e-2)


def test_a_whole_experiment_runs_and_says_where(tmp_path, warm_path):
    project = build(tmp_path / "project")
    project.change_params(runtime={"device": "auto", "dtype": "bfloat16", "channels_last": True})
    done = project.run("dvc", "repro", timeout=900, PATH=warm_path)
    assert done.returncode == 0, done.stderr
    layout = Layout(project.root)
    for model in ("small_resnet", "small_convnext"):
        card = ModelCard.read(layout.model(model) / MODEL_CARD)
        assert card.runtime["device"] == DEVICE
    assert "registered" in project.run("podium", "history").stdout
