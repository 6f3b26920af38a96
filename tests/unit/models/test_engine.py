import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from podium.core.config.contender import Head, Network
from podium.core.config.recipe import Augment, EarlyStopping, Train
from podium.core.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.data import loader
from podium.data.shards import open_for_fitting
from podium.models import engine, zoo
from podium.models.checkpoint import Checkpoint, claimed
from podium.models.compute import Compute
from podium.models.engine import Diverged, Job, fit
from tests.small_splits import RECIPE, RUNTIME, SIZE, write_prepared

MEAN = STD = (0.5, 0.5, 0.5)
STILL = Augment(flip=False, shift=0, brightness=0, contrast=0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("engine") / "prepared", train=30, val=12)


def job(prepared, recipe: Train = RECIPE, runtime: Runtime = RUNTIME) -> Job:
    train, val = open_for_fitting(prepared, "train"), open_for_fitting(prepared, "val")
    return Job("train small", train, val, recipe, MEAN, STD, Compute.of(runtime), 0)


def network(dropout: float = 0.2) -> nn.Module:
    return zoo.create(Network(architecture="test_resnet", head=Head(dropout=dropout)), 3, 0)


def ignore(row, seconds) -> None:
    pass


def test_training_equals_a_loop_written_out_with_torch_s_parts(prepared):
    recipe = Train(
        epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.05, weight_decay=0.0, schedule="constant",
        warmup_epochs=0.0, label_smoothing=0.2, augment=STILL,
    )  # fmt: skip
    fitted = fit(job(prepared, recipe), network(0.0), ignore)

    split = open_for_fitting(prepared, "train")
    module = network(0.0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for epoch in range(2):
        module.train()
        total = 0.0
        for rows in np.split(loader.order(30, 0, epoch), [8, 16, 24]):
            x = (torch.from_numpy(split.images(rows)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
            loss = F.cross_entropy(module(x), torch.from_numpy(split.labels[rows]), label_smoothing=0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / 30)
    assert [row.train_loss for row in fitted.progress.history] == pytest.approx(losses, rel=1e-3)


def test_validation_uses_evaluation_mode_plain_loss_and_no_augmentation(prepared):
    module = network(0.9)
    val = open_for_fitting(prepared, "val")
    x = (torch.from_numpy(val.images(np.arange(12))).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        logits = module.eval()(x)
    labels = torch.from_numpy(val.labels)
    loss, accuracy = engine.validate(job(prepared), module.train())
    assert loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize(
    "runtime",
    [
        Runtime(threads=1, channels_last=True),
        Runtime(threads=1, dtype="bfloat16"),
        Runtime(threads=1, dtype="bfloat16", channels_last=True),
    ],
)
def test_resuming_gives_the_same_bytes_in_every_layout_and_precision(prepared, tmp_path, runtime):
    whole = fit(job(prepared, runtime=runtime), network(), ignore)

    def dying(row, seconds) -> None:
        if row.epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(job(prepared, runtime=runtime), network(), dying, Checkpoint(tmp_path))
    resumed = fit(job(prepared, runtime=runtime), network(), ignore, Checkpoint(tmp_path))
    assert resumed.progress.history == whole.progress.history
    assert all(torch.equal(resumed.best[name], whole.best[name]) for name in whole.best)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_moments_of_both_optimisers_survive_a_resume(prepared, tmp_path, optimizer):
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "schedule": "plateau"})
    whole = fit(job(prepared, recipe), network(), ignore)

    def dying(row, seconds) -> None:
        raise InterruptedError

    for _ in range(2):
        with pytest.raises(InterruptedError):
            fit(job(prepared, recipe), network(), dying, Checkpoint(tmp_path))
    assert (
        fit(job(prepared, recipe), network(), ignore, Checkpoint(tmp_path)).progress.history == whole.progress.history
    )


def test_a_finished_run_is_not_trained_again(prepared, tmp_path):
    first = fit(job(prepared), network(), ignore, Checkpoint(tmp_path))
    rows = []
    again = fit(job(prepared), network(), lambda row, seconds: rows.append(row), Checkpoint(tmp_path))
    assert rows == []
    assert again.progress == first.progress
    assert all(torch.equal(again.best[name], first.best[name]) for name in first.best)


def test_early_stopping_is_remembered_by_a_checkpoint(prepared, tmp_path):
    recipe = RECIPE.model_copy(update={"epochs": 9, "early_stopping": EarlyStopping(patience=1, min_delta=99.0)})
    first = fit(job(prepared, recipe), network(), ignore, Checkpoint(tmp_path))
    again = fit(job(prepared, recipe), network(), ignore, Checkpoint(tmp_path))
    assert len(first.progress.history) == len(again.progress.history) == 2
    assert first.stopped_early
    assert again.stopped_early


def test_a_checkpoint_holds_no_pickle_and_a_damaged_one_is_named(prepared, tmp_path):
    fit(job(prepared), network(), ignore, Checkpoint(tmp_path))
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"damaged: delete"):
        fit(job(prepared), network(), ignore, Checkpoint(tmp_path))


def test_a_loss_that_is_no_number_names_step_and_rate(prepared):
    wild = RECIPE.model_copy(update={"learning_rate": 1e30, "warmup_epochs": 0.0, "schedule": "constant"})
    with pytest.raises(
        Diverged, match=r"train small: the loss is (nan|inf) at step 2 \(epoch 1, learning rate 1e\+30\)"
    ):
        fit(job(prepared, wild), network(), ignore)


def test_dropout_is_drawn_per_step(prepared):
    dropped, _ = fit(job(prepared), network(0.8), ignore), torch.manual_seed(7)
    again = fit(job(prepared), network(0.8), ignore)
    plain = fit(job(prepared), network(0.0), ignore)
    assert dropped.progress.history == again.progress.history
    assert dropped.progress.history != plain.progress.history


def test_a_last_batch_of_one_image_trains_although_batch_norm_sees_one_pixel(tmp_path):
    prepared = write_prepared(tmp_path / "prepared", train=17)
    assert SIZE == 32  # test_resnet shrinks 32 px to a single pixel
    fitted = fit(job(prepared), network(), ignore)
    assert fitted.progress.history[-1].step == 3 * 2


def test_a_folder_has_one_owner_and_is_free_again_afterwards(tmp_path):
    with claimed(tmp_path / "x"), pytest.raises(ModelError, match="another process"), claimed(tmp_path / "x"):
        pass
    with claimed(tmp_path / "x"):
        pass


class Greedy(nn.Module):
    """Asks for more memory than there is."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.error == "accelerator":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore lines")
        if self.error == "processor":
            return torch.empty(2**58)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize("where", ["accelerator", "processor"])
def test_running_out_of_memory_is_one_line_with_the_keys_to_lower(prepared, where):
    with pytest.raises(ModelError, match=r"^out of memory: lower train\.batch_size or preprocess\.image_size$"):
        fit(job(prepared), Greedy(where), ignore)


def test_other_errors_of_torch_stay_as_they_are(prepared):
    with pytest.raises(RuntimeError, match="shapes"):
        fit(job(prepared), Greedy("other"), ignore)
