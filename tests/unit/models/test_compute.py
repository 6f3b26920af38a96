import itertools
import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from podium.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.data import loader
from podium.models.checkpoint import Checkpoint
from podium.models.compute import Compute, MicroBatchLimit, choose_device, keep_memory
from podium.models.engine import fit
from tests.small_jobs import Interrupting, job
from tests.small_splits import RECIPE, write_prepared


def test_compiling_is_a_choice_and_shares_the_weights():
    module = nn.Linear(2, 2)
    assert Compute.of(Runtime(threads=1)).compile(module) is module
    compiled = Compute.of(Runtime(threads=1, compile=True)).compile(module)
    assert compiled is not module
    assert next(compiled.parameters()) is next(module.parameters())


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_says_what_to_change(device, monkeypatch):
    has_devices(monkeypatch)
    with pytest.raises(ModelError, match=rf"runtime\.device is {device}, but .* set runtime\.device to cpu or auto"):
        Compute.of(Runtime(device=device))


@pytest.mark.parametrize(("there", "chosen"), [((), "cpu"), (("mps",), "mps"), (("mps", "cuda"), "cuda")])
def test_auto_is_the_best_device_that_is_there(there, chosen, monkeypatch):
    has_devices(monkeypatch, *there)
    assert choose_device(Runtime(device="auto")) == chosen
    assert choose_device(Runtime(device="cpu")) == "cpu"


def test_what_auto_came_to_is_part_of_the_identity(monkeypatch):
    has_devices(monkeypatch)
    auto, said = (Compute.of(Runtime(device=device, threads=1)).identity for device in ("auto", "cpu"))
    assert auto == said and auto["device"] == "cpu"


def has_devices(monkeypatch, *names):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)


def test_batches_and_weights_lie_in_the_layout_that_is_asked_for():
    compute = Compute.of(Runtime(threads=1, channels_last=True))
    module = compute.place(nn.Conv2d(3, 4, 3))
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert compute.place_batch(torch.zeros(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
    plain = Compute.of(Runtime(threads=1))
    assert plain.place_batch(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)).is_contiguous()


def test_bfloat16_is_for_computing_only():
    module = nn.Linear(2, 2)
    with Compute.of(Runtime(threads=1, dtype="bfloat16")).autocast():
        assert module(torch.zeros(1, 2)).dtype is torch.bfloat16
    with Compute.of(Runtime(threads=1)).autocast():
        assert module(torch.zeros(1, 2)).dtype is torch.float32
    assert module.weight.dtype is torch.float32


MESSAGE = "CUDA out of memory. Tried to allocate 20.00 GiB.\nMore lines"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("memory") / "prepared", train=30, val=12)


class Small(nn.Module):
    """Has memory for a few images: batch norm has changed and dropout has been drawn when it runs out."""

    def __init__(self, most: int = 1000, while_judging: int = 1000, error: str = "accelerator") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.most, self.while_judging, self.error = most, while_judging, error
        self.norm, self.drop, self.head = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(3, 3)
        self.tried: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.tried.append(len(x))
        x = self.drop(self.norm(x).amax((2, 3)))
        if len(x) > (self.most if self.training else self.while_judging):
            if self.error == "accelerator":
                raise torch.OutOfMemoryError(MESSAGE)
            if self.error == "processor":
                return torch.empty(2**58)
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return self.head(x)


@pytest.mark.parametrize("error", ["accelerator", "processor"])
def test_the_micro_batch_is_halved_and_the_step_repeated_from_the_same_state(prepared, capsys, error):
    recipe = RECIPE.model_copy(update={"ema_decay": 0.5})
    halved = fit(job(prepared, recipe), Small(most=2, error=error))
    told = capsys.readouterr().out
    asked = fit(job(prepared, recipe.model_copy(update={"micro_batch_size": 2})), Small())
    assert halved.progress.micro_batch_size == 2
    assert "train small: not enough memory for 8 images at once: goes on with 4 (train.micro_batch_size)" in told
    assert "for 4 images at once: goes on with 2" in told
    assert halved.progress.history == asked.progress.history
    assert all(torch.equal(halved.best[name], asked.best[name]) for name in asked.best)


