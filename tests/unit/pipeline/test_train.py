import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from podium.config.dataset import Fetch
from podium.config.models import ModelSection, Network
from podium.config.train import Augment, EarlyStopping, Loss, Train
from podium.core.errors import DataError, ModelError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.data.shards import open_for_testing
from podium.data.tensors import save_weights, sha256_tensors
from podium.models import checkpoint, training, zoo
from podium.models.activations import Activations
from podium.models.callbacks import Callback
from podium.models.inference import load_classifier
from podium.models.learner import Learner
from podium.models.optimisers import Average
from podium.pipeline import train
from podium.pipeline.fetch import write_weights
from podium.records.base import read_parquet
from podium.records.fetch import TRAINED_ON_KEY, TrainedOn, WeightsRecord, unpack_digests
from podium.records.training import EpochResult, ModelCard, read_times
from tests.cards import no_weights
from tests.small_jobs import Remembering
from tests.small_splits import RECIPE, RESOURCES, RUNTIME, a_config, write_project, write_split, write_tuned

FILES = ("history.csv", "model.json", "weights.safetensors")


class Killed(BaseException):
    """Stands for the end of the process: nothing in the product may catch it."""


def fit(
    layout: Layout,
    recipe: Train = RECIPE,
    seed: int = 0,
    callback: Callback | None = None,
    section: Mapping[str, object] | None = None,
) -> dict[str, str]:
    model = a_config(recipe=recipe).model_copy(update=dict(section or {}))
    train.train_model(
        layout,
        "small",
        config=model,
        runtime=RUNTIME,
        resources=RESOURCES,
        seed=seed,
        callbacks=[callback or Callback()],
    )
    return digests(layout)


def digests(layout: Layout) -> dict[str, str]:
    assert sorted(p.name for p in layout.model("small").iterdir()) == list(FILES)
    return {name: sha256_file(layout.model("small") / name) for name in FILES}


def checkpoints(layout: Layout) -> list[Path]:
    return list((layout.work / "checkpoints").glob("*/"))


@cache
def uninterrupted() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as root:
        return fit(write_project(Path(root)))


def test_two_runs_write_the_same_bytes(tmp_path):
    assert fit(write_project(tmp_path)) == uninterrupted()


def test_another_seed_gives_other_weights(tmp_path):
    other = fit(write_project(tmp_path), seed=1)
    assert other["weights.safetensors"] != uninterrupted()["weights.safetensors"]


KILLS = 20 if os.environ.get("PODIUM_LONG") else 3
HEAD_FIRST = {"trainable": "last_stage"}
RECIPES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "plain": ({}, {}),
    "averaged, accumulated, clipped, plateau": (
        {},
        {
            "ema_decay": 0.9,
            "micro_batch_size": 3,
            "clip_norm": 0.5,
            "optimizer": "sgd",
            "schedule": "plateau",
            "loss": Loss(kind="focal", class_weights="balanced"),
        },
    ),
    "unfrozen step by step": (
        {"trainable": "all"},
        {"unfreeze_every": 1, "layer_decay": 0.7, "optimizer": "lamb", "ema_decay": 0.5},
    ),
    "mixed, balanced": (
        {},
        {"augment": Augment(mixup=0.4, cutmix=1.0), "sampling": "balanced", "optimizer": "rmsprop"},
    ),
    "views of a frozen prefix": (HEAD_FIRST, {"views": 2, "optimizer": "adam"}),
    "a frozen prefix without views": (HEAD_FIRST, {}),
}


