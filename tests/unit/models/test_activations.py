import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from podium.config.models import Head, ModelConfig
from podium.config.runtime import Runtime
from podium.config.train import Augment
from podium.core.errors import DataError
from podium.data import loader
from podium.data.augment.batch import apply, normalise
from podium.data.augment.parameters import draw
from podium.data.randomness import generator
from podium.data.shards import open_for_fitting
from podium.models import zoo
from podium.models.activations import Activations, remove_other_entries
from podium.models.compute import Compute
from podium.models.freezing import Plan
from podium.models.job import ActivationCache, Job
from podium.models.optimisers import create_optimizer
from tests.small_jobs import NOTHING_KEPT
from tests.small_splits import RECIPE, SIZE, a_config, write_prepared

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
CHANGES = Augment(flip=True, shift=0.1, brightness=0.2, contrast=0.2)
ROUNDING = 2.0**-8  # of a bfloat16: half of its last place, relative
IDENTITY = {"architecture": "test_resnet"}
SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2}  # a transformer
TRAIN, VAL = 37, 11  # no multiples of the batches they are computed in


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("features") / "prepared", train=TRAIN, val=VAL)


def a_job(prepared: Path, runtime: Runtime | None = None, changes: Augment = CHANGES, **more: object) -> Job:
    recipe = RECIPE.model_copy(update={"views": 2, "augment": changes})
    train, val = open_for_fitting(prepared, "train"), open_for_fitting(prepared, "val")
    compute = Compute.of(runtime or Runtime(threads=1))
    return replace(Job("train small", train, val, a_config(recipe=recipe), MEAN, STD, compute, 0, NOTHING_KEPT), **more)


def with_recipe(given: Job, **changes: object) -> Job:
    recipe = given.recipe.model_copy(update=changes)
    return replace(given, config=given.config.model_copy(update={"train": recipe}))


def features_of(given: Job, frozen: nn.Sequential, folder: Path, gib: float, identity=IDENTITY) -> Activations:
    return Activations(replace(given, cache=ActivationCache(folder, gib, identity)), frozen)


def plan(trainable: str = "last_stage", compute: Compute | None = None, seed: int = 0, **network: object) -> Plan:
    what = ModelConfig(architecture="test_resnet", trainable=trainable, train=RECIPE, **network)
    module = zoo.create(what, 3, seed)
    return Plan.of(compute.place(module) if compute else module, what, SIZE)


def exactly(given: Job, frozen: nn.Module, rows: np.ndarray, epoch: int) -> torch.Tensor:
    """What the frozen part gives without rounding: the loop without a cache."""
    pixels = torch.from_numpy(given.train.images(rows))
    change = draw(given.recipe.augment, generator(0, "view", epoch % given.recipe.views), TRAIN, SIZE).take(rows)
    with torch.no_grad(), given.compute.autocast():
        return frozen(given.compute.place_batch(apply(pixels, change, MEAN, STD)))


