"""Stage repeat: each further seed is trained once, what is there stays, and a kill costs no byte."""

import pytest

from podium.core.files import sha256_file
from podium.data.tensors import sha256_tensors
from podium.models.callbacks import Callback
from podium.pipeline.repeat import repeat_training
from podium.pipeline.train import train_model
from podium.records.training import ModelCard
from tests.small_jobs import Interrupting
from tests.small_splits import RESOURCES, RUNTIME, a_config, write_project, write_tuned


class Counting(Callback):
    """Counts epochs over all trainings."""

    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, row, seconds, trial=None):
        self.epochs += 1


def repeat(layout, seeds, callback=None):
    counted = callback or Counting()
    given = {"config": a_config(), "runtime": RUNTIME, "resources": RESOURCES}
    repeat_training(layout, "small", seeds, **given, callbacks=lambda: [counted])
    return counted


def digests(layout):
    home = layout.repeats("small")
    return {str(path.relative_to(home)): sha256_file(path) for path in home.rglob("*") if path.is_file()}


@pytest.fixture
def layout(tmp_path):
    return write_project(tmp_path)


def test_no_further_seed_trains_nothing_and_leaves_a_folder_that_says_so(layout):
    assert repeat(layout, []).epochs == 0
    assert [path.name for path in layout.repeats("small").iterdir()] == ["seeds.json"]


def test_one_more_seed_costs_one_training_and_one_less_is_removed(layout, capsys):
    assert repeat(layout, [1, 2]).epochs == 6
    whole = digests(layout)
    assert repeat(layout, [2]).epochs == 0
    assert "repeat small seed 2: kept" in capsys.readouterr().out
    assert sorted(path.name for path in layout.repeats("small").iterdir()) == ["2", "seeds.json"]
    assert repeat(layout, [1, 2]).epochs == 3
    assert digests(layout) == whole


def test_a_kill_within_the_second_training_ends_with_the_same_bytes(layout):
    repeat(layout, [1, 2])
    whole = digests(layout)
    repeat(layout, [1])
    with pytest.raises(InterruptedError):
        repeat(layout, [1, 2], Interrupting(at=2))
    assert repeat(layout, [1, 2]).epochs == 1  # of three; two were kept
    assert digests(layout) == whole


def test_it_is_the_training_of_the_stage_train_with_another_seed(layout):
    repeat(layout, [5])
    train_model(layout, "small", config=a_config(), runtime=RUNTIME, resources=RESOURCES, seed=5)
    mine, theirs = layout.repeat("small", 5), layout.model("small")
    assert sha256_tensors(mine / "weights.safetensors") == sha256_tensors(theirs / "weights.safetensors")
    assert (mine / "history.csv").read_bytes() == (theirs / "history.csv").read_bytes()


def test_other_tuned_values_or_damaged_weights_are_trained_anew(layout):
    repeat(layout, [1])
    before = ModelCard.read(layout.repeat("small", 1) / "model.json")
    (layout.repeat("small", 1) / "weights.safetensors").write_bytes(b"damaged")
    assert repeat(layout, [1]).epochs == 3
    write_tuned(layout, {"train.learning_rate": 0.001})
    assert repeat(layout, [1]).epochs == 3
    assert ModelCard.read(layout.repeat("small", 1) / "model.json").fingerprint != before.fingerprint