class Clock:
    """Counts all that happens in a run, and ends it at a given count: before or after any of its parts."""

    PLACES = (
        (Learner, "_losses"),
        (Learner, "step"),
        (Learner, "validate_batch"),
        (Average, "update_parameters"),
        (Activations, "prepare"),
        (checkpoint, "save_weights"),
        (Path, "replace"),
        (training, "write_table"),
        (ModelCard, "write"),
    )

    def __init__(self, patch: pytest.MonkeyPatch, ends_at: int = 0) -> None:
        self.ticks = 0
        self.ends_at = ends_at
        for owner, name in self.PLACES:
            patch.setattr(owner, name, self._ticking(getattr(owner, name)))

    def _ticking(self, work):
        def ticking(*args, **kwargs):
            self._tick()
            result = work(*args, **kwargs)
            self._tick()
            return result

        return ticking

    def _tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.ends_at:
            raise Killed


@pytest.mark.parametrize("name", RECIPES)
def test_killed_anywhere_and_resumed_ends_with_the_same_bytes(name):
    section, changes = RECIPES[name]
    recipe = RECIPE.model_copy(update={"batch_size": 15, **changes})

    def run(root: str, ends_at: int = 0) -> Clock:
        with pytest.MonkeyPatch.context() as patch:
            clock = Clock(patch, ends_at)
            with contextlib.suppress(Killed):
                fit(Layout(Path(root)), recipe, section=section)
        return clock

    with tempfile.TemporaryDirectory() as root:
        layout = write_project(Path(root))
        ticks = run(root).ticks
        whole = digests(layout)
        assert ModelCard.read(layout.model("small") / "model.json").cached_prefix == (
            name == "views of a frozen prefix"
        )
    random = np.random.default_rng(len(name))
    for first, second in random.integers(1, ticks + 1, (KILLS, 2)):
        with tempfile.TemporaryDirectory() as root:
            layout = write_project(Path(root))
            assert run(root, first).ticks == first
            run(root, second)  # in what is left of the run, if that is so much
            assert not layout.model("small").exists() or digests(layout) == whole
            assert fit(layout, recipe, section=section) == whole
            assert checkpoints(layout) == []


def test_a_resumed_run_repeats_no_finished_epoch(tmp_path):
    layout = write_project(tmp_path)

    class Dying(Callback):
        def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
            if row.epoch == 2:
                raise Killed

    with pytest.raises(Killed):
        fit(layout, callback=Dying())
    seen = Remembering()
    fit(layout, callback=seen)
    assert [row.epoch for row in seen.rows] == [3]