@pytest.mark.parametrize(("most", "left"), [(5, 3), (3, 3), (2, 2)])
def test_an_odd_batch_is_halved_down_to_the_two_images_that_batch_norm_needs(prepared, most, left):
    recipe = RECIPE.model_copy(update={"batch_size": 13})
    module = Small(most=most)
    halved = fit(job(prepared, recipe), module)
    asked = fit(job(prepared, recipe.model_copy(update={"micro_batch_size": left})), Small())
    assert halved.progress.micro_batch_size == left
    failed = 3 if left == 2 else 2 if most < 6 else 1
    assert [tried > most for tried in module.tried].count(True) == failed
    assert min(module.tried) == 2
    assert halved.progress.history == asked.progress.history
    with pytest.raises(ModelError, match="out of memory"):
        fit(job(prepared, recipe), Small(most=1))


def test_a_limit_holds_for_the_image_that_joins_the_last_batch_and_no_limit_leaves_it_there(tmp_path):
    prepared = write_prepared(tmp_path / "prepared", train=17)
    free, limited, least = Small(), Small(), Small(most=2)
    fit(job(prepared), free)
    fit(job(prepared, RECIPE.model_copy(update={"micro_batch_size": 4})), limited)
    fit(job(prepared, RECIPE.model_copy(update={"batch_size": 2})), least)
    assert free.tried == [8, 9] * RECIPE.epochs
    assert limited.tried == [4, 4, 4, 3, 2] * RECIPE.epochs
    assert least.tried == [2] * 7 + [3, 2, 2] + [2] * 9 * (RECIPE.epochs - 1)


@given(st.integers(1, 64), st.integers(0, 1), st.integers(1, 64), st.integers(1, 2))
def test_halving_ends_with_what_fits_or_with_the_least(batch_size, joined, fits, least):
    count = max(least, batch_size + joined)
    room = MicroBatchLimit("x", max(least, batch_size), batch_size, least=least)
    tried = []

    def work(at_once: int) -> int:
        tried.append(at_once)
        largest = max(end - begin for begin, end in loader.micro_batches(count, at_once, least))
        if largest > fits:
            raise torch.OutOfMemoryError(MESSAGE)
        return largest

    if fits < least:
        with pytest.raises(torch.OutOfMemoryError):
            room.run_within(count, work)
        assert tried[-1] == least
    else:
        assert room.run_within(count, work) <= fits
    assert tried[0] == count
    assert all(fewer == max(least, more // 2) for more, fewer in itertools.pairwise(tried))
    if fits >= least:
        left = tried[-1]
        assert room.run_within(count, work) <= left
        assert tried[-1] == left  # and does not try again what was too much


def test_validation_halves_too_and_leaves_training_as_it_is(prepared):
    module = Small(while_judging=4)
    fitted = fit(job(prepared), module)
    plain = fit(job(prepared), Small())
    assert fitted.progress.micro_batch_size == 8
    assert [row.train_loss for row in fitted.progress.history] == [row.train_loss for row in plain.progress.history]
    first, other = fitted.progress.history[0], plain.progress.history[0]
    assert (first.val_loss, first.val_accuracy) == (pytest.approx(other.val_loss, rel=1e-6), other.val_accuracy)


def test_a_resumed_run_does_not_try_again_what_was_too_much(prepared, tmp_path):
    whole = fit(job(prepared), Small(most=2))

    with pytest.raises(InterruptedError):
        fit(job(prepared), Small(most=2), [Interrupting()], Checkpoint(tmp_path))
    again = Small(most=2)
    resumed = fit(job(prepared), again, checkpoint=Checkpoint(tmp_path))
    assert max(again.tried) == 2
    assert resumed.progress.history == whole.progress.history


@pytest.mark.parametrize("error", ["accelerator", "processor"])
def test_too_little_for_one_image_is_one_line_with_the_keys_to_lower(prepared, error):
    with pytest.raises(
        ModelError,
        match=r"^out of memory: lower train\.batch_size or preprocess\.image_size, or use a smaller network$",
    ):
        fit(job(prepared), Small(most=0, error=error))


def test_other_errors_of_torch_stay_as_they_are(prepared):
    with pytest.raises(RuntimeError, match="shapes"):
        fit(job(prepared), Small(most=0, error="other"))


PAGES = """
import resource
import numpy as np
from podium.models.compute import keep_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**24)  # 128 MiB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

asked_again = pages()
assert keep_memory()
pages()
print(asked_again, pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_was_given_back_is_taken_again_without_new_pages():
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    asked_again, kept = map(int, done.stdout.split())
    assert kept < asked_again / 4


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_memory() is False
