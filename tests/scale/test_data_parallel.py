"""One network, trained by two processes on two nodes: the bytes of two processes here, also when a node is lost."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from podium.config.runtime import Resources
from podium.core import ray_executor
from podium.core.errors import PodiumError
from podium.core.layout import Layout
from podium.models.callbacks import Callback
from podium.models.train_seeds import TrainSeed, train_seeds
from podium.models.training import Training
from podium.pipeline.train import train_model
from podium.records.training import ModelCard
from tests.ray_cluster import add_node, lose_node
from tests.servers import free_port
from tests.small_splits import RESOURCES, RUNTIME, a_config, write_project

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed")]

TWO = RUNTIME.model_copy(update={"processes": 2})
HELD = 2  # the epoch after which training waits for what happens to the cluster


@dataclass(frozen=True)
class Hold(Callback):
    """Has a training wait after an epoch until a file is there."""

    until: Path

    def on_epoch_end(self, row, seconds, trial=None) -> None:
        while row.epoch == HELD and not self.until.exists():
            time.sleep(0.05)


@dataclass(frozen=True)
class HeldTraining(TrainSeed):
    def run_here(self, seed, callbacks=()) -> Training:
        (self.layout.root / f"{os.getpid()}.pid").touch()
        return super().run_here(seed, [Hold(self.layout.root / "go on")])


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "project")


def on(cluster) -> Resources:
    return Resources(executor="ray", address=cluster.address)


def card(layout: Layout) -> ModelCard:
    return ModelCard.read(layout.model("small") / "model.json")


def train_with_a_loss(layout, runtime, cluster, happens) -> list[int]:
    """Trains on the cluster; something happens to it in the middle. Returns the epochs that were done, in order."""

    class Watch(Callback):
        epochs: list[int] = []

        def on_epoch_end(self, row, seconds, trial=None) -> None:
            self.epochs.append(row.epoch)
            if row.epoch == HELD and not (layout.root / "go on").exists():
                happens()
                (layout.root / "go on").touch()

    held = HeldTraining(layout, "train", "small", a_config(), runtime, on(cluster))
    train_seeds(held, [0], lambda: [Watch()])
    return Watch.epochs


def test_an_elastic_training_goes_on_with_the_processes_there_is_room_for(cluster, project):
    elastic = TWO.model_copy(update={"elastic": True})
    assert train_with_a_loss(project, elastic, cluster, lambda: lose_node(cluster, project.root)) == [1, 2, 3]
    assert card(project).runtime["processes"] == "2 x 2, 1 x 1"


def test_a_training_that_loses_a_node_has_the_bytes_of_processes_here(cluster, project, tmp_path):
    def lose_one_and_find_another() -> None:
        lose_node(cluster, project.root)
        add_node(cluster)

    assert train_with_a_loss(project, TWO, cluster, lose_one_and_find_another) == [1, 2, 3]
    here = write_project(tmp_path / "here")
    train_model(here, "small", config=a_config(), runtime=TWO, resources=RESOURCES, seed=0)
    assert card(project) == card(here)
    assert card(here).runtime["processes"] == 2


@pytest.mark.parametrize("named", [True, False])
def test_no_cluster_is_one_line(named, project, monkeypatch):
    nowhere = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", nowhere)  # where Ray looks for `auto`
    resources = Resources(executor="ray", address=nowhere if named else "auto")
    with pytest.raises(PodiumError, match="^no Ray cluster at resources.address .*set resources.executor to local"):
        train_model(project, "small", config=a_config(), runtime=TWO, resources=resources, seed=0)


def test_too_few_nodes_are_waited_for_with_a_line_and_not_for_ever(cluster, project, monkeypatch, caplog):
    monkeypatch.setattr(ray_executor, "ROOM_SECONDS", 0.0)
    three = TWO.model_copy(update={"processes": 3})
    with pytest.raises(PodiumError, match="room for 2 of a job's 3 processes.*`dvc repro`, which goes on"):
        train_model(project, "small", config=a_config(), runtime=three, resources=on(cluster), seed=0)
    assert [record.message for record in caplog.records if "waiting up to 0 s" in record.message]