def test_sigkill_of_the_process_and_a_second_start_end_with_the_same_bytes(tmp_path):
    layout = write_project(tmp_path)
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        import podium
        from podium.core.layout import Layout
        from podium.models.callbacks import Callback
        from podium.pipeline import train
        from tests.small_splits import RESOURCES, RUNTIME, a_config

        class Dying(Callback):
            def on_epoch_end(self, row, seconds, trial=None):
                if row.epoch == 2:
                    os.kill(os.getpid(), signal.SIGKILL)

        layout = Layout(Path(sys.argv[1]))
        train.train_model(layout, "small", config=a_config(), runtime=RUNTIME, resources=RESOURCES, seed=0,
                          callbacks=[Dying()])
        """
    )
    repository = Path(__file__).parents[3]
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(checkpoints(layout)) == 1
    assert fit(layout) == uninterrupted()


def test_the_caller_s_random_state_changes_nothing_and_is_left_alone(tmp_path):
    import torch

    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    assert fit(write_project(tmp_path)) == uninterrupted()
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_history_has_the_monitored_loss_where_it_is_another_than_the_cross_entropy(tmp_path):
    layout = write_project(tmp_path)
    fit(layout, RECIPE.model_copy(update={"early_stopping": EarlyStopping(monitor="loss")}))
    rows = (layout.model("small") / "history.csv").read_text().splitlines()
    assert rows[0].endswith(",val_loss,val_accuracy,val_objective")
    assert all(float(row.rpartition(",")[2]) > 0 for row in rows[1:])


def test_card_history_and_weights_belong_together(tmp_path):
    layout = write_project(tmp_path)
    write_tuned(layout, {"train.learning_rate": 0.004, "train.batch_size": 10.0})
    seen = Remembering()
    fit(layout, callback=seen)
    folder = layout.model("small")
    card = ModelCard.read(folder / "model.json")
    assert card.learning_rate == 0.004
    assert card.tuned == {"train.learning_rate": 0.004, "train.batch_size": 10.0}
    assert (card.epochs, card.images_seen, card.stopped_early) == (3, 90, False)
    assert card.classes == ["apple", "banana", "cherry"]
    assert card.groups == dict.fromkeys(card.classes, "fruit")
    assert card.weights_bytes == (folder / "weights.safetensors").stat().st_size
    with safe_open(folder / "weights.safetensors", framework="pt") as stored:
        assert stored.metadata().items() >= {"format": "pt", "fingerprint": card.fingerprint}.items()
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,step,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy"
    keys = lines[0].split(",")
    written = [EpochResult.model_validate(dict(zip(keys, line.split(","), strict=True))) for line in lines[1:]]
    assert written == seen.rows
    assert [row.step for row in seen.rows] == [3, 6, 9]
    assert card.best_epoch == min(seen.rows, key=lambda row: row.val_loss).epoch
    assert seen.ending == "finished"
    assert read_times(layout, card.fingerprint)["seconds_per_epoch"] > 0


def test_the_kept_weights_are_those_of_the_epoch_with_the_lowest_validation_loss(tmp_path):
    layout = write_project(tmp_path)
    fit(layout)
    folder = layout.model("small")
    classifier = load_classifier(folder, RUNTIME)
    from podium.data.shards import open_for_fitting

    val = open_for_fitting(layout.prepared, "val")
    p = classifier.probabilities(val.images(np.arange(len(val))), 8)
    loss = -np.log(p[np.arange(len(val)), val.labels].astype(np.float64)).mean()
    rows = (folder / "history.csv").read_text().splitlines()[1:]
    assert loss == pytest.approx(min(float(row.split(",")[5]) for row in rows), abs=1e-5)


def test_training_stops_early_and_says_so(tmp_path):
    layout = write_project(tmp_path)
    impatient = RECIPE.model_copy(update={"epochs": 6, "early_stopping": EarlyStopping(patience=2, min_delta=50.0)})
    fit(layout, impatient)
    card = ModelCard.read(layout.model("small") / "model.json")
    # the first epoch is better than nothing, the next two are not better by 50 nats
    assert (card.epochs, card.stopped_early, card.images_seen) == (3, True, 90)


def test_fine_tuning_starts_from_the_fetched_weights(tmp_path):
    layout = write_project(tmp_path)
    folder = layout.weights / "small"
    donor = zoo.create(Network(architecture="test_resnet"), 7, 99)
    body = {
        name: t.half() if t.is_floating_point() else t for name, t in donor.state_dict().items() if "fc" not in name
    }
    save_weights(folder / "weights.safetensors", body, {})
    digest = sha256_file(folder / "weights.safetensors")
    record = no_weights("test_resnet").model_copy(update={"weights": "data:x.safetensors", "stored_sha256": digest})
    record.write(folder / "weights.json")
    frozen = RECIPE.model_copy(update={"epochs": 1, "weight_decay": 0.0})
    write_tuned(layout, {"train.learning_rate": 1e-12})
    fit(layout, frozen)
    trained = load_classifier(layout.model("small"), RUNTIME).module.state_dict()
    assert (trained["conv1.0.weight"] - donor.state_dict()["conv1.0.weight"]).abs().max() < 1e-3


def test_weights_that_changed_after_they_were_fetched_are_refused_with_both_digests(tmp_path):
    layout = write_project(tmp_path)
    file = layout.weights / "small" / "weights.safetensors"
    save_weights(file, zoo.create(Network(architecture="test_resnet"), 7, 99).state_dict(), {})
    digest = sha256_file(file)
    record = no_weights("test_resnet").model_copy(update={"weights": "data:x.safetensors", "stored_sha256": digest})
    record.write(layout.weights / "small" / "weights.json")
    fit(layout)
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(ModelError, match=f"sha256 {sha256_file(file)}, but weights.json says {digest}"):
        fit(layout)


def test_a_loss_that_is_no_number_names_the_step_and_writes_nothing(tmp_path):
    layout = write_project(tmp_path)
    write_tuned(layout, {"train.learning_rate": 1e30})
    seen = Remembering()
    with pytest.raises(ModelError, match=r"step \d+.*lower train.learning_rate"):
        fit(layout, RECIPE.model_copy(update={"warmup_epochs": 0.0}), callback=seen)
    assert seen.ending == "failed"
    assert not layout.model("small").exists()


def test_weights_fetched_for_another_architecture_are_refused(tmp_path):
    layout = write_project(tmp_path, architecture="test_convnext")
    with pytest.raises(ModelError, match="holds weights of test_convnext"):
        fit(layout)


def test_a_missing_tuning_result_says_what_to_run(tmp_path):
    layout = write_project(tmp_path)
    (layout.tuning("small") / "best.json").unlink()
    with pytest.raises(DataError, match="dvc repro"):
        fit(layout)


def test_two_processes_cannot_train_the_same_model_at_once(tmp_path):
    layout = write_project(tmp_path)

    class Second(Callback):
        def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
            fit(layout)

    with pytest.raises(ModelError, match="another process"):
        fit(layout, callback=Second())


def test_the_test_split_is_never_opened(tmp_path):
    layout = write_project(tmp_path)
    assert len(open_for_testing(layout.prepared)) == 6
    for file in (layout.prepared / "test").iterdir():
        file.unlink()
    assert fit(layout) == uninterrupted()


def test_each_epoch_prints_one_plain_line_in_a_pipe(tmp_path, capsys):
    fit(write_project(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("train small: epoch 2 of 3, learning rate ")
    assert lines[1].endswith(" s)")


def test_weights_know_the_photographs_they_and_their_first_weights_were_trained_on(tmp_path):
    first, second = write_project(tmp_path / "first"), write_project(tmp_path / "second")
    fit(first, RECIPE.model_copy(update={"epochs": 1}))
    weights = first.model("small") / "weights.safetensors"
    own = ModelSection(
        architecture="test_resnet",
        weights=f"file:{weights}",
        weights_sha256=sha256_file(weights),
        weights_licence="CC0-1.0",
    )
    shutil.rmtree(second.weights / "small")
    write_weights(second, second.weights, {"small": own}, Fetch())

    photographs = read_parquet(first.prepared / "train" / "index.parquet")["photo_sha256"]
    assert TrainedOn.read(second.trained_on).models == {"small": sorted(digest[:16] for digest in photographs)}
    assert TRAINED_ON_KEY not in WeightsRecord.read(second.weights / "small" / "weights.json").metadata

    shutil.rmtree(second.prepared / "train")
    write_split(second.prepared / "train", "train", 30, seed=9)
    fit(second, RECIPE.model_copy(update={"epochs": 1}))
    others = read_parquet(second.prepared / "train" / "index.parquet")["photo_sha256"]
    with safe_open(second.model("small") / "weights.safetensors", framework="numpy") as written:
        seen = unpack_digests(written.metadata()[TRAINED_ON_KEY])
    assert seen == sorted({digest[:16] for digest in (*photographs, *others)})


def test_equal_weights_have_an_equal_digest_in_the_card(tmp_path):
    layout = write_project(tmp_path)
    fit(layout, RECIPE.model_copy(update={"epochs": 1, "learning_rate": 1e-3}))
    card = ModelCard.read(layout.model("small") / "model.json")
    tensors = load_file(layout.model("small") / "weights.safetensors")
    save_weights(tmp_path / "same", tensors, {"fingerprint": "another"})
    assert card.weights_sha256 == sha256_tensors(tmp_path / "same")
