"""`python -m benchmarks.scale_model`: the schedule, against small ones reckoned by hand and against its bounds."""

import pytest

from benchmarks.scale_model import BATCHES, Experiment, Plan
from benchmarks.scale_units import (
    AskCosts,
    DvcCosts,
    EpochCosts,
    ImageCosts,
    MlflowCosts,
    NetworkCosts,
    RowCosts,
    Units,
)
from benchmarks.schedule import Cluster, Task, simulate

UNITS = Units(
    images={"photograph": ImageCosts(1e-4, 5e-4, 5e-3, 5e-3, 2e-2, 6e4)},
    networks={"resnet18 224": NetworkCosts(0.1, 0.03)},
    search_pair=5e-9,
    signature_bytes=14_000,
    rows=RowCosts(1e-5, 2e-5),
    epoch=EpochCosts(0.1, 10**8, 0.3),
    record=0.02,
    ask=AskCosts(0.01, 1e-4),
    mlflow=MlflowCosts(0.1, 1e-4, 100),
    dvc=DvcCosts(4e-9, 1e-3, 1e-4),
    stages={"validate": 7, "explain": 20, "compare": 1, "publish": 20},
)
SERIAL = ("fetch", "dvc", "near duplicates", "write shards", "validate", "compare", "publish")
NODES = (1, 2, 3, 5, 8, 16, 64, 200)


def plan(nodes: int, *, images: int = 50_000, trials: int = 20, **cluster: float) -> tuple[list[Task], Cluster]:
    alike = Cluster(nodes, **cluster)
    return Plan(UNITS, Experiment(images, trials), alike).make(), alike


def test_a_small_schedule_is_the_one_reckoned_by_hand():
    tasks = [Task("a", 2), Task("b", 3), Task("c", 4), Task("d", 1, (0, 1, 2))]
    # the first machine does a until 2 and c until 6, the second, there from 1 on, b until 4; d is left
    found = simulate(tasks, Cluster(2, start_up=1))
    assert found.seconds == 7
    assert {stage: seconds for stage, seconds in found.decided.items() if seconds} == {"a": 2, "c": 4, "d": 1}
    assert found.bottleneck == "c 57%, a 29%"


def test_one_machine_takes_the_sum():
    tasks, cluster = plan(1)
    assert simulate(tasks, cluster).seconds == pytest.approx(sum(task.seconds + task.moved for task in tasks))


def test_the_store_serves_one_machine_at_a_time():
    found = simulate([Task("read", 1, (), 5), Task("read", 1, (), 5)], Cluster(2, start_up=0))
    assert found.seconds == 11  # 5 and 5 of the store, then the second one's work
    assert found.decided["shared store"] == 10


def test_what_decided_adds_up_to_the_time():
    for nodes in NODES:
        found = simulate(*plan(nodes))
        assert sum(found.decided.values()) == pytest.approx(found.seconds)


@pytest.mark.parametrize("trials", [10, 200])
@pytest.mark.parametrize("gpu", [0, 2000])
def test_more_machines_are_never_slower(trials: int, gpu: float):
    seconds = [simulate(*plan(nodes, trials=trials, gpu=gpu)).seconds for nodes in NODES]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] < seconds[0]


def test_the_serial_stages_bound_what_machines_can_gain():
    tasks, cluster = plan(10_000, start_up=0)
    serial = sum(task.seconds + task.moved for task in tasks if task.stage in SERIAL)
    training = max(task.seconds for task in tasks if task.stage == "train")
    assert simulate(tasks, cluster).seconds >= serial + training


def test_a_batch_of_trials_waits_for_the_one_before():
    tasks = Plan(UNITS, Experiment(50_000, 100, ("resnet18",)), Cluster(10_000, start_up=0, store=1e15)).make()
    trial = min(task.seconds for task in tasks if task.stage == "tune")
    found = simulate(tasks, Cluster(10_000, start_up=0))
    assert sum(task.stage == "tune" for task in tasks) == 100
    assert BATCHES * trial <= found.decided["tune"] < (BATCHES + 1) * trial  # one after the other, each side by side
