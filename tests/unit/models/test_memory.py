import pytest
import torch
from torch import nn

from podium.core.errors import ModelError
from podium.models.checkpoint import Checkpoint
from podium.models.engine import fit
from tests.small_jobs import ignore, job
from tests.small_splits import RECIPE, write_prepared

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
    halved = fit(job(prepared, recipe), Small(most=2, error=error), ignore)
    told = capsys.readouterr().out
    asked = fit(job(prepared, recipe.model_copy(update={"micro_batch_size": 2})), Small(), ignore)
    assert halved.progress.micro_batch_size == 2
    assert "train small: not enough memory for 8 images at once: goes on with 4 (train.micro_batch_size)" in told
    assert "for 4 images at once: goes on with 2" in told
    assert halved.progress.history == asked.progress.history
    assert all(torch.equal(halved.best[name], asked.best[name]) for name in asked.best)


def test_validation_halves_too_and_leaves_training_as_it_is(prepared):
    module = Small(while_judging=4)
    fitted = fit(job(prepared), module, ignore)
    plain = fit(job(prepared), Small(), ignore)
    assert fitted.progress.micro_batch_size == 8
    assert [row.train_loss for row in fitted.progress.history] == [row.train_loss for row in plain.progress.history]
    first, other = fitted.progress.history[0], plain.progress.history[0]
    assert (first.val_loss, first.val_accuracy) == (pytest.approx(other.val_loss, rel=1e-6), other.val_accuracy)


def test_a_resumed_run_does_not_try_again_what_was_too_much(prepared, tmp_path):
    whole = fit(job(prepared), Small(most=2), ignore)

    def dying(row, seconds) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(job(prepared), Small(most=2), dying, Checkpoint(tmp_path))
    again = Small(most=2)
    resumed = fit(job(prepared), again, ignore, Checkpoint(tmp_path))
    assert max(again.tried) == 2
    assert resumed.progress.history == whole.progress.history


@pytest.mark.parametrize("error", ["accelerator", "processor"])
def test_too_little_for_one_image_is_one_line_with_the_keys_to_lower(prepared, error):
    with pytest.raises(
        ModelError,
        match=r"^out of memory: lower train\.batch_size or preprocess\.image_size, or use a smaller network$",
    ):
        fit(job(prepared), Small(most=0, error=error), ignore)


def test_other_errors_of_torch_stay_as_they_are(prepared):
    with pytest.raises(RuntimeError, match="shapes"):
        fit(job(prepared), Small(most=0, error="other"), ignore)