def trained(
    given: Job, inputs, epochs: int = 4, followed: Plan | None = None
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The trainable part's weights and the losses after some epochs from `inputs(plan, rows, epoch)`."""
    followed = followed or plan(compute=given.compute)
    optimizer = create_optimizer(followed.trainable, RECIPE, followed.depth)
    losses = []
    for epoch in range(epochs):
        followed.learn(epoch)
        order = loader.epoch_order(given.train.labels, "shuffle", 0, epoch)
        for begin, end in loader.batch_boundaries(TRAIN, 8):
            rows = order[begin:end]
            with given.compute.autocast():
                logits = followed.trainable(inputs(followed, rows, epoch))
            loss = nn.functional.cross_entropy(logits.float(), torch.from_numpy(given.train.labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return followed.trainable.state_dict(), losses


@pytest.mark.parametrize("channels_last", [False, True])
def test_kept_and_computed_inputs_are_those_of_the_plain_loop_up_to_the_rounding(prepared, tmp_path, channels_last):
    given = a_job(prepared, Runtime(threads=1, channels_last=channels_last))
    frozen = plan(compute=given.compute).frozen
    kept, computed = (features_of(given, frozen, tmp_path, gib) for gib in (1.0, 0.0))
    assert kept.entry is not None
    assert computed.entry is None
    rows = np.array([30, 2, 17, 2, 36])
    for epoch in (0, 1, 2):
        expected = exactly(given, frozen, rows, epoch)
        for features in (kept, computed):
            x = features.train(rows, epoch)
            assert x.shape == expected.shape
            assert x.dtype == torch.float32
            assert x.is_contiguous(memory_format=given.compute.memory_format)
            torch.testing.assert_close(x, expected, rtol=ROUNDING, atol=1e-5)
    assert torch.equal(kept.train(rows, 0), kept.train(rows, 2))  # two views, in turn
    assert not torch.equal(kept.train(rows, 0), kept.train(rows, 1))
    rows = np.arange(VAL)[::-1].copy()
    with torch.no_grad():
        expected = frozen(given.compute.place_batch(normalise(given.val.images(rows), MEAN, STD)))
    torch.testing.assert_close(kept.val(rows), expected, rtol=ROUNDING, atol=1e-5)
    torch.testing.assert_close(computed.val(rows), expected, rtol=ROUNDING, atol=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_view_that_fits_into_the_device_s_memory_is_read_once_and_is_the_same(
    prepared, tmp_path, channels_last, monkeypatch
):
    given = a_job(prepared, Runtime(threads=1, channels_last=channels_last))
    frozen, rows = plan(compute=given.compute).frozen, np.array([30, 2, 17, 2, 36])
    from_disk = features_of(given, frozen, tmp_path, 1.0)
    expected = [*(from_disk.train(rows, epoch) for epoch in (0, 1)), from_disk.val(rows % VAL)]
    largest = max(file.stat().st_size for file in from_disk.entry.glob("view-*.bin"))
    features = features_of(given, frozen, tmp_path, 1.0)
    monkeypatch.setattr(Compute, "free_bytes", lambda _: 2 * largest - 1)  # for validation alone
    features.train(rows, 0)
    features.val(rows % VAL)
    assert list(features._on_device) == ["unchanged-val"]
    monkeypatch.setattr(Compute, "free_bytes", lambda _: 2 * largest)
    for _ in range(2):
        found = [*(features.train(rows, epoch) for epoch in (0, 1)), features.val(rows % VAL)]
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        assert sorted(features._on_device) == ["unchanged-val", "view-000", "view-001"]


def test_training_from_kept_inputs_equals_the_uncached_loop_with_the_same_views(prepared, tmp_path):
    """The tolerance that is promised: losses of 4 epochs within 1 %, whatever one rounding of the inputs does."""
    given = a_job(prepared)

    def from_disk(followed: Plan, rows: np.ndarray, epoch: int) -> torch.Tensor:
        return features_of(given, followed.frozen, tmp_path, 1.0).train(rows, epoch)

    _, cached = trained(given, from_disk)
    _, plain = trained(given, lambda followed, rows, epoch: exactly(given, followed.frozen, rows, epoch))
    assert cached[-1] < 0.7 * cached[0]  # it learns
    by_epoch = [np.reshape(losses, (4, -1)).mean(axis=1) for losses in (cached, plain)]
    np.testing.assert_allclose(*by_epoch, rtol=0.01)


def test_a_transformer_s_blocks_are_kept_and_trained_from_like_a_network_s_with_maps(prepared, tmp_path):
    """Values (tokens, channels) are kept; the same tolerance as above."""
    from timm.models import VisionTransformer

    given = a_job(prepared, Runtime(threads=1, channels_last=True))

    def followed() -> Plan:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vit = VisionTransformer(dynamic_img_size=True, img_size=SIZE, patch_size=8, num_classes=3, **SMALL)
        what = ModelConfig(architecture="test_vit", trainable="last_stage", train=RECIPE)
        return Plan.of(given.compute.place(vit), what, SIZE)

    def from_disk(followed: Plan, rows: np.ndarray, epoch: int) -> torch.Tensor:
        features = features_of(given, followed.frozen, tmp_path, 1.0)
        assert features.entry is not None
        x = features.train(rows, epoch)
        torch.testing.assert_close(x, exactly(given, followed.frozen, rows, epoch), rtol=ROUNDING, atol=1e-5)
        assert x.shape == (len(rows), 17, 32)
        return x

    _, cached = trained(given, from_disk, followed=followed())
    _, plain = trained(
        given, lambda followed, rows, epoch: exactly(given, followed.frozen, rows, epoch), followed=followed()
    )
    assert cached[-1] < cached[0]
    np.testing.assert_allclose(cached, plain, rtol=0.01)


def test_where_nothing_is_left_to_round_cached_inputs_are_the_uncached_ones(prepared, tmp_path):
    """Whole numbers up to 255 have a place in bfloat16."""
    given = a_job(prepared, changes=Augment(brightness=0, contrast=0), mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
    frozen = nn.Sequential(nn.MaxPool2d(4))
    rows = np.arange(TRAIN)[::-1].copy()
    change = draw(given.recipe.augment, generator(0, "view", 1), TRAIN, SIZE).take(rows)
    plain = frozen(apply(torch.from_numpy(given.train.images(rows)), change, given.mean, given.std))
    for gib in (1.0, 0.0):
        assert torch.equal(features_of(given, frozen, tmp_path, gib).train(rows, 1), plain)


def test_what_was_computed_once_is_not_computed_again(prepared, tmp_path, monkeypatch):
    given, frozen = a_job(prepared), plan().frozen
    first = features_of(given, frozen, tmp_path, 1.0)
    first.prepare(0)
    assert sorted(path.name for path in first.entry.glob("*.bin")) == ["unchanged-val.bin", "view-000.bin"]
    written = {path: path.stat().st_mtime_ns for path in first.entry.glob("*.bin")}
    calls = []
    frozen.register_forward_hook(lambda *_: calls.append(1))
    second = features_of(given, frozen, tmp_path, 1.0)  # the next trial: one image tells it the shape
    calls.clear()
    second.prepare(0)
    second.train(np.arange(5), 0)
    assert calls == []
    second.prepare(3)  # the second view
    assert len(calls) == 2
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_only_the_head_learns_from_pooled_features(prepared, tmp_path):
    given = a_job(prepared)
    features = features_of(given, plan("head").frozen, tmp_path, 1.0)
    x = features.train(np.arange(4), 0)
    assert x.dim() == 2
    assert (features.entry / "view-000.bin").stat().st_size < TRAIN * x.shape[1] * 2 + 200


CHANGED = {
    "weights": lambda given, followed: (given, plan(seed=1).frozen),
    "first block": lambda given, followed: (given, plan("head").frozen),
    "changes": lambda given, followed: (with_recipe(given, augment=Augment(flip=False)), followed.frozen),
    "seed": lambda given, followed: (replace(given, seed=1), followed.frozen),
    "normalisation": lambda given, followed: (replace(given, mean=(0.0, 0.0, 0.0)), followed.frozen),
    "validation images": lambda given, followed: (replace(given, val=given.train), followed.frozen),
}


@pytest.mark.parametrize("what", CHANGED)
def test_an_entry_belongs_to_all_it_depends_on(prepared, tmp_path, what):
    given, followed = a_job(prepared), plan()
    before = features_of(given, followed.frozen, tmp_path, 1.0).entry
    assert features_of(given, plan().frozen, tmp_path, 1.0).entry == before
    assert (
        features_of(with_recipe(replace(given, label="tune"), views=5), followed.frozen, tmp_path, 1.0).entry == before
    )
    assert features_of(*CHANGED[what](given, followed), tmp_path, 1.0).entry != before


def test_another_identity_is_kept_apart(prepared, tmp_path):
    given, frozen = a_job(prepared), plan().frozen
    entries = [features_of(given, frozen, tmp_path, 1.0, identity).entry for identity in (IDENTITY, {"versions": 2})]
    assert entries[0] != entries[1]


def test_parts_without_weights_tell_entries_apart(prepared, tmp_path):
    average, maximum = (plan("head", head=Head(pooling=kind)).frozen for kind in ("avg", "max"))
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), maximum.parameters(), strict=True))
    given = a_job(prepared)
    assert features_of(given, average, tmp_path, 1.0).entry != features_of(given, maximum, tmp_path, 1.0).entry


def test_the_budget_decides_by_sizes_alone_and_says_what_it_does(prepared, tmp_path, capsys):
    given, frozen = a_job(prepared), plan().frozen
    needed = (2 * TRAIN + VAL) * 2 * frozen(torch.zeros(1, 3, SIZE, SIZE)).numel() / 2**30
    assert features_of(given, frozen, tmp_path, needed).entry is not None
    assert capsys.readouterr().out == ""
    assert features_of(given, frozen, tmp_path, 0.99 * needed).entry is None
    assert "resources.cache_gib" in capsys.readouterr().out


def test_entries_of_other_trials_make_room_within_the_budget(prepared, tmp_path):
    given, frozen = a_job(prepared), plan().frozen
    needed = (2 * TRAIN + VAL) * 2 * frozen(torch.zeros(1, 3, SIZE, SIZE)).numel() / 2**30
    entries = []
    for mean in (0.1, 0.2, 0.3):
        features = features_of(replace(given, mean=(mean,) * 3), frozen, tmp_path, 1.5 * needed)
        features.prepare(0)
        features.prepare(1)
        entries.append(features.entry)
    assert [path for path in entries if path.is_dir()] == entries[-1:]


def test_trials_side_by_side_do_not_remove_what_another_writes(prepared, tmp_path):
    """Each has an entry of its own, and the budget holds less than two of them."""
    frozen = plan().frozen
    needed = (2 * TRAIN + VAL) * 2 * frozen(torch.zeros(1, 3, SIZE, SIZE)).numel() / 2**30

    def study(seed: int) -> list[torch.Tensor]:
        made = []
        for trial in range(4):
            features = features_of(replace(a_job(prepared), seed=10 * trial + seed), frozen, tmp_path, 1.5 * needed)
            for epoch in (0, 1):
                features.prepare(epoch)
                made.append(features.train(np.arange(TRAIN), epoch))
        return made

    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(study, range(3)))
    shutil.rmtree(tmp_path)
    for seed, made in enumerate(beside):
        assert all(torch.equal(one, other) for one, other in zip(made, study(seed), strict=True))


def test_a_view_is_whole_or_not_there_after_a_kill(prepared, tmp_path):
    """A child is killed while it writes the second view; the first is not computed again."""
    code = f"""
import os, signal
import numpy as np
from pathlib import Path
from tests.unit.models.test_activations import a_job, features_of, plan
given, frozen = a_job(Path({str(prepared)!r})), plan().frozen
features = features_of(given, frozen, Path({str(tmp_path)!r}), 1.0)
features.prepare(0)
frozen.register_forward_hook(lambda *_: os.kill(os.getpid(), signal.SIGKILL))
features.prepare(1)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    features = features_of(a_job(prepared), plan().frozen, tmp_path, 1.0)
    assert sorted(path.name for path in features.entry.glob("*.bin") if path.name[0] != ".") == [
        "unchanged-val.bin", "view-000.bin",
    ]  # fmt: skip
    first = (features.entry / "view-000.bin").stat().st_mtime_ns
    features.prepare(1)
    assert (features.entry / "view-000.bin").stat().st_mtime_ns == first
    left = {path.name for path in features.entry.iterdir()}
    names = ("unchanged-val", "view-000", "view-001")
    assert left == {f"{name}.{end}" for name in names for end in ("bin", "sha256")}  # nor anything half-written


@pytest.mark.parametrize("damage", ["a byte flipped", "split short", "gone"])
def test_a_damaged_file_is_named(prepared, tmp_path, damage):
    features = features_of(a_job(prepared), plan().frozen, tmp_path, 1.0)
    features.prepare(0)
    path = features.entry / "view-000.bin"
    kept = bytearray(path.read_bytes())
    kept[len(kept) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(kept if damage == "a byte flipped" else kept[:-7])
    with pytest.raises(DataError, match=r"view-000\.bin.*(damaged|cannot be read).*delete"):
        features_of(a_job(prepared), plan().frozen, tmp_path, 1.0).prepare(0)


def test_old_entries_go_when_a_model_is_trained(prepared, tmp_path):
    given = a_job(prepared)
    old, new = (features_of(replace(given, seed=seed), plan().frozen, tmp_path, 1.0) for seed in (0, 1))
    old.prepare(0)
    new.prepare(0)
    remove_other_entries(tmp_path, new.entry)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [new.entry]
    remove_other_entries(tmp_path, None)
    assert not any(path.is_dir() for path in tmp_path.iterdir())
    remove_other_entries(tmp_path / "never made", None)
