import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from podium.config.models import Head, Network
from podium.config.runtime import Runtime
from podium.config.train import Augment, EarlyStopping, Loss, Train
from podium.core.errors import ModelError
from podium.data import loader
from podium.data.augment.parameters import draw
from podium.data.randomness import generator
from podium.data.shards import open_for_fitting
from podium.models import zoo
from podium.models.callbacks import Callback
from podium.models.checkpoint import Checkpoint, Progress, lock_folder
from podium.models.engine import Diverged, fit
from podium.models.job import ActivationCache
from podium.models.learner import LossFunction
from podium.models.optimisers import should_stop
from podium.records.training import EpochResult
from tests.small_jobs import STILL, Interrupting, Remembering, job
from tests.small_splits import RECIPE, SIZE, a_config, write_prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("engine") / "prepared", train=30, val=12)


def network(dropout: float = 0.2) -> nn.Module:
    return zoo.create(Network(architecture="test_resnet", head=Head(dropout=dropout)), 3, 0)


def test_training_equals_a_loop_written_out_with_torch_s_parts(prepared):
    recipe = Train(
        epochs=2, batch_size=8, optimizer="sgd", learning_rate=0.05, weight_decay=0.0, schedule="constant",
        warmup_epochs=0.0, loss=Loss(label_smoothing=0.2), augment=STILL,
    )  # fmt: skip
    fitted = fit(job(prepared, recipe), network(0.0))

    split = open_for_fitting(prepared, "train")
    module = network(0.0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for epoch in range(2):
        module.train()
        total = 0.0
        for rows in np.split(loader.epoch_order(split.labels, "shuffle", 0, epoch), [8, 16, 24]):
            x = (torch.from_numpy(split.images(rows)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
            loss = F.cross_entropy(module(x), torch.from_numpy(split.labels[rows]), label_smoothing=0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / 30)
    assert [row.train_loss for row in fitted.progress.history] == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("ema_decay", [None, 0.6])
def test_validation_is_of_the_weights_that_are_kept_in_evaluation_mode_plain_and_unchanged(prepared, ema_decay):
    recipe = RECIPE.model_copy(update={"ema_decay": ema_decay, "loss": Loss(kind="focal", label_smoothing=0.2)})
    learned = network(0.9)
    fitted = fit(job(prepared, recipe), learned)
    assert fitted.progress.best.epoch == 3
    averaged = any(not torch.equal(tensor, fitted.best[name]) for name, tensor in learned.state_dict().items())
    assert averaged == (ema_decay is not None)
    module = network(0.9)
    module.load_state_dict(fitted.best)
    val = open_for_fitting(prepared, "val")
    x = (torch.from_numpy(val.images(np.arange(12))).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        logits = module.eval()(x)
    labels = torch.from_numpy(val.labels)
    assert fitted.progress.best.val_loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert fitted.progress.best.val_accuracy == (logits.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize(
    "runtime",
    [
        Runtime(threads=1, channels_last=True),
        Runtime(threads=1, dtype="bfloat16"),
        Runtime(threads=1, dtype="bfloat16", channels_last=True),
    ],
)
def test_resuming_gives_the_same_bytes_in_every_layout_and_precision(prepared, tmp_path, runtime):
    whole = fit(job(prepared, runtime=runtime), network())

    with pytest.raises(InterruptedError):
        fit(job(prepared, runtime=runtime), network(), [Interrupting(at=2)], Checkpoint(tmp_path))
    resumed = fit(job(prepared, runtime=runtime), network(), checkpoint=Checkpoint(tmp_path))
    assert resumed.progress.history == whole.progress.history
    assert all(torch.equal(resumed.best[name], whole.best[name]) for name in whole.best)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_moments_of_both_optimisers_survive_a_resume(prepared, tmp_path, optimizer):
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "schedule": "plateau"})
    whole = fit(job(prepared, recipe), network())

    for _ in range(2):
        with pytest.raises(InterruptedError):
            fit(job(prepared, recipe), network(), [Interrupting()], Checkpoint(tmp_path))
    assert (
        fit(job(prepared, recipe), network(), checkpoint=Checkpoint(tmp_path)).progress.history
        == whole.progress.history
    )


def test_a_finished_run_is_not_trained_again(prepared, tmp_path):
    first = fit(job(prepared), network(), checkpoint=Checkpoint(tmp_path))
    seen = Remembering()
    again = fit(job(prepared), network(), [seen], Checkpoint(tmp_path))
    assert seen.rows == []
    assert again.progress == first.progress
    assert all(torch.equal(again.best[name], first.best[name]) for name in first.best)


def test_early_stopping_is_remembered_by_a_checkpoint(prepared, tmp_path):
    recipe = RECIPE.model_copy(update={"epochs": 9, "early_stopping": EarlyStopping(patience=1, min_delta=99.0)})
    first = fit(job(prepared, recipe), network(), checkpoint=Checkpoint(tmp_path))
    again = fit(job(prepared, recipe), network(), checkpoint=Checkpoint(tmp_path))
    assert len(first.progress.history) == len(again.progress.history) == 2


def test_what_is_minimised_is_measured_on_validation_where_it_is_monitored(prepared):
    monitor = EarlyStopping(patience=3, monitor="loss")
    focal = Loss(kind="focal", gamma=3.0, label_smoothing=0.0, class_weights="balanced")
    recipe = RECIPE.model_copy(update={"loss": focal, "early_stopping": monitor, "learning_rate": 0.02, "epochs": 6})
    fitted = fit(job(prepared, recipe), network(0.0))
    plain = fit(job(prepared, recipe.model_copy(update={"early_stopping": None})), network(0.0))
    rows = fitted.progress.history
    assert [row.val_loss for row in rows] == [row.val_loss for row in plain.progress.history][: len(rows)]
    assert all(row.val_objective is None for row in plain.progress.history)
    assert fitted.progress.best.val_objective == min(row.val_objective for row in rows)

    module = network(0.0)
    module.load_state_dict(fitted.best)
    val, labels = open_for_fitting(prepared, "val"), open_for_fitting(prepared, "train").labels
    x = (torch.from_numpy(val.images(np.arange(12))).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        losses = LossFunction.of(focal, labels, ("", "", ""))(module.eval()(x), torch.from_numpy(val.labels))
    assert fitted.progress.best.val_objective == pytest.approx(losses.mean().item(), rel=1e-5)


@pytest.mark.parametrize("monitor", ["cross_entropy", "loss"])
def test_stopping_and_the_epoch_that_is_kept_go_by_the_monitored_loss(monitor):
    cross_entropies, objectives = [0.9, 0.7, 0.8, 0.9, 0.9], [0.5, 0.5, 0.4, 0.3, 0.35]
    rows = [
        EpochResult(
            epoch=n, step=n, learning_rate=0.1, train_loss=1, train_accuracy=0, val_loss=ce, val_accuracy=0,
            val_objective=objective if monitor == "loss" else None,
        )
        for n, (ce, objective) in enumerate(zip(cross_entropies, objectives, strict=True), start=1)
    ]  # fmt: skip
    progress = Progress(history=tuple(rows))
    assert progress.best.epoch == {"cross_entropy": 2, "loss": 4}[monitor]
    recipe = RECIPE.model_copy(update={"early_stopping": EarlyStopping(patience=2, monitor=monitor)})
    assert should_stop(progress.monitored, recipe) == (monitor == "cross_entropy")


def test_early_stopping_waits_until_all_stages_learn_also_after_a_resume(prepared, tmp_path):
    recipe = RECIPE.model_copy(
        update={"epochs": 30, "unfreeze_every": 2, "early_stopping": EarlyStopping(patience=3, min_delta=99.0)}
    )
    module = network()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    for _ in range(6):
        with pytest.raises(InterruptedError):
            fit(job(prepared, recipe), network(), [Interrupting()], Checkpoint(tmp_path))
    resumed = fit(job(prepared, recipe), network(), checkpoint=Checkpoint(tmp_path))
    whole = fit(job(prepared, recipe), module)
    assert not [name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])]
    stages = 6  # conv1, layer1 to layer4, fc: the last of them learns from epoch 10 (from 0) on
    assert len(whole.progress.history) == 2 * (stages - 1) + 3
    assert resumed.progress.history == whole.progress.history


def test_a_checkpoint_holds_no_pickle_and_a_damaged_one_is_named(prepared, tmp_path):
    fit(job(prepared), network(), checkpoint=Checkpoint(tmp_path))
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"damaged: delete"):
        fit(job(prepared), network(), checkpoint=Checkpoint(tmp_path))


def test_a_loss_that_is_no_number_names_step_rate_and_images(prepared):
    wild = RECIPE.model_copy(
        update={"learning_rate": 1e30, "warmup_epochs": 0.0, "schedule": "constant", "batch_size": 10}
    )
    with pytest.raises(Diverged, match=r"^train small: the loss is (nan|inf) at step 2 ") as told:
        fit(job(prepared, wild), network())
    split = open_for_fitting(prepared, "train")
    rows = loader.epoch_order(split.labels, "shuffle", 0, 0)[10:20]
    named = ", ".join(split.index["image_id"].iloc[rows])
    assert f"(epoch 1, learning rate 1e+30), images {named}: lower train.learning_rate" in str(told.value)


def test_dropout_is_drawn_per_step(prepared):
    dropped, _ = fit(job(prepared), network(0.8)), torch.manual_seed(7)
    again = fit(job(prepared), network(0.8))
    plain = fit(job(prepared), network(0.0))
    assert dropped.progress.history == again.progress.history
    assert dropped.progress.history != plain.progress.history


def test_a_last_batch_of_one_image_trains_although_batch_norm_sees_one_pixel(tmp_path):
    prepared = write_prepared(tmp_path / "prepared", train=17)
    assert SIZE == 32  # test_resnet shrinks 32 px to a single pixel
    fitted = fit(job(prepared), network())
    assert fitted.progress.history[-1].step == 3 * 2


@pytest.mark.parametrize("key", ["batch_size", "micro_batch_size"])
def test_batch_norm_on_single_images_is_refused_in_one_line(prepared, key):
    with pytest.raises(ModelError, match=f"two images or more.*train.{key}"):
        fit(job(prepared, RECIPE.model_copy(update={key: 1})), network())


def test_a_folder_has_one_owner_and_is_free_again_afterwards(tmp_path):
    with lock_folder(tmp_path / "x"), pytest.raises(ModelError, match="another process"), lock_folder(tmp_path / "x"):
        pass
    with lock_folder(tmp_path / "x"):
        pass


class TwoHeads(nn.Module):
    """Has auxiliary classifiers while it is trained, as GoogLeNet has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.main, self.first, self.second = (nn.Linear(3, 3) for _ in range(3))

    def forward(self, x: torch.Tensor):
        x = x.mean((2, 3))
        return (self.main(x), self.first(x), None, self.second(x)) if self.training else self.main(x)


def one_step(prepared, module: nn.Module, **changes: object) -> float:
    """The loss of the first and only step, on all training images as they are."""
    usual = Train(
        epochs=1, batch_size=30, warmup_epochs=0.0, learning_rate=1e-9, augment=STILL, loss=Loss(label_smoothing=0.0)
    )
    return fit(job(prepared, usual.model_copy(update=changes)), module).progress.history[0].train_loss


def all_images(prepared) -> tuple[torch.Tensor, torch.Tensor]:
    split = open_for_fitting(prepared, "train")
    rows = loader.epoch_order(split.labels, "shuffle", 0, 0)
    x = (torch.from_numpy(split.images(rows)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    return x, torch.from_numpy(split.labels[rows])


def test_auxiliary_classifiers_add_three_tenths_of_their_loss(prepared):
    x, labels = all_images(prepared)
    module = TwoHeads()
    losses = [
        F.cross_entropy(head(x.mean((2, 3))), labels).item() for head in (module.main, module.first, module.second)
    ]
    assert one_step(prepared, module) == pytest.approx(losses[0] + 0.3 * (losses[1] + losses[2]), rel=1e-5)
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_mixed_images_are_learned_with_both_labels_by_their_shares(prepared):
    x, labels = all_images(prepared)
    mixing = Augment(flip=False, shift=0, brightness=0, contrast=0, mixup=1.0)
    change = draw(mixing, generator(0, "augment", 0), 30, SIZE)
    share, partner = torch.from_numpy(change.share).float(), torch.from_numpy(change.partner)
    assert 0 < share.min() < 0.9
    weight = share[:, None, None, None]
    logits = TwoHeads().eval()(weight * x + (1 - weight) * x[partner])
    own, other = (
        F.cross_entropy(logits, labels, reduction="none"),
        F.cross_entropy(logits, labels[partner], reduction="none"),
    )
    loss = (share * own + (1 - share) * other).mean().item()
    assert one_step(prepared, OneHead(), augment=mixing) == pytest.approx(loss, rel=1e-4)


class OneHead(TwoHeads):
    def forward(self, x: torch.Tensor):
        return self.main(x.mean((2, 3)))


@pytest.mark.parametrize("micro_batch_size", [1, 7])
def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(prepared, micro_batch_size):
    whole, parts = OneHead(), OneHead()
    recipe = {"clip_norm": 0.01, "learning_rate": 0.1, "optimizer": "sgd"}
    first = one_step(prepared, whole, **recipe)
    second = one_step(prepared, parts, **recipe, micro_batch_size=micro_batch_size)
    assert second == pytest.approx(first, rel=1e-6)
    assert torch.allclose(whole.main.weight, parts.main.weight, rtol=1e-5, atol=1e-7)


def test_an_image_that_fills_up_a_micro_batch_for_batch_norm_counts_once(prepared):
    class Normed(OneHead):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor):
            return self.main(self.norm(x.mean((2, 3))))

    module = Normed()
    learned = fit(
        job(
            prepared,
            Train(
                loss=Loss(label_smoothing=0.0),
                epochs=1, batch_size=15, micro_batch_size=2, warmup_epochs=0.0, learning_rate=1e-9, augment=STILL,
            ),
        ),
        Normed(),
    )  # fmt: skip
    x, labels = all_images(prepared)
    total = 0.0
    for batch in (0, 15):
        for begin in (*range(batch, batch + 14, 2), batch + 13):
            logits = module(x[begin : begin + 2])
            losses = F.cross_entropy(logits, labels[begin : begin + 2], reduction="none")
            total += losses[1 if begin == batch + 13 else 0 :].sum().item()
    assert learned.progress.history[0].train_loss == pytest.approx(total / 30, rel=1e-5)


def test_gradients_are_clipped_to_their_norm(prepared):
    module = OneHead()
    before = [parameter.detach().clone() for parameter in module.main.parameters()]
    one_step(
        prepared,
        module,
        optimizer="sgd",
        momentum=0.0,
        weight_decay=0.0,
        learning_rate=1.0,
        schedule="constant",
        clip_norm=0.01,
    )
    moved = [(a - b).flatten() for a, b in zip(before, module.main.parameters(), strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_frozen_layers_keep_every_bit_and_the_rest_learns(prepared):
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    section = a_config().model_copy(update={"trainable": "last_stage"})
    best = fit(job(prepared, section=section), module).best
    changed = {name.split(".")[0] for name, tensor in best.items() if not torch.equal(tensor, before[name])}
    assert changed == {"layer4", "fc"}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop", "lamb"])
def test_every_optimiser_takes_stages_that_begin_later(prepared, optimizer):
    module = network()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    moved = []

    class Looking(Callback):
        def on_epoch_end(self, row, seconds, trial=None) -> None:
            learned = (
                name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])
            )
            moved.append({name.split(".")[0] for name in learned})

    recipe = RECIPE.model_copy(update={"unfreeze_every": 1, "optimizer": optimizer, "ema_decay": 0.5})
    fit(job(prepared, recipe), module, [Looking()])
    assert moved[0] == {"fc"}
    assert moved[0] < moved[1] < moved[2]


def test_a_cached_prefix_trains_like_one_that_is_computed_again(prepared, tmp_path):
    recipe = RECIPE.model_copy(update={"views": 2, "epochs": 4})
    section = a_config().model_copy(update={"trainable": "last_stage"})
    cached = fit(job(prepared, recipe, section=section, cache=ActivationCache(tmp_path, 1.0, {})), network())
    recomputed = fit(job(prepared, recipe, section=section, cache=ActivationCache(tmp_path, 0.0, {})), network())
    assert (cached.activations is None, recomputed.activations) == (False, None)
    for mine, row in zip(cached.progress.history, recomputed.progress.history, strict=True):
        assert mine.train_loss == pytest.approx(row.train_loss, rel=1e-3)
        assert mine.val_loss == pytest.approx(row.val_loss, rel=1e-3)
    assert cached.best.keys() == recomputed.best.keys() == network().state_dict().keys()


def test_views_come_again_and_fresh_changes_do_not(prepared):
    still = RECIPE.model_copy(update={"epochs": 3, "learning_rate": 1e-12, "schedule": "constant", "weight_decay": 0.0})
    fresh = fit(job(prepared, still), OneHead()).progress.history
    views = fit(job(prepared, still.model_copy(update={"views": 2})), OneHead()).progress.history
    assert views[0].train_loss == pytest.approx(views[2].train_loss, rel=1e-6)
    assert views[0].train_loss != pytest.approx(views[1].train_loss, rel=1e-6)
    assert fresh[0].train_loss != pytest.approx(fresh[2].train_loss, rel=1e-6)
